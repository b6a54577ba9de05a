"""Files of other containers that are damaged, and files that are no audio at all."""

import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np

from tests.hostile.case import RATE, REJECT, Case, Cases, encode, generator, speech

SECONDS = 0.5
STREAMINFO = slice(8, 42)  # of a FLAC file, behind the magic number and the block's header


def write_broken_audio(folder: Path, canary: Path) -> list[Case]:
    """Write the cases.

    Args:
        folder: where to.
        canary: file that comes to be if code in one of them is run.
    """
    cases = Cases(folder)
    _not_audio(cases, canary)
    _other_containers(cases)
    for container, subtype in (("WAV", ""), ("FLAC", ""), ("AIFF", ""), ("OGG", "VORBIS")):
        content = encode(np.zeros(0), container, subtype or "PCM_16")
        cases.add(f"no_samples.{container.lower()}", content, REJECT, "a recording of no time")
    _flac(cases)
    _ogg(cases)
    _mp3(cases)
    _aiff(cases)
    _unusable(cases)
    return cases.found


def _not_audio(cases: Cases, canary: Path) -> None:
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("data.pkl", pickle.dumps(Payload(canary)))
    contents = {
        "empty": b"",
        "text": b"This is a transcript, not a recording.\n" * 50,
        "html": b"<!DOCTYPE html><html><head><title>404</title></head></html>",
        "zip": zipped.getvalue(),
        "png": b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + b"\0" * 200,
        "elf": b"\x7fELF\x02\x01\x01" + b"\0" * 500,
        "pickle": pickle.dumps(Payload(canary)),
        "json": b'{"air_file_name": "a.wav"}',
        "lfs_pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:"
        + b"0" * 64
        + b"\nsize 12345\n",
    }
    for name, content in contents.items():
        for suffix in ("wav", "flac"):
            cases.add(f"{name}_named.{suffix}", content, REJECT, f"{name} is no audio")
    for suffix in ("ogg", "mp3", "aiff", "opus"):
        cases.add(f"text_named.{suffix}", contents["text"], REJECT, "text is no audio")
        cases.add(f"empty_named.{suffix}", b"", REJECT, "nothing is no audio")


class Payload:
    """What makes a file when it is unpickled.

    Args:
        canary: the file.
    """

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.canary,)


def _other_containers(cases: Cases) -> None:
    """Sound, but of containers whose parsers nobody needs here, and halves of others."""
    for container in ("VOC", "PAF", "IRCAM", "MAT5", "SVX", "PVF"):
        content = encode(speech(SECONDS), container)
        name = f"{container.lower()}_named.wav"
        cases.add(name, content, REJECT, f"{container} is not on the list")
    for container in ("AU", "CAF", "W64", "NIST"):
        content = encode(speech(SECONDS), container)
        name = container.lower()
        cases.add(f"{name}_cut.{name}", content[: len(content) // 2], REJECT, "half is missing")


def _flac(cases: Cases) -> None:
    whole = encode(speech(SECONDS), "FLAC")
    frames = _first_frame(whole)
    cases.add("flac_cut.flac", whole[: len(whole) // 2], REJECT, "half is missing")
    cases.add("flac_cut_in_header.flac", whole[:20], REJECT, "STREAMINFO is cut")
    cases.add("flac_no_frames.flac", whole[:frames], REJECT, "no frame of those it claims")
    flipped = bytearray(whole)
    for position in range(frames + 500, len(flipped), 997):
        flipped[position] ^= 0xFF
    cases.add("flac_flipped.flac", bytes(flipped), REJECT, "frames fail their checksums")
    one = bytearray(whole)
    one[(frames + len(whole)) // 2] ^= 0x10
    cases.add("flac_one_bit.flac", bytes(one), REJECT, "one frame fails its checksum")
    for name, total in (("more", 80_000), ("huge", 2**36 - 1), ("fewer", 1000), ("unsaid", 0)):
        content = with_total(whole, total)
        cases.add(f"flac_total_{name}.flac", content, REJECT, "another number of samples")
    metadata = b"\x01" + b"\xff\xff\xff" + b"\0" * 100  # padding that claims 16 MB
    cases.add(
        "flac_metadata_16mb.flac",
        whole[:4] + b"\0" + whole[5:42] + metadata + whole[42:],
        REJECT,
        "a metadata block that goes on behind the end",
    )
    bad = bytearray(whole)
    bad[STREAMINFO] = b"\xff" * 34
    cases.add("flac_bad_streaminfo.flac", bytes(bad), REJECT, "STREAMINFO of ones")
    bad[STREAMINFO] = b"\0" * 34
    cases.add("flac_zero_streaminfo.flac", bytes(bad), REJECT, "STREAMINFO of zeros")
    cases.add("flac_only_magic.flac", b"fLaC", REJECT, "four bytes")
    cases.add("flac_bomb.flac", flac_of_silence(8 * 3600), REJECT, "eight hours in 100 kB")
    cases.add(
        "flac_bomb_8_channels.flac",
        flac_of_silence(4 * 3600, channels=8),
        REJECT,
        "four hours of eight channels in 200 kB",
    )


def _first_frame(flac: bytes) -> int:
    """Return where the metadata of a FLAC file ends."""
    place = 4
    while True:
        last, size = flac[place] & 0x80, int.from_bytes(flac[place + 1 : place + 4], "big")
        place += 4 + size
        if last:
            return place


def with_total(flac: bytes, total: int) -> bytes:
    """Return a FLAC file that claims another number of samples (36 bits of STREAMINFO)."""
    edited = bytearray(flac)
    edited[21] = edited[21] & 0xF0 | total >> 32
    edited[22:26] = (total & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(edited)


def flac_of_silence(seconds: int, channels: int = 1) -> bytes:
    """Return a sound FLAC file of 16-bit silence: frames of 65,535 constant samples.

    A frame takes 9 to 12 bytes and 3 a channel (RFC 9639, sections 9 and 8.2).
    """
    block = 65_535
    count = seconds * RATE // block
    info = struct.pack(">HH", block, block) + b"\0" * 6
    packed = RATE << 44 | (channels - 1) << 41 | 15 << 36 | count * block
    info += packed.to_bytes(8, "big") + b"\0" * 16
    frames = []
    for number in range(count):
        header = b"\xff\xf8\x70" + bytes([(channels - 1) << 4 | 0b1000]) + _coded(number)
        header += struct.pack(">H", block - 1)
        frame = header + bytes([_crc(header, 0x07, 8)]) + b"\0\0\0" * channels
        frames.append(frame + struct.pack(">H", _crc(frame, 0x8005, 16)))
    return b"fLaC\x80\0\0\x22" + info + b"".join(frames)


def _coded(number: int) -> bytes:
    """Return a frame's number, coded as UTF-8 codes characters."""
    return chr(number).encode("utf-8", "surrogatepass")


_TABLES: dict[int, list[int]] = {}


def _crc(content: bytes, polynomial: int, bits: int) -> int:
    if polynomial not in _TABLES:
        table = []
        for byte in range(256):
            value = byte << (bits - 8)
            for _ in range(8):
                value = value << 1 ^ (polynomial if value >> (bits - 1) & 1 else 0)
            table.append(value & ((1 << bits) - 1))
        _TABLES[polynomial] = table
    table, value, mask = _TABLES[polynomial], 0, (1 << bits) - 1
    for byte in content:
        value = (value << 8 & mask) ^ table[value >> (bits - 8) ^ byte]
    return value


def _ogg(cases: Cases) -> None:
    whole = encode(speech(3.0), "OGG", "VORBIS")
    pages = [place for place in range(len(whole)) if whole[place : place + 4] == b"OggS"]
    last = pages[-1]
    cases.add(
        "ogg_cut_in_page.ogg", whole[: (last + len(whole)) // 2], REJECT, "the end is missing"
    )
    cases.add("ogg_cut_half.ogg", whole[: len(whole) // 2], REJECT, "half is missing")
    cases.add("ogg_headers_only.ogg", whole[: pages[1]], REJECT, "one page, no sound")
    noise = generator(3).bytes(len(whole) - pages[2])
    cases.add("ogg_garbage.ogg", whole[: pages[2]] + noise, REJECT, "noise behind the headers")
    absurd = bytearray(whole)
    absurd[last + 6 : last + 14] = (2**62).to_bytes(8, "little")
    cases.add("ogg_granule.ogg", bytes(absurd), REJECT, "claims a hundred million years")
    fixed = bytes(absurd[:last]) + ogg_page(bytes(absurd[last:]))
    cases.add("ogg_granule_checked.ogg", fixed, REJECT, "the same, with a right checksum")
    cases.add("ogg_chained.ogg", whole + whole, REJECT, "two streams, of which one is decoded")
    opus = encode(speech(3.0), "OGG", "OPUS")
    cases.add("opus_cut.opus", opus[: len(opus) // 2], REJECT, "half is missing")


def ogg_page(page: bytes) -> bytes:
    """Return an Ogg page with the checksum that it should have (RFC 3533)."""
    value = 0
    for byte in page[:22] + bytes(4) + page[26:]:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
    return page[:22] + value.to_bytes(4, "little") + page[26:]


def _mp3(cases: Cases) -> None:
    whole = encode(speech(1.0), "MP3", "MPEG_LAYER_III")
    cases.add("mp3_garbage.mp3", b"\xff\xfb" + generator(4).bytes(5000), REJECT, "noise")
    cases.add("mp3_header_only.mp3", whole[:4], REJECT, "one header")
    huge = b"ID3\x04\0\0" + b"\x7f\x7f\x7f\x7f"
    cases.add("mp3_id3_256mb.mp3", huge + whole[:2000], REJECT, "a tag that claims 256 MB")
    cases.add("mp3_id3_only.mp3", b"ID3\x04\0\0\0\0\x02\0" + b"\0" * 256, REJECT, "only a tag")
    cases.add("mp3_cut.mp3", whole[: len(whole) // 2], REJECT, "half is missing")


def _aiff(cases: Cases) -> None:
    whole = encode(speech(SECONDS), "AIFF")
    cases.add("aiff_cut.aiff", whole[: len(whole) // 2], REJECT, "half is missing")
    comm, ssnd = whole.index(b"COMM"), whole.index(b"SSND")
    for name, place, value in (
        ("frames_huge", comm + 10, b"\x7f\xff\xff\xff"),
        ("frames_negative", comm + 10, b"\xff\xff\xff\xff"),
        ("channels_0", comm + 8, b"\0\0"),
        ("bits_17", comm + 14, b"\0\x11"),
        ("bits_0", comm + 14, b"\0\0"),
        ("rate_nan", comm + 16, b"\x7f\xff" + b"\xff" * 8),
        ("rate_0", comm + 16, b"\0" * 10),
        ("comm_size", comm + 4, b"\xff\xff\xff\xff"),
        ("ssnd_size", ssnd + 4, b"\x7f\xff\xff\xff"),
        ("ssnd_offset", ssnd + 8, b"\x7f\xff\xff\xff"),
    ):
        content = whole[:place] + value + whole[place + len(value) :]
        cases.add(f"aiff_{name}.aiff", content, REJECT, "its header lies")
    floats = encode(speech(SECONDS), "AIFF", "FLOAT")
    cases.add(
        "aiff_chunk_of_nothing.aiff",
        floats.replace(b"PEAK", b"\0\0\0\0"),
        REJECT,
        "a chunk without a name, at which libsndfile seeks to where no file is",
    )
    cases.add("aiff_no_ssnd.aiff", whole[:ssnd], REJECT, "no samples")
    no_comm = whole[:12] + whole[ssnd:]
    cases.add("aiff_no_comm.aiff", no_comm, REJECT, "nothing says what the samples are")
    assert np.frombuffer(whole[comm + 8 : comm + 10], ">i2")[0] == 1


def _unusable(cases: Cases) -> None:
    """Recordings that are sound files, and of which nothing can be learnt."""
    samples = speech(SECONDS)
    for name, content in {
        "silence.wav": encode(0 * samples),
        "silence_float.wav": encode(0 * samples, subtype="FLOAT"),
        # Compressed to a five-hundredth, like a bomb, and honest.
        "silence_minute.flac": encode(np.zeros(60 * RATE), "FLAC"),
        "denormal_double.wav": encode(0 * samples + 1e-310, subtype="DOUBLE"),
        "rounding_float.wav": encode(1e-30 * samples, subtype="FLOAT"),
    }.items():
        cases.add(name, content, REJECT, "nothing is learnt of silence", "digital silence")
    cases.add("dc.wav", encode(0 * samples + 0.3), REJECT, "an offset alone", "stands still")
    for size in (1, 2, RATE // 100):
        part = samples[1000 : 1000 + size]
        for suffix in ("WAV", "FLAC"):
            name = f"samples_{size}_{suffix}.{suffix.lower()}"
            cases.add(name, encode(part, suffix), REJECT, "no speech", "less than 50 ms")
    slow = encode(speech(SECONDS, 4000), rate=4000)
    cases.add("rate_4000.wav", slow, REJECT, "no vowel is told", "6000 Hz at the least")
    opposite = encode(np.outer(samples, [1.0, -1.0]))
    cases.add("channels_opposite.wav", opposite, REJECT, "R = -L", "cancel each other")
