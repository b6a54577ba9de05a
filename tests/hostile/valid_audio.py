"""Audio that is to be used: every container and codec that bcsim takes, and odd but honest ones."""

import struct
from pathlib import Path

import numpy as np

from tests.hostile.case import (
    ACCEPT,
    RATE,
    WARN,
    Case,
    Cases,
    chunk,
    encode,
    pcm16,
    riff,
    speech,
    wav_format,
)

SECONDS = 0.3
_EXTENSIBLE_PCM = bytes.fromhex("0100000000001000800000aa00389b71")

_ENCODINGS = {
    "wav_pcm_u8.wav": ("WAV", "PCM_U8"),
    "wav_pcm_16.wav": ("WAV", "PCM_16"),
    "wav_pcm_24.wav": ("WAV", "PCM_24"),
    "wav_pcm_32.wav": ("WAV", "PCM_32"),
    "wav_float.wav": ("WAV", "FLOAT"),
    "wav_double.wav": ("WAV", "DOUBLE"),
    "wav_alaw.wav": ("WAV", "ALAW"),
    "wav_ulaw.wav": ("WAV", "ULAW"),
    "wavex_pcm_16.wav": ("WAVEX", "PCM_16"),
    "wavex_pcm_24.wav": ("WAVEX", "PCM_24"),
    "wavex_float.wav": ("WAVEX", "FLOAT"),
    "rf64_pcm_16.wav": ("RF64", "PCM_16"),
    "rf64_float.wav": ("RF64", "FLOAT"),
    "flac_16.flac": ("FLAC", "PCM_16"),
    "flac_8.flac": ("FLAC", "PCM_S8"),
    "flac_24.flac": ("FLAC", "PCM_24"),
    "aiff_16.aiff": ("AIFF", "PCM_16"),
    "aiff_8.aiff": ("AIFF", "PCM_S8"),
    "aiff_24.aif": ("AIFF", "PCM_24"),
    "aifc_float.aiff": ("AIFF", "FLOAT"),
    "aifc_ulaw.aiff": ("AIFF", "ULAW"),
    "wave64.w64": ("W64", "PCM_16"),
    "core_audio.caf": ("CAF", "FLOAT"),
    "sun.au": ("AU", "PCM_24"),
    "sphere.sph": ("NIST", "PCM_16"),
}


def write_valid_audio(folder: Path) -> list[Case]:
    """Write the cases."""
    cases = Cases(folder)
    for name, (container, subtype) in _ENCODINGS.items():
        content = encode(speech(SECONDS), container, subtype)
        cases.add(name, content, ACCEPT, f"{container} with {subtype} is taken", seconds=SECONDS)
    little = encode(speech(SECONDS), "AIFF", "PCM_16", endian="LITTLE")
    cases.add("aifc_sowt.aiff", little, ACCEPT, "AIFC with the samples of a WAV", seconds=SECONDS)
    big = encode(speech(SECONDS), "WAV", "PCM_16", endian="BIG")
    cases.add("rifx.wav", big, ACCEPT, "WAV of a big-endian machine", seconds=SECONDS)
    for name, container, subtype in (
        ("vorbis.ogg", "OGG", "VORBIS"),
        ("opus.opus", "OGG", "OPUS"),
        ("vorbis_oga.oga", "OGG", "VORBIS"),
        ("mp3.mp3", "MP3", "MPEG_LAYER_III"),
    ):
        content = encode(speech(1.0), container, subtype)
        cases.add(name, content, ACCEPT, f"{subtype} is taken")
    _rates_and_channels(cases)
    _lengths(cases)
    _containers(cases)
    _values(cases)
    _names_that_lie(cases)
    return cases.found


def _rates_and_channels(cases: Cases) -> None:
    for rate in (8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000):
        content = encode(speech(SECONDS, rate), rate=rate)
        cases.add(f"rate_{rate}.wav", content, ACCEPT, "any usual rate", seconds=SECONDS)
    for channels in (2, 3, 6, 8):
        content = encode(speech(SECONDS, channels=channels))
        cases.add(f"channels_{channels}.wav", content, WARN, "averaged to one", seconds=SECONDS)
    content = encode(speech(SECONDS, channels=2), "FLAC")
    cases.add("channels_2_flac.flac", content, WARN, "averaged to one", seconds=SECONDS)


def _lengths(cases: Cases) -> None:
    for size in (RATE // 20, RATE // 5):
        content = encode(speech(SECONDS)[1000 : 1000 + size])
        cases.add(f"samples_{size}.wav", content, ACCEPT, "short, but sound", seconds=size / RATE)
        content = encode(speech(SECONDS)[1000 : 1000 + size], "FLAC")
        cases.add(f"samples_{size}_flac.flac", content, ACCEPT, "short, but sound")


def _containers(cases: Cases) -> None:
    """WAV files as other programs write them."""
    samples = speech(SECONDS)
    data = chunk(b"data", pcm16(samples))
    info = chunk(b"LIST", b"INFO" + chunk(b"ISFT", b"a recorder\0"))
    cases.add(
        "list_before_data.wav", riff(wav_format(), info, data), ACCEPT, "notes", seconds=SECONDS
    )
    cases.add(
        "list_after_data.wav", riff(wav_format(), data, info), ACCEPT, "notes", seconds=SECONDS
    )
    broadcast = chunk(b"bext", b"studio".ljust(602, b"\0"))
    cases.add(
        "bext_first.wav", riff(broadcast, wav_format(), data), ACCEPT, "broadcast", seconds=SECONDS
    )
    odd = chunk(b"junk", b"\0" * 7)
    cases.add("odd_chunk.wav", riff(wav_format(), odd, data), ACCEPT, "padded", seconds=SECONDS)
    long_format = wav_format(extra=struct.pack("<H", 0))
    cases.add("fmt_18_bytes.wav", riff(long_format, data), ACCEPT, "usual", seconds=SECONDS)
    extensible = struct.pack("<HHI", 22, 16, 4) + _EXTENSIBLE_PCM
    content = riff(wav_format(code=0xFFFE, extra=extensible), data)
    cases.add("extensible_by_hand.wav", content, ACCEPT, "WAVEX", seconds=SECONDS)
    cases.add(
        "pipe_sizes.wav",
        riff(wav_format(), chunk(b"data", pcm16(samples), 0xFFFFFFFF), size=0xFFFFFFFF),
        WARN,
        "a pipe cannot know the sizes: all there is gets read, and that is said",
        seconds=SECONDS,
    )
    cases.add(
        "bytes_after_riff.wav",
        riff(wav_format(), data) + b"ID3 tag of some editor" * 3,
        ACCEPT,
        "tags behind the end are common",
        seconds=SECONDS,
    )
    cases.add(
        "list_cut_behind_data.wav",
        riff(wav_format(), data, chunk(b"LIST", b"INFO", 5000)),
        ACCEPT,
        "notes are cut, the samples are whole",
        seconds=SECONDS,
    )
    cases.add(
        "bytes_per_second_lie.wav",
        riff(wav_format(bytes_per_second=1), data),
        ACCEPT,
        "a field that follows from others, and that nobody reads",
        seconds=SECONDS,
    )
    tagged = encode(samples, "FLAC")
    cover = struct.pack(">II9s6I", 3, 9, b"image/png", 0, 9, 9, 24, 0, 4000) + b"\0" * 4000
    picture = b"\x06" + len(cover).to_bytes(3, "big") + cover
    streaminfo_end = 4 + 4 + 34
    cases.add(
        "flac_with_picture.flac",
        tagged[:4] + bytes([tagged[4] & 0x7F]) + tagged[5:streaminfo_end] + picture
        + tagged[streaminfo_end:],
        ACCEPT,
        "a cover picture among the metadata",
        seconds=SECONDS,
    )  # fmt: skip
    id3 = b"ID3\x04\0\0" + bytes([0, 0, 2, 0]) + b"\0" * 256
    layer3 = encode(speech(1.0), "MP3", "MPEG_LAYER_III")
    cases.add("mp3_with_id3.mp3", id3 + layer3, ACCEPT, "a tag in front")
    cases.add("mp3_with_id3v1.mp3", layer3 + b"TAG".ljust(128, b"\0"), ACCEPT, "a tag behind")
    cases.add("flac_with_id3.flac", id3 + tagged, ACCEPT, "tags of MP3 players", seconds=SECONDS)
    packed = bytearray(encode(samples, "WAVEX", "PCM_24"))
    packed[38:40] = struct.pack("<H", 20)
    cases.add("wavex_20_in_24.wav", bytes(packed), ACCEPT, "20 of 24 bits", seconds=SECONDS)
    old = bytearray(encode(samples, "AIFF"))
    rate_at = old.index(b"COMM") + 16
    old[rate_at : rate_at + 10] = bytes.fromhex("400daddd1745d1745d17")
    cases.add("aiff_22254_hz.aiff", bytes(old), ACCEPT, "22254.55 Hz, as old computers had")


def _values(cases: Cases) -> None:
    samples = speech(SECONDS)
    size = len(samples)
    cases.add("over_full_scale.wav", encode(8 * samples, subtype="FLOAT"), WARN, "floats over 1")
    quiet = encode(1e-7 * samples, subtype="FLOAT")
    cases.add("quiet_float.wav", quiet, ACCEPT, "far below one step of 16 bits")
    lone = np.zeros(size)
    lone[size // 2] = 2**-15
    cases.add("single_step.wav", encode(lone), ACCEPT, "one sample, one step")
    cases.add("dc_and_speech.wav", encode(samples + 0.3), ACCEPT, "an offset beside speech")
    square = np.sign(np.sin(2 * np.pi * 100 * np.arange(size) / RATE + 0.1))
    cases.add("square_full_scale.wav", encode(square), ACCEPT, "full scale is legal")
    clipped = np.clip(20 * samples, -1, 1)
    cases.add("clipped.wav", encode(clipped), ACCEPT, "clipped, as recordings are")


def _names_that_lie(cases: Cases) -> None:
    """Content decides, not the name."""
    samples = speech(SECONDS)
    flac = encode(samples, "FLAC")
    cases.add("flac_named.wav", flac, ACCEPT, "FLAC inside", seconds=SECONDS)
    cases.add("wav_named.flac", encode(samples), ACCEPT, "WAV inside", seconds=SECONDS)
    cases.add("vorbis_named.mp3", encode(samples, "OGG", "VORBIS"), ACCEPT, "Ogg inside")
    cases.add("mp3_named.wav", encode(speech(1), "MP3", "MPEG_LAYER_III"), ACCEPT, "MP3 inside")
    cases.add("aiff_named.wav", encode(samples, "AIFF"), ACCEPT, "AIFF inside", seconds=SECONDS)
    cases.add("wav_named.OGG", encode(samples), ACCEPT, "WAV inside")
