"""WAV files that are cut, that lie about themselves, or that hold no sound."""

import struct
from pathlib import Path

import numpy as np

from tests.hostile.case import (
    ACCEPT,
    RATE,
    REJECT,
    WARN,
    Case,
    Cases,
    Verdict,
    chunk,
    encode,
    pcm16,
    riff,
    speech,
    wav,
    wav_format,
)

SECONDS = 0.3
GIGABYTES_2 = 2_000_000_000


def write_broken_wav(folder: Path) -> list[Case]:
    """Write the cases."""
    cases = Cases(folder)
    _cut(cases)
    _sizes(cases)
    _format_fields(cases)
    _structure(cases)
    _codecs(cases)
    _values(cases)
    return cases.found


def _cut(cases: Cases) -> None:
    whole = wav(speech(SECONDS))
    cases.add("cut_half.wav", whole[: len(whole) // 2], REJECT, "half of the samples are missing")
    cases.add("cut_tenth.wav", whole[: -len(whole) // 10], REJECT, "a tenth is missing")
    cases.add("cut_in_header.wav", whole[:30], REJECT, "ends within the fmt chunk")
    cases.add("cut_after_riff.wav", whole[:12], REJECT, "nothing but the first header")
    cases.add("cut_at_data.wav", whole[:44], REJECT, "not one of the samples it claims")
    cases.add("one_byte.wav", b"R", REJECT, "one byte")
    extensible = encode(speech(SECONDS), "WAVEX", "PCM_24")
    cases.add("cut_wavex_24.wav", extensible[: len(extensible) // 2], REJECT, "half is missing")
    floats = encode(speech(SECONDS), subtype="FLOAT")
    cases.add("cut_float.wav", floats[: len(floats) // 2], REJECT, "half is missing")
    rf64 = encode(speech(SECONDS), "RF64")
    cases.add("cut_rf64.wav", rf64[: len(rf64) // 2], REJECT, "half is missing")


def _sizes(cases: Cases) -> None:
    samples = pcm16(speech(SECONDS))
    data = chunk(b"data", samples)
    for name, size, verdict, why in (
        ("zero", 0, ACCEPT, "the outer size was never written, the data chunk is whole"),
        ("small", 60, ACCEPT, "the outer size is wrong, the data chunk whole"),
        ("large", 10_000_000, WARN, "the end of the file is missing, the data chunk whole"),
    ):
        content = riff(wav_format(), data, size=size)
        cases.add(f"riff_size_{name}.wav", content, verdict, why, seconds=SECONDS)
    odd = riff(wav_format(), chunk(b"data", samples[:-1]))
    cases.add("half_a_sample_more.wav", odd, WARN, "ends within a sample")
    unsaid = riff(wav_format(), chunk(b"data", samples, 0))
    cases.add("data_size_zero.wav", unsaid, REJECT, "a recorder died, and the size is unknown")
    cases.add(
        "claims_2gb.wav",
        riff(wav_format(), chunk(b"data", samples, GIGABYTES_2), size=GIGABYTES_2 + 36),
        REJECT,
        "two gigabytes are claimed, and nearly nothing is there",
    )
    cases.add(
        "claims_2gb_double.wav",
        riff(wav_format(bits=64, code=3), chunk(b"data", b"\0" * 800, GIGABYTES_2)),
        REJECT,
        "two gigabytes are claimed, and nearly nothing is there",
    )
    cases.add(
        "claims_a_little.wav",
        riff(wav_format(), chunk(b"data", samples, len(samples) + 4000)),
        REJECT,
        "an eighth of a second is missing",
    )
    cases.add("empty_data.wav", riff(wav_format(), chunk(b"data", b"")), REJECT, "no samples")
    cases.add(
        "half_a_sample.wav", riff(wav_format(), chunk(b"data", b"\1")), REJECT, "not one sample"
    )
    for name, num_bytes in (("4eb", 2**62), ("all", 2**64 - 1), ("10gb", 10**10)):
        ds64 = chunk(b"ds64", struct.pack("<QQQI", num_bytes, num_bytes, num_bytes // 2, 0))
        body = b"WAVE" + ds64 + wav_format() + chunk(b"data", samples, 0xFFFFFFFF)
        content = b"RF64" + b"\xff" * 4 + body
        cases.add(f"rf64_claims_{name}.wav", content, REJECT, "more bytes than there are")
    no_ds64 = b"RF64" + b"\xff" * 4 + b"WAVE" + wav_format() + chunk(b"data", samples, 0xFFFFFFFF)
    cases.add("rf64_without_ds64.wav", no_ds64, REJECT, "its sizes are nowhere")


def _format_fields(cases: Cases) -> None:
    samples = speech(SECONDS)
    for name, lies, why in (
        ("bits_0", {"bits": 0, "align": 2}, "no bits"),
        ("bits_17", {"bits": 17, "align": 3}, "read as 24 bits it would be full-scale noise"),
        ("bits_17_align_2", {"bits": 17, "align": 2}, "17 bits do not fit into two bytes"),
        ("bits_255", {"bits": 255}, "no such depth"),
        ("bits_65535", {"bits": 65535}, "no such depth"),
        ("channels_0", {"channels": 0}, "no channel"),
        ("channels_65535", {"channels": 65535}, "no such recorder"),
        ("channels_33", {"channels": 33}, "more than any array that bcsim knows"),
        ("rate_0", {"rate": 0}, "no rate"),
        ("rate_1", {"rate": 1}, "a sample a second is not audio"),
        ("rate_4ghz", {"rate": 4_000_000_000, "bytes_per_second": 0}, "radar, not audio"),
        ("rate_negative", {"rate": 0xFFFFFFFF, "bytes_per_second": 0}, "minus one"),
        ("align_0", {"align": 0}, "frames of no bytes"),
        ("align_1", {"align": 1}, "frames of half a sample"),
        ("align_4", {"align": 4}, "two channels or one? the header says both"),
        ("align_65535", {"align": 65535}, "frames of 64 kB for one 16-bit sample"),
        ("code_0", {"code": 0}, "no codec"),
        ("code_unknown", {"code": 0x1234}, "an unknown codec"),
        ("float_16_bits", {"code": 3}, "there are no floats of 16 bits here"),
        ("float_24_bits", {"code": 3, "bits": 24}, "there are no floats of 24 bits"),
    ):
        cases.add(f"{name}.wav", wav(samples, **lies), REJECT, why)
    data = chunk(b"data", pcm16(samples))
    guid = struct.pack("<HHI", 22, 16, 4) + b"\xde\xad\xbe\xef" * 4
    strange = wav_format(code=0xFFFE, extra=guid)
    cases.add("extensible_unknown.wav", riff(strange, data), REJECT, "an unknown codec")
    short = wav_format(code=0xFFFE)
    cases.add("extensible_cut.wav", riff(short, data), REJECT, "the codec is not said")


def _structure(cases: Cases) -> None:
    data = chunk(b"data", pcm16(speech(SECONDS)))
    cases.add("no_data.wav", riff(wav_format()), REJECT, "no data chunk")
    cases.add("no_fmt.wav", riff(data), REJECT, "no fmt chunk")
    cases.add("data_before_fmt.wav", riff(data, wav_format()), REJECT, "samples of unknown format")
    cases.add("data_twice.wav", riff(wav_format(), data, data), REJECT, "which of the two?")
    cases.add("fmt_twice.wav", riff(wav_format(), wav_format(rate=8000), data), REJECT, "which?")
    cases.add("two_files.wav", 2 * riff(wav_format(), data), REJECT, "one file behind another")
    cases.add("fmt_short.wav", riff(chunk(b"fmt ", b"\1\0\1\0"), data), REJECT, "fmt is cut")
    huge = chunk(b"fmt ", wav_format()[8:], 0x7FFFFFFF)
    cases.add("fmt_huge.wav", riff(huge, data), REJECT, "the fmt chunk claims 2 GB")
    for name, size in (("overruns", 5_000_000), ("wraps", 0xFFFFFFF8), ("signed", 0x80000000)):
        content = riff(wav_format(), chunk(b"junk", b"\0" * 8, size), data)
        cases.add(f"chunk_{name}.wav", content, REJECT, "a chunk goes on behind the end")
    tiny = b"junk\0\0\0\0" * 100_000
    many = riff(wav_format(), tiny, data)
    cases.add("chunks_100000.wav", many, REJECT, "a hundred thousand empty chunks")
    cases.add("not_wave.wav", riff(wav_format(), data, form=b"AVI "), REJECT, "a film, it says")
    cases.add("big_endian_riff.wav", b"RIFX" + riff(wav_format(), data)[4:], REJECT, "RIFX lies")
    cases.add("riff_only.wav", b"RIFF", REJECT, "four bytes")
    cases.add("zeros.wav", b"\0" * 10_000, REJECT, "nothing but zeros")
    cases.add("noise.wav", np.random.default_rng(1).bytes(10_000), REJECT, "nothing but noise")


def _codecs(cases: Cases) -> None:
    """Codecs that no corpus of speech needs, and whose decoders are old."""
    for subtype in ("IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32", "NMS_ADPCM_16"):
        rate = 8000 if subtype in ("GSM610", "G721_32", "NMS_ADPCM_16") else RATE
        content = encode(speech(SECONDS, rate), subtype=subtype, rate=rate)
        cases.add(f"codec_{subtype.lower()}.wav", content, REJECT, f"{subtype} is not taken")


def _values(cases: Cases) -> None:
    """What floating point can hold, and no microphone gives."""
    samples = speech(SECONDS)
    middle, end = len(samples) // 2, len(samples) - 1
    spoilt: dict[str, tuple[int | slice, float, str, Verdict]] = {
        "float_nan": (middle, np.nan, "FLOAT", REJECT),
        "float_nan_first": (0, np.nan, "FLOAT", REJECT),
        "float_nan_last": (end, np.nan, "FLOAT", REJECT),
        "float_all_nan": (slice(None), np.nan, "FLOAT", REJECT),
        "float_200": (middle, 200.0, "FLOAT", REJECT),
        "float_inf": (middle, np.inf, "FLOAT", REJECT),
        "float_minus_inf": (middle, -np.inf, "FLOAT", REJECT),
        "float_1e30": (middle, 1e30, "FLOAT", REJECT),
        "float_3e38": (middle, 3e38, "FLOAT", REJECT),
        "double_nan": (middle, np.nan, "DOUBLE", REJECT),
        "double_1e300": (slice(None), 1e300, "DOUBLE", REJECT),
    }
    for name, (where, value, subtype, verdict) in spoilt.items():
        bad = samples.copy()
        bad[where] = value
        content = encode(bad, subtype=subtype)
        cases.add(f"{name}.wav", content, verdict, f"{value} of full scale is no sound")
    both = samples.copy()
    both[100], both[200] = np.inf, -np.inf
    cases.add("float_both_inf.wav", encode(both, subtype="FLOAT"), REJECT, "they would cancel")
    integers = encode(np.round(32767 * samples / np.abs(samples).max()), subtype="FLOAT")
    cases.add("float_integers.wav", integers, REJECT, "16-bit integers stored as floats")
    stereo = speech(SECONDS, channels=2)
    stereo[middle, 1] = np.nan
    cases.add("float_nan_second_channel.wav", encode(stereo, subtype="FLOAT"), REJECT, "half NaN")
    aiff = encode(np.where(np.arange(end + 1) == middle, np.nan, samples), "AIFF", "FLOAT")
    cases.add("aiff_nan.aiff", aiff, REJECT, "NaN in another container")
