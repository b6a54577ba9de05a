"""Where one channel of a pair is missing."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # its parts are loaded when they are asked for
from numpy.typing import NDArray
from torch import Tensor

from bcsim.dsp.lazy_signal import BLOCK, Samples, mean, of_frames

HELD_S = 0.020  # a sample held for longer while the other channel speaks is a dropout
HELD_IN_PAUSE_S = 0.100  # and so it is in a pause; shorter digital silence may be a codec's
HELD_RANGE = 0.1  # of how much the channel moves in its quietest segments of that length

FRAME_S = 0.010
FILTER_S = 0.5  # after which the band's filter has forgotten all
VOICE_HZ = (100.0, 1000.0)  # the band that air and bone share
SPEAKS_DB = 20.0  # under the loud level, the other channel still speaks
OVER_FLOOR_DB = 10.0  # at least, lest its noise be taken for speech
DEAD_DB = 30.0  # under its loud level, a channel is dead while the other speaks
# How long a channel of 16 throat pairs looks dead while the other speaks: 10 ms at most.
DEAD_S = 0.060


@dataclass(frozen=True)
class Segment:
    """A part of a recording, by its start and duration in seconds."""

    start_s: float
    seconds: float


def dropouts(samples: Samples, other: Samples, sample_rate: int) -> list[Segment]:
    """Find where a channel is missing: it stands still, or falls to its floor in speech.

    Segments in which both channels stand still are padding. `other`, (T,), is the other channel,
    synchronised with `samples`.
    """
    other_db = _voice_level_db(other, sample_rate)
    floor_db, loud_db = np.quantile(other_db, [0.05, 0.95])
    speaks = other_db > max(loud_db - SPEAKS_DB, floor_db + OVER_FLOOR_DB)
    padding = held(other, sample_rate)
    found = []
    for segment in held(samples, sample_rate):
        start, end = segment.start_s / FRAME_S, (segment.start_s + segment.seconds) / FRAME_S
        if any(_overlap_s(segment, still) > 0.5 * segment.seconds for still in padding):
            continue
        if segment.seconds >= HELD_IN_PAUSE_S or speaks[int(start) : int(end)].any():
            found.append(segment)
    for segment in _dead(samples, speaks, sample_rate):
        if not any(_overlap_s(segment, known) > 0 for known in found):
            found.append(segment)
    return sorted(found, key=lambda segment: segment.start_s)


def held(samples: Samples, sample_rate: int) -> list[Segment]:
    """Find where a channel (T,) stands still: digital silence, or a sample that is held."""
    size = max(2, round(HELD_S * sample_rate))
    count = len(samples) // (size // 2) - 1
    if count < 4:
        return []
    hop = size // 2
    moves = of_frames(samples, size, hop, lambda x: _ranges(x.unfold(1, size, hop)))[0].numpy()
    moving = moves[moves > 0]
    if len(moving) == 0:
        return []
    limit = min(HELD_RANGE * float(np.quantile(moving, 0.1)), 1e-3 * float(np.median(moving)))
    return _segments(moves <= limit, size // 2, size, sample_rate)


def _ranges(frames: Tensor) -> Tensor:
    """Return highest less lowest sample of frames (..., T)."""
    return frames.amax(dim=-1) - frames.amin(dim=-1)


def _dead(samples: Samples, speaks: NDArray[np.bool_], sample_rate: int) -> list[Segment]:
    """Find where a channel falls to its floor while the other one speaks.

    Levels are those of 100-1000 Hz, the band that air and bone share.
    """
    own_db = _voice_level_db(samples, sample_rate)
    floor_db, loud_db = np.quantile(own_db, [0.05, 0.95])
    if loud_db - floor_db < DEAD_DB - 3:  # too noisy to tell a dropout from a pause
        return []
    hop = round(FRAME_S * sample_rate)
    found = _segments((own_db < loud_db - DEAD_DB) & speaks, hop, hop, sample_rate)
    return [segment for segment in found if segment.seconds >= DEAD_S]


def _overlap_s(one: Segment, two: Segment) -> float:
    stop_s = min(one.start_s + one.seconds, two.start_s + two.seconds)
    return max(0.0, stop_s - max(one.start_s, two.start_s))


def _voice_level_db(samples: Samples, sample_rate: int) -> NDArray[np.float64]:
    signal: Any = scipy.signal  # whose stubs take arrays for integers
    sections = signal.butter(2, VOICE_HZ, btype="band", fs=sample_rate, output="sos")
    hop = round(FRAME_S * sample_rate)
    offset = mean(samples)
    step, margin = BLOCK // hop * hop, round(FILTER_S * sample_rate)
    powers = []
    for start in range(0, len(samples) // hop * hop, step):
        begin, stop = max(0, start - margin), min(start + step, len(samples) // hop * hop)
        voice = signal.sosfiltfilt(sections, samples[begin : stop + margin].numpy() - offset)
        voice = voice[start - begin : stop - begin]
        powers.append(np.square(voice).reshape(-1, hop).mean(axis=1))
    power = np.concatenate(powers)
    return 10 * np.log10(np.convolve(power, [0.5, 0.5], "same") + 1e-14)


def _segments(flags: NDArray[np.bool_], hop: int, size: int, sample_rate: int) -> list[Segment]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [
        Segment(float(first * hop) / sample_rate, ((past - first - 1) * hop + size) / sample_rate)
        for first, past in edges.reshape(-1, 2).tolist()
    ]
