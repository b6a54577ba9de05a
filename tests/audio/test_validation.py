"""What libsndfile would forgive is refused or named: files made byte by byte, each with a fault."""

import contextlib
import io
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from bcsim.audio.copy import copy_audio
from bcsim.audio.infos import audio_info
from bcsim.audio.read import read_audio, read_blocks, read_segment
from bcsim.audio.validation.base import UNKNOWN_LENGTH, AudioError, AudioInfo
from bcsim.audio.validation.containers import check_header
from bcsim.errors import InputError

RATE = 16_000


def num_frames(path: Path) -> int | None:
    info = audio_info(path)
    return None if info is None else info.frames


TONE = 0.3 * np.sin(np.arange(3001) / 7)
PCM = np.rint(TONE * 32768).astype("<i2").tobytes()
GUID = bytes.fromhex("000000001000800000aa00389b71")


def encoded(container, subtype, samples=TONE, rate=RATE, **more) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container, subtype=subtype, **more)
    return file.getvalue()


def chunk(name: bytes, content: bytes, size: int | None = None, order: str = "<") -> bytes:
    head = name + struct.pack(f"{order}I", len(content) if size is None else size)
    return head + content + b"\0" * (len(content) % 2)


def fmt(tag=1, channels=1, bits=16, align=None, rate=RATE, extra=b"") -> bytes:
    width = channels * bits // 8 if align is None else align
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, 0, width, bits) + extra)


def extensible(tag=1, valid=16, bits=16, guid=GUID) -> bytes:
    return fmt(0xFFFE, bits=bits, extra=struct.pack("<HHIH", 22, valid, 4, tag) + guid)


def wav(*chunks: bytes, size: int | None = None, magic=b"RIFF") -> bytes:
    body = b"WAVE" + b"".join(chunks or (fmt(), chunk(b"data", PCM)))
    return magic + struct.pack("<I", len(body) if size is None else size) + body


def rf64(data_bytes: int, field: int = 0xFFFFFFFF) -> bytes:
    sizes = chunk(b"ds64", struct.pack("<QQQI", 0, data_bytes, 0, 0))
    return wav(sizes, fmt(), chunk(b"data", PCM, field), size=0xFFFFFFFF, magic=b"RF64")


def aiff(common: bytes | None = None, sound_bytes: int | None = None, form=b"AIFF") -> bytes:
    exponent_and_mantissa = struct.pack(">HQ", 16383 + 13, RATE << 50)  # 2^13 <= 16,000 < 2^14
    if common is None:
        common = struct.pack(">HIH", 1, len(TONE), 16) + exponent_and_mantissa
    sound = chunk(b"SSND", bytes(8) + PCM, sound_bytes, ">")
    body = form + chunk(b"COMM", common, order=">") + sound
    return chunk(b"FORM", body, order=">")


def aifc(kind: bytes, bits: int) -> bytes:
    common = struct.pack(">HIHHQ", 1, len(PCM) * 8 // bits, bits, 16383 + 13, RATE << 50)
    return aiff(common + kind + b"\0\0", form=b"AIFC")


def flac(**fields: int) -> bytes:
    """A FLAC file with some fields of its STREAMINFO put differently."""
    content = bytearray(encoded("FLAC", "PCM_16"))
    place = {"smallest": (8, 2), "largest": (10, 2), "rate": (18, 3), "total": (22, 4)}
    for name, value in fields.items():
        start, count = place[name]
        content[start : start + count] = (value << (4 if name == "rate" else 0)).to_bytes(
            count, "big"
        )
    return bytes(content)


def pages(content: bytes) -> list[bytes]:
    """Cut an Ogg file into its pages."""
    found = []
    while content:
        end = 27 + content[26] + sum(content[27 : 27 + content[26]])
        found.append(content[:end])
        content = content[end:]
    return found


def sealed(page: bytes, at: int, new: bytes) -> bytes:
    """Put something else into a page, with the checksum that belongs to it (RFC 3533, bitwise)."""
    page = page[:at] + new + page[at + len(new) :]
    page = page[:22] + bytes(4) + page[26:]
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 1 << 31 else 0)) & 0xFFFFFFFF
    return page[:22] + struct.pack("<I", crc) + page[26:]


def as_libsndfile_reads(path: Path) -> tuple[np.ndarray, int]:
    with path.open("rb") as file, soundfile.SoundFile(file) as sound:
        return sound.read(always_2d=True).mean(axis=1), sound.samplerate


SECONDS = np.random.default_rng(0).uniform(-0.3, 0.3, 60_000)
VORBIS = encoded("OGG", "VORBIS", SECONDS)
OPUS = encoded("OGG", "OPUS", SECONDS)
MP3 = encoded("MP3", "MPEG_LAYER_III", SECONDS)
XING = MP3.index(b"Xing")
FIRST, *_, LAST = pages(VORBIS)
OPUS_FIRST, *_, OPUS_LAST = pages(OPUS)


def id3(size: int, there: int | None = None) -> bytes:
    digits = bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3\x04\0\0" + digits + bytes(size if there is None else there)


W64, CAF, AU = (encoded(container, "PCM_16") for container in ("W64", "CAF", "AU"))
SPHERE = encoded("NIST", "PCM_16")


def put(content: bytes, at: int, form: str, value: float) -> bytes:
    """Put a number into a header."""
    return content[:at] + struct.pack(form, value) + content[at + struct.calcsize(form) :]


SOUND = {
    "Wave64": W64,
    "CAF": CAF,
    "little-endian CAF": encoded("CAF", "FLOAT", endian="LITTLE"),
    "CAF before a chunk": CAF + b"info" + struct.pack(">q", 4) + b"more",
    "AU": AU,
    "little-endian AU": encoded("AU", "PCM_24", endian="LITTLE"),
    "AU before a tag": AU + b"TAG" + bytes(125),
    "SPHERE": SPHERE,
    "little-endian SPHERE": encoded("NIST", "PCM_24", endian="LITTLE"),
    "plain WAV": wav(),
    "no padding at the end": wav(fmt(bits=8), chunk(b"data", PCM[:3001])[:-1]),
    "chunks around": wav(chunk(b"LIST", b"abc"), fmt(), chunk(b"data", PCM), chunk(b"id3 ", b"x")),
    "extensible": wav(extensible(), chunk(b"data", PCM)),
    "extensible, 20 of 24 bits": wav(extensible(1, 20, 24), chunk(b"data", PCM[:3000])),
    "extensible mu-law": wav(extensible(7, 8, 8), chunk(b"data", PCM)),
    "RF64": rf64(len(PCM)),
    "big-endian WAV": encoded("WAV", "PCM_16", endian="BIG"),
    "AIFF": aiff(),
    "little-endian AIFC": aifc(b"sowt", 16),
    "big-endian AIFC": aifc(b"twos", 16),
    "little-endian AIFC of 24 bits": encoded("AIFF", "PCM_24", endian="LITTLE"),
    "AIFC of one size": aifc(b"NONE", 24),
    "FLAC": flac(),
    "FLAC behind a tag": id3(300) + flac(),
    "FLAC before a tag": flac() + b"TAG" + bytes(125),
    "MP3": MP3,
    "MP3 behind a tag": id3(5000) + MP3,
    "MP3 before a tag": MP3 + b"TAG" + bytes(125),
    "MP3 without a table": MP3[len(MP3) - len(MP3[XING:]) - 13 :],
    "Vorbis": VORBIS,
    "Opus": OPUS,
}
ODD = {
    "AU from a pipe": (put(AU, 8, ">I", 0xFFFFFFFF), "how long it is"),
    "half a sample of AU": (put(AU, 8, ">I", 6001), "last 1 bytes are left out"),
    "from a pipe": (wav(fmt(), chunk(b"data", PCM, 0xFFFFFFFF), size=0xFFFFFFFF), "how long it is"),
    "from SoX in a pipe": (
        wav(fmt(), chunk(b"data", PCM, 0x7FFFF000), size=0x7FFFF024),
        "how long it is",
    ),
    "from SoX in a pipe, of 24 bits": (
        wav(fmt(bits=24), chunk(b"data", PCM, 0x7FFFF000 // 3 * 3), size=0x7FFFF023),
        "how long it is",
    ),
    "half a sample": (wav(fmt(), chunk(b"data", PCM[:-1])), "last 1 bytes are left out"),
    "RIFF claims more": (wav(size=10_000), "claims 10008 bytes"),
    "AIFF claims fewer": (aiff(struct.pack(">HIHHQ", 1, 9, 16, 16396, RATE << 50)), "claims 9 sam"),
    "no end": (
        VORBIS[: -len(LAST)] + sealed(LAST, 5, bytes([LAST[5] & ~4])),
        "not marked as the end",
    ),
    "Ogg and more": (VORBIS + b"more", "4 bytes behind its end"),
}
FAULTY = {
    "nothing": (b"", "is empty"),
    "zeros": (bytes(5000), "nothing but zeros"),
    "text": (b"one, two\n", "holds text"),
    "half an AU": (AU[:3000], "cut short: claims 6002 bytes of samples"),
    "AU header alone": (AU[:20], "ends within its header"),
    "AU of ADPCM": (encoded("AU", "G721_32"), "encoding 23; convert"),
    "AU that claims nothing": (put(AU, 8, ">I", 0), "claims no samples, and 6002"),
    "AU that begins behind its end": (put(AU, 4, ">I", 9000), "begin at byte 9000 of 6026"),
    "AU of no channels": (put(AU, 20, ">I", 0), "0 channels"),
    "AU of no rate": (put(AU, 16, ">I", 0), "0 Hz is not audio"),
    "CAF cut short": (CAF[:-3000], "cut short: claims 6006"),
    "half a CAF": (CAF[:3000], "cut short: its chunk 'free' claims"),
    "CAF from a pipe": (put(CAF, CAF.index(b"data") + 4, ">q", -1), "how long it is"),
    "CAF of ALAC": (encoded("CAF", "ALAC_16"), "'alac' inside; convert"),
    "CAF of 17 bits": (put(CAF, 48, ">I", 17), "17-bit 'lpcm' inside"),
    "CAF of two sizes": (put(CAF, 36, ">I", 3), "16 bits take 3 bytes"),
    "CAF whose rate is no number": (put(CAF, 20, ">d", float("nan")), "nan Hz is not audio"),
    "CAF without a description": (CAF[:8] + b"free" + CAF[12:], "begins with 'free'"),
    "CAF of no samples": (CAF[: CAF.index(b"data")], "ends within its header"),
    "CAF of a chunk that overruns": (
        CAF[:52] + b"free" + struct.pack(">q", 1 << 60) + CAF[52:],
        "'free' claims 1152921504606846976",
    ),
    "half a Wave64": (W64[:3000], "cut short: claims 6002"),
    "Wave64 of ADPCM": (encoded("W64", "MS_ADPCM"), "MS ADPCM inside; convert"),
    "Wave64 of another GUID": (W64[:24] + b"WAVE" + W64[28:], "does not go on like it"),
    "Wave64 of a chunk of nothing": (put(W64, 56, "<Q", 3), "'fmt ' claims 3 bytes"),
    "Wave64 of 17 bits": (put(W64, 78, "<H", 17), "17-bit PCM inside"),
    "half a SPHERE": (SPHERE[:3000], "cut short: claims 6002"),
    "SPHERE header alone": (SPHERE[:500], "ends within its header"),
    "SPHERE without an end": (SPHERE.replace(b"end_head", b"and_head"), "has no end"),
    "SPHERE of Shorten": (
        SPHERE.replace(b"sample_coding -s3 pcm", b"sample_coding -s6 embedded")[: len(SPHERE)],
        "embedded' inside; convert",
    ),
    "SPHERE of no count": (SPHERE.replace(b"sample_count", b"simple_count"), "sample_count is ''"),
    "SPHERE that claims more": (SPHERE.replace(b"-i 3001", b"-i 9001"), "claims 18002 bytes"),
    "SPHERE that claims fewer": (
        SPHERE.replace(b"-i 3001", b"-i 1001"),
        "more than the 1001 samples",
    ),
    "tagged AU": (id3(10) + AU, "AU behind a tag"),
    "zip": (b"PK\3\4" + bytes(100), "zip archive"),
    "program": (b"\x7fELF" + bytes(100), r"program \(ELF\)"),
    "MP4": (b"\0\0\0\x20ftypM4A " + bytes(100), "MP4"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "BW64": (b"BW64" + rf64(len(PCM))[4:], "BW64 audio"),
    "AVI": (b"RIFF\x10\0\0\0AVI " + bytes(100), "kind 'AVI '"),
    "tagged WAV": (id3(10) + wav(), "WAV behind a tag"),
    "a tag that is longer than the file": (id3(100_000, 100) + MP3, "cut short"),
    "half a WAV": (wav()[: 44 + len(PCM) // 2], "claims 6002 bytes of samples, 3001 are there"),
    "claims 2 GB": (wav(fmt(), chunk(b"data", PCM, 2_000_000_000)), "cut short: claims 2000000000"),
    "claims nothing": (wav(fmt(), chunk(b"data", PCM, 0), size=0), "claims no samples, and 6002"),
    "no samples": (wav(fmt(), chunk(b"data", b"")), "holds 0 samples"),
    "no data": (wav(fmt()), "no chunk of samples"),
    "data before format": (wav(chunk(b"data", PCM), fmt()), "does not say what"),
    "short format": (wav(chunk(b"fmt ", bytes(14)), chunk(b"data", PCM)), "too short"),
    "a chunk that overruns": (wav(fmt(), chunk(b"LIST", b"ab", 50_000)), "'LIST' claims 50000"),
    "a thousand chunks": (wav(*[chunk(b"JUNK", b"")] * 1001, fmt()), "more than 1000 chunks"),
    "17 bits": (wav(fmt(bits=17, align=3), chunk(b"data", PCM)), "17-bit PCM"),
    "16-bit floats": (wav(fmt(3, bits=16), chunk(b"data", PCM)), "16-bit float"),
    "24 bits in 4 bytes": (wav(fmt(bits=24, align=4), chunk(b"data", PCM)), "24 bits take 4 bytes"),
    "no channels": (wav(fmt(channels=0), chunk(b"data", PCM)), "0 channels"),
    "33 channels": (wav(fmt(channels=33), chunk(b"data", PCM)), "33 channels, not 1 to 32"),
    "999 Hz": (wav(fmt(rate=999), chunk(b"data", PCM)), "999 Hz is not audio"),
    "4 GHz": (wav(fmt(rate=4_000_000_000), chunk(b"data", PCM)), "4000000000 Hz is not audio"),
    "ADPCM": (encoded("WAV", "MS_ADPCM"), "MS ADPCM inside; convert"),
    "GSM": (encoded("WAV", "GSM610"), r"GSM 6\.10 inside"),
    "MP3 in WAV": (wav(fmt(0x55, bits=0, align=1), chunk(b"data", MP3)), "MP3 inside"),
    "unknown GUID": (wav(extensible(guid=bytes(14)), chunk(b"data", PCM)), "unknown kind"),
    "20 of 16 bits": (wav(extensible(valid=20), chunk(b"data", PCM)), "unknown kind"),
    "RF64 claims 4 EB": (rf64(4 << 60), "cut short: claims 4611686018427387904"),
    "RF64 of two sizes": (rf64(len(PCM), 1000), "without a size"),
    "half an AIFF": (aiff()[:3000], "cut short: claims 6010"),
    "AIFF claims 2 GB": (aiff(sound_bytes=2_000_000_000), "cut short: claims 2000000000"),
    "AIFF claims samples": (
        aiff(struct.pack(">HIHHQ", 1, 9999, 16, 16396, RATE << 50)),
        "claims 9999 samples, 3001 are there",
    ),
    "AIFF of 17 bits": (aiff(struct.pack(">HIHHQ", 1, 9, 17, 16396, RATE << 50)), "17-bit"),
    "AIFF without a rate": (aiff(struct.pack(">HIHHQ", 1, 9, 16, 0, 0)), "0 Hz is not audio"),
    "AIFF without samples": (aiff()[:38], "lacks 'COMM' or 'SSND'"),
    "AIFC of ADPCM": (encoded("AIFF", "IMA_ADPCM"), "ima4"),
    "half a FLAC header": (flac()[:30], "ends within its header"),
    "FLAC without a stream": (b"fLaC\4\0\0\0" + flac()[4:], "STREAMINFO"),
    "FLAC of no samples": (flac()[:86], "cut short|without samples"),
    "FLAC of unknown length": (flac(total=0), "does not say how long"),
    "FLAC claims days": (flac(total=(1 << 32) - 1), "cut short: claims 4294967295"),
    "FLAC of tiny blocks": (flac(smallest=1), "blocks of 1 to"),
    "FLAC of no rate": (flac(rate=0), "0 Hz is not audio"),
    "half a Vorbis": (VORBIS[: len(VORBIS) // 2], "cut short"),
    "a cut last page": (VORBIS[:-5], "cut short"),
    "a page too few": (b"".join(p for i, p in enumerate(pages(VORBIS)) if i != 2), "not in order"),
    "a changed byte": (VORBIS[:-9] + bytes([VORBIS[-9] ^ 1]) + VORBIS[-8:], "checksum"),
    "two streams": (VORBIS + encoded("OGG", "VORBIS"), "more than one stream"),
    "a hole": (VORBIS[: -len(LAST)] + b"hole" + LAST, "no Ogg page at"),
    "absurd position": (
        VORBIS[: -len(LAST)] + sealed(LAST, 6, struct.pack("<q", 1 << 40)),
        "claims 1099511627776 samples",
    ),
    "position that goes back": (
        VORBIS[: -len(LAST)] + sealed(LAST, 6, struct.pack("<q", 100)),
        "not in order",
    ),
    "no beginning": (VORBIS[len(FIRST) :], "something unknown"),
    "Opus without an end": (
        OPUS[: -len(OPUS_LAST)] + sealed(OPUS_LAST, 5, b"\0"),
        "not marked as the end",
    ),
    "Ogg with FLAC": (sealed(FIRST, 28, b"\x7fFLAC"), "Ogg with FLAC inside"),
    "half an MP3": (MP3[: len(MP3) // 2], "cut short: claims"),
    "MP3 claims days": (
        MP3[: XING + 8] + struct.pack(">I", 10**9) + MP3[XING + 12 :],
        "cut short",
    ),
    "one frame and text": (MP3[:200] + b"text" * 100, "does not go on like it|cut short"),
    "MPEG layer I": (b"\xff\xff\x90\xc4" + bytes(1000), "not MP3"),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_files_pass_without_a_word_and_decode_to_what_libsndfile_reads(
    tmp_path, name, caplog
):
    path = tmp_path / "x.wav"  # the name says nothing
    path.write_bytes(SOUND[name])
    expected, rate = as_libsndfile_reads(path)
    assert check_header(io.BytesIO(SOUND[name])).sample_rate == rate
    samples, read_rate = read_audio(path)
    assert read_rate == rate
    assert np.array_equal(samples, expected)
    assert np.array_equal(np.concatenate(list(read_blocks(path, rate))), expected)
    # MP3 decodes a little differently after a jump.
    assert np.allclose(read_segment(path, 7, 5), expected[7:12], rtol=0, atol=1e-6)
    assert num_frames(path) == len(expected)
    with path.open("rb") as file:
        assert copy_audio(file, str(path), tmp_path / "copy").num_samples == len(expected)
    assert caplog.messages == []


def kinds():
    for container in (
        "WAV",
        "WAVEX",
        "RF64",
        "AIFF",
        "FLAC",
        "OGG",
        "MP3",
        "W64",
        "CAF",
        "AU",
        "NIST",
    ):
        for subtype in soundfile.available_subtypes(container):
            if not any(
                word in subtype for word in ("ADPCM", "GSM", "DWVW", "NMS", "G72", "MPEG", "ALAC")
            ):
                yield container, subtype
    yield "MP3", "MPEG_LAYER_III"


@pytest.mark.parametrize(("container", "subtype"), sorted(set(kinds())))
@pytest.mark.parametrize("channels", [1, 2])
def test_whatever_codec_is_allowed_reads_as_before(tmp_path, container, subtype, channels):
    samples = np.stack([SECONDS, SECONDS[::-1]], 1)[:, :channels]
    for count, rate in ((1000, 8000), (4322, 24_000), (20_000, 48_000)):
        path = tmp_path / f"{count}"
        path.write_bytes(encoded(container, subtype, samples[:count], rate))
        expected, _ = as_libsndfile_reads(path)
        read, read_rate = read_audio(path)
        assert read_rate == rate
        assert np.array_equal(read, expected)
        assert num_frames(path) == count


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_but_harmless_is_read_with_a_warning_that_names_the_file(
    tmp_path, name, caplog
):
    content, warning = ODD[name]
    (tmp_path / "odd.wav").write_bytes(content)
    samples, _ = read_audio(tmp_path / "odd.wav")
    assert len(samples) in (2000, 3000, 3001, len(SECONDS))
    assert [m for m in caplog.messages if m.startswith(f"{tmp_path}/odd.wav: ")] == caplog.messages
    assert warning in caplog.text


@pytest.mark.parametrize("name", FAULTY)
def test_faulty_files_are_refused_in_one_line_with_the_reason_and_a_remedy(tmp_path, name):
    content, reason = FAULTY[name]
    path = tmp_path / "x.flac"
    path.write_bytes(content)
    with pytest.raises(InputError, match=reason) as refused:
        read_audio(path)
    message = str(refused.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert ";" in message
    assert len(message) - len(str(path)) < 180
    with pytest.raises(AudioError):
        check_header(io.BytesIO(content))
    with pytest.raises(InputError, match=reason):
        list(read_blocks(path, RATE))
    assert audio_info(path) is None
    with path.open("rb") as file, pytest.raises(InputError, match=reason):
        copy_audio(file, "x.flac", tmp_path / "copy")
    assert not list(tmp_path.glob("copy*"))


def test_a_flac_that_ends_in_the_middle_is_refused_when_it_is_decoded(tmp_path):
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, 50_000)
    (tmp_path / "x.flac").write_bytes(encoded("FLAC", "PCM_16", noise)[:60_000])
    for read in (read_audio, lambda path: list(read_blocks(path, RATE))):
        with pytest.raises(InputError, match=r"x\.flac: cannot be read as audio"):
            read(tmp_path / "x.flac")


def test_a_file_that_expands_out_of_proportion_is_refused(tmp_path):
    """Silence in blocks of 65,535 samples: one byte for 9,000."""
    hour = encoded("FLAC", "PCM_16", np.zeros(1 << 17))
    frame = hour[86 : 86 + 14]
    assert frame[:2] == b"\xff\xf8"
    (tmp_path / "bomb.flac").write_bytes(
        hour[:10] + b"\xff\xff" + hour[12:22] + struct.pack(">I", 60_000_000) + hour[26:] * 40
    )
    with pytest.raises(InputError, match=r"expand to 3750 s: .*digital silence"):
        read_audio(tmp_path / "bomb.flac")
    (tmp_path / "quiet.flac").write_bytes(encoded("FLAC", "PCM_16", np.zeros(9_700_000)))
    assert num_frames(tmp_path / "quiet.flac") == 9_700_000
    (tmp_path / "many.flac").write_bytes(encoded("FLAC", "PCM_16", np.zeros(35_000_000)))
    with pytest.raises(InputError, match=r"many\.flac: .*digital silence"):
        read_audio(tmp_path / "many.flac")


SEEDS = [*SOUND.values(), *(content for content, _ in ODD.values())]
SEEDS = [content[:6000] if content[:4] in (b"RIFF", b"fLaC") else content for content in SEEDS]


def looked_at(content: bytes) -> None:
    started = time.process_time()  # of the processor: the machine may be busy
    with contextlib.suppress(AudioError):
        found = check_header(io.BytesIO(content))
        assert isinstance(found, AudioInfo)
        assert found.frames == UNKNOWN_LENGTH or 0 < found.frames < 1 << 40
    assert time.process_time() - started < 1


@settings(max_examples=300)
@given(
    seed=st.integers(0, len(SEEDS) - 1),
    place=st.integers(0, 300),
    value=st.integers(0, 255),
    kept=st.none() | st.integers(0, 6000),
)
def test_any_change_of_one_byte_and_any_cut_gives_a_verdict(seed, place, value, kept):
    content = bytearray(SEEDS[seed][:kept])
    if content:
        content[place % len(content)] = value
    looked_at(bytes(content))


@settings(max_examples=200)
@given(
    magic=st.sampled_from(
        [
            b"RIFF\0\0\0\0WAVEfmt ",
            b"FORM\0\0\0\0AIFC",
            b"fLaC",
            b"OggS\0\2",
            b"\xff\xfb",
            b"ID3",
            b".snd",
            b"caff\0\1\0\0desc",
            W64[:64],
            SPHERE[:16],
            b"",
        ]
    ),
    rest=st.binary(max_size=200),
)
def test_any_bytes_give_a_verdict(magic, rest):
    looked_at(magic + rest)


def test_the_checksum_of_ogg_is_that_of_the_standard():
    """The reader turns zlib's round; `sealed` goes bit by bit, and agrees with libogg."""
    assert sealed(FIRST, 0, b"") == FIRST
    assert check_header(io.BytesIO(VORBIS[: -len(LAST)] + sealed(LAST, 0, b""))).codec == "VORBIS"


@pytest.mark.parametrize(("start", "num_bytes"), [(1086, 16), (1140, 22), (1153, 25)])
def test_damage_ends_an_mp3_for_whoever_reads_it(start, num_bytes, tmp_path):
    """libsndfile goes on behind it, in another frame: blocks had samples where there are none."""
    mp3 = encoded("MP3", "MPEG_LAYER_III", 0.1 * np.random.default_rng(5).standard_normal(8000))
    (tmp_path / "x.mp3").write_bytes(mp3[:start] + mp3[start + num_bytes :])

    def length(read):
        try:
            return sum(map(len, read()))
        except InputError as error:
            return str(error)

    whole = length(lambda: [read_audio(tmp_path / "x.mp3", RATE)[0]])
    assert length(lambda: read_blocks(tmp_path / "x.mp3", RATE, 3000)) == whole
