"""Folders of paired recordings, good and otherwise, as `doctor` and `fit-response` are given."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from tests.hostile.case import (
    ACCEPT,
    RATE,
    REJECT,
    WARN,
    Case,
    Verdict,
    chunk,
    encode,
    generator,
    pcm16,
    riff,
    wav_format,
)

SECONDS = 5.0
signal: Any = scipy.signal  # whose stubs take arrays for integers
Samples = NDArray[np.float64]
Make = Callable[[Samples, Samples], tuple[bytes | None, bytes | None]]


def talk(seed: int) -> Samples:
    """Return coloured noise in syllables and phrases, with a recorder's noise in the pauses."""
    rng = generator(seed, 77)
    time_s = np.arange(round(SECONDS * RATE)) / RATE
    syllables = np.clip(np.sin(2 * np.pi * (3.1 * time_s + rng.uniform())), 0, None)
    phrases = np.sin(2 * np.pi * (0.45 * time_s + rng.uniform())) > -0.4
    colour = signal.butter(1, [100, 3500], btype="band", fs=RATE, output="sos")
    carrier = signal.sosfilt(colour, rng.standard_normal(len(time_s)))
    return 0.2 * carrier * (syllables * phrases) + 1e-4 * rng.standard_normal(len(time_s))


def through_body(air: Samples, seed: int) -> Samples:
    """Return what a sensor below 800 Hz hears of it, 0.4 ms late, with noise of its own."""
    dull = signal.sosfilt(signal.butter(2, 800, fs=RATE, output="sos"), air)
    return 0.7 * np.roll(dull, 6) + 2e-4 * generator(seed, 5).standard_normal(len(air))


def write_pair_folders(folder: Path) -> list[Case]:
    """Write folders with `air/pair.wav` and `bone/pair.wav`; the path of a case is their parent."""
    air = talk(1)
    bone = through_body(air, 1)
    cases = []
    for name, (verdict, says, why, make) in _PAIRS.items():
        for role, content in zip(("air", "bone"), make(air, bone), strict=True):
            (folder / name / role).mkdir(parents=True)
            if content is not None:
                (folder / name / role / f"{name}.wav").write_bytes(content)
        cases.append(Case(name, folder / name, verdict, why, says))
    return cases


def _late(bone: Samples, seconds: float) -> Samples:
    return np.concatenate([1e-4 * talk(9)[: round(seconds * RATE)], bone])[: len(bone)]


def _with_nan(samples: Samples) -> Samples:
    return np.where(np.arange(len(samples)) == 30_000, np.nan, samples)


def _at(samples: Samples, rate: int) -> bytes:
    return encode(signal.resample_poly(samples, rate // 2000, RATE // 2000), rate=rate)


def _header_says(samples: Samples, rate: int) -> bytes:
    return riff(wav_format(rate=rate), chunk(b"data", pcm16(samples)))


# What the doctor must say: a kind of finding, or a word of the reason. `silent` and so on.
_PAIRS: dict[str, tuple[Verdict, str, str, Make]] = {
    "pair_good": (ACCEPT, "", "a good pair", lambda a, b: (encode(a), encode(b))),
    "pair_good_24_bits": (
        ACCEPT,
        "",
        "other depths and containers",
        lambda a, b: (encode(a, subtype="PCM_24"), encode(b, "FLAC")),
    ),
    "pair_swapped": (REJECT, "swapped", "roles exchanged", lambda a, b: (encode(b), encode(a))),
    "pair_identical": (REJECT, "identical", "one file twice", lambda a, b: (encode(a), encode(a))),
    "pair_scaled_copy": (
        REJECT,
        "identical",
        "one file and its inverted half",
        lambda a, b: (encode(a), encode(-0.5 * a)),
    ),
    "pair_unrelated": (
        REJECT,
        "unrelated",
        "two different utterances",
        lambda a, b: (encode(a), encode(through_body(talk(2), 2))),
    ),
    "pair_silent_bone": (
        REJECT,
        "silent",
        "an unplugged sensor",
        lambda a, b: (encode(a), encode(0 * b)),
    ),
    "pair_silent_air": (
        REJECT,
        "silent",
        "an unplugged microphone",
        lambda a, b: (encode(0 * a), encode(b)),
    ),
    "pair_stuck_bone": (
        REJECT,
        "stands still",
        "a sensor that gives one value",
        lambda a, b: (encode(a), encode(np.full(len(b), 0.25))),
    ),
    "pair_wrong_rate_in_header": (
        REJECT,
        "",
        "16 kHz samples under a header that says 44.1 kHz: stretched, nothing fits",
        lambda a, b: (encode(a), _header_says(b, 44_100)),
    ),
    "pair_offset_2s": (
        WARN,
        "offset",
        "two seconds late: corrected, and said",
        lambda a, b: (encode(a), encode(_late(b, 2.0))),
    ),
    "pair_offset_50ms": (
        WARN,
        "offset",
        "50 ms late: corrected, and said",
        lambda a, b: (encode(a), encode(_late(b, 0.05))),
    ),
    "pair_unequal_length": (
        WARN,
        "cut to what they have in common",
        "bone is a second shorter",
        lambda a, b: (encode(a), encode(b[:-RATE])),
    ),
    "pair_other_rate": (
        WARN,
        "resampled",
        "bone is at 8 kHz",
        lambda a, b: (encode(a), _at(b, 8000)),
    ),
    "pair_dc": (WARN, "dc", "an offset of the bone", lambda a, b: (encode(a), encode(b + 0.05))),
    "pair_nan_in_bone": (
        REJECT,
        "not finite",
        "one NaN",
        lambda a, b: (encode(a), encode(_with_nan(b), subtype="FLOAT")),
    ),
    "pair_nan_in_air": (
        REJECT,
        "not finite",
        "one NaN",
        lambda a, b: (encode(_with_nan(a), subtype="FLOAT"), encode(b)),
    ),
    "pair_cut_bone": (
        REJECT,
        "",
        "half of a file",
        lambda a, b: (encode(a), encode(b)[: len(b)]),
    ),
    "pair_text_bone": (REJECT, "", "no audio", lambda a, b: (encode(a), b"a transcript")),
    "pair_one_sample": (
        REJECT,
        "",
        "nothing can be learnt of one sample",
        lambda a, b: (encode(a[:1]), encode(b[:1])),
    ),
    "pair_no_partner": (REJECT, "", "air alone", lambda a, b: (encode(a), None)),
    "pair_nothing": (REJECT, "", "two empty folders", lambda a, b: (None, None)),
}
