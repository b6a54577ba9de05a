r"""A search of the whole recordings for where they belong together, by their envelopes.

Waveforms tell a lag to a fraction of a millisecond, but only near it, and not of clocks that run
apart by more than a part in a thousand. The levels of half-octave bands, 100 times a second, tell
it to some 10 ms at any lag and any rate: of a template of air, stretched by each of a grid of
rates, they are correlated with all of bone. With :math:`\rho_b(\ell)` the correlation of band b at
lag :math:`\ell` over n overlapping seconds, the score is
:math:`-\sum_b f n \log(1-\rho_b^2)/2` of positive correlations.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
import torch
from numpy.typing import NDArray

from bcsim.dsp.fir import fast_length
from bcsim.dsp.lazy_signal import Samples
from bcsim.dsp.spectra import stft
from bcsim.fitting.alignment.likelihood import LagCurve
from bcsim.fitting.alignment.path import best_path, breaks_of

FRAME_S, HOP_S = 0.032, 0.010
LOWEST_HZ, HIGHEST_HZ = 100.0, 4500.0
FLOOR_DB = 30.0  # under the loud level of a band
SLOW_S = 1.5  # slower changes of level are taken out
DEGREES_HZ = 10.0  # independent values of an envelope in a second
MAX_RATE = 0.044  # of the clocks, relative difference that is searched
TEMPLATE_S = 20.0
NUM_TEMPLATES = 3
EDGE_S = 0.040  # by which a grid of rates may misplace the ends of a template
LEAST_OVERLAP_S = 1.5
WINDOW_S, STEP_S = 8.0, 4.0  # of the path
MAX_JUMP_S = 15.0
RATE_ERROR = 1500e-6  # of the rate that a template tells
JUMP_COST = 1.5  # times the likelihood that a window usually gains

Bands = NDArray[np.floating]
sp: Any = scipy  # whose parts are loaded when they are asked for, and whose stubs know no arrays


@dataclass(frozen=True, eq=False)
class Place:
    """Where bone belongs relative to air, roughly: bone's clock and its lag.

    On a clock that runs at air's rate, bone is later by a lag that is given in seconds of air at
    some moments; it jumps or drifts in between.

    Args:
        rate: samples that bone's recorder took beside each of air's, less one.
        times_s: (K,), moments of air.
        lags_s: (K,), lag of bone at each, once `rate` is taken out.
        score: score of the place that was found, over that of the next best.
    """

    rate: float
    times_s: NDArray[np.floating]
    lags_s: NDArray[np.floating]
    score: float


def band_levels(signal: Samples, sample_rate: int) -> Bands:
    """Return the levels of half-octave bands, without slow changes, (bands, frames)."""
    size = fast_length(round(FRAME_S * sample_rate))
    hop = round(HOP_S * sample_rate)
    frequencies = np.linspace(0, sample_rate / 2, size // 2 + 1)
    edges = [LOWEST_HZ]
    while edges[-1] * 2**0.5 < min(HIGHEST_HZ, 0.45 * sample_rate):
        edges.append(edges[-1] * 2**0.5)
    bands = np.stack(
        [(frequencies >= low) & (frequencies < high) for low, high in itertools.pairwise(edges)]
    )
    bands = torch.from_numpy(bands[bands.any(axis=1)].astype(np.float32))
    step = 4096 * hop
    half = size // 2  # of a frame lies before the first sample, and behind the last one
    num_frames = max(0, len(signal) + 2 * half - size) // hop + 1
    # One array for all: small ones that stay would break up the memory of large ones that go.
    power = np.empty((len(bands), num_frames), dtype=np.float32)
    for start in range(-half, max(1 - half, len(signal) + half - size + 1), step):
        stop = start + step - hop + size
        block = signal[max(start, 0) : min(stop, len(signal))].float()
        missing = max(min(stop, len(signal) + half) - len(signal), 0)
        block = torch.nn.functional.pad(block, (max(-start, 0), missing))
        own = (stft(block[None], size, hop)[0].abs().square() @ bands.T).T
        first = (start + half) // hop
        power[:, first : first + own.shape[1]] = own.numpy()
    loud = np.quantile(power, 0.95, axis=1, keepdims=True)
    level = 10 * np.log10(power + 10 ** (-FLOOR_DB / 10) * loud + 1e-30)
    slow = sp.ndimage.uniform_filter1d(level, round(SLOW_S / HOP_S), axis=1, mode="nearest")
    return (level - slow).astype(np.float32)


def find_place(air: Samples, bone: Samples, sample_rate: int) -> Place | None:
    """Search all lags that leave an overlap, and rates up to `MAX_RATE` either way.

    Args:
        air: (T,).
        bone: (T',), of any length.
        sample_rate: in Hz.

    Returns:
        Where the recordings belong together, or None of recordings that are too short.
    """
    x, y = band_levels(air, sample_rate), band_levels(bone, sample_rate)
    if min(x.shape[1], y.shape[1]) * HOP_S < LEAST_OVERLAP_S:
        return None
    rate, start, lag, score = _found(x, y)
    # On a clock at air's rate: bone's frame (1 + rate) (t + lag) belongs to air's frame t.
    lag = (start + lag) / (1 + rate) - start
    first, last = _shared(x, y, rate, lag)
    if (last - first) * HOP_S < 2 * WINDOW_S:
        return Place(rate, np.array([(first + last) / 2 * HOP_S]), np.array([lag * HOP_S]), score)
    times, lags = np.zeros(0), np.zeros(0)
    for _ in range(2):
        times, lags, slope = _follow(x, y, rate, lag, start)
        # The line through the lags becomes the clock.
        pivot = times[len(times) // 2]
        bone_times = (1 + rate) * (times + lags)
        rate = (1 + rate) * (1 + slope) - 1
        lags = bone_times / (1 + rate) - times
        lag, start = float(np.median(lags)), float(pivot)
        if abs(slope) < 100e-6:
            break
    return Place(rate, times * HOP_S, lags * HOP_S, score)


def _found(x: Bands, y: Bands) -> tuple[float, float, float, float]:
    """Return bone's rate, a frame of air, bone's lag there in frames, and the score."""
    # The shorter is sought in the longer: a template of the longer may hold little of the shorter.
    short, long = (x, y) if x.shape[1] <= y.shape[1] else (y, x)
    rate, place, lag, score = max(
        (_search(short, long, first, last) for first, last in _templates(short)),
        key=lambda found: found[3],
    )
    return (
        (rate, place, lag, score) if short is x else (1 / (1 + rate) - 1, place + lag, -lag, score)
    )


def _shared(x: Bands, y: Bands, rate: float, lag: float) -> tuple[int, int]:
    """Return the first and last frame of air that bone holds, too."""
    first = min(max(0, round(-lag)), x.shape[1] - 1)
    return first, max(first + 1, min(x.shape[1], round(y.shape[1] / (1 + rate) - lag)))


def _templates(x: Bands) -> list[tuple[int, int]]:
    """Return the frames of templates: all of a short recording, else where levels change most.

    And both ends: an overlap that is shorter than either recording lies at an end of each.
    """
    num_frames, size = x.shape[1], round(TEMPLATE_S / HOP_S)
    if num_frames <= 1.5 * size:
        return [(0, num_frames)]
    activity = np.append(0.0, np.square(x).sum(axis=0, dtype=np.float64).cumsum())
    windows = activity[size:] - activity[:-size]
    count = min(NUM_TEMPLATES, num_frames // size)
    edges = np.linspace(0, len(windows), count + 1).astype(int)
    firsts = [int(low + windows[low:high].argmax()) for low, high in itertools.pairwise(edges)]
    return [(first, first + size) for first in sorted({0, *firsts, num_frames - size})]


def _search(x: Bands, y: Bands, first: int, last: int) -> tuple[float, float, float, float]:
    """Return rate, middle of the template, its lag in frames there, and the score over the next."""
    count = last - first
    step = 2 * EDGE_S / (count * HOP_S)
    num = max(1, math.ceil(MAX_RATE / step))
    rates = np.arange(-num, num + 1) * (MAX_RATE / num)
    middle = (first + last) / 2
    size = fast_length(y.shape[1] + round(count * (1 + MAX_RATE)) + 1)
    spectra = sp.fft.rfft(y, size, axis=1)
    energy = np.concatenate([np.zeros((len(y), 1)), np.square(y, dtype=np.float64).cumsum(1)], 1)
    best = (-math.inf, 0.0, 0.0, np.zeros(0), 0)
    for rate in rates.tolist():
        template = _at_rate(x, first, count, rate)
        score, first_lag = _score(template, spectra, energy, size)
        place = int(score.argmax())
        if score[place] > best[0]:
            # Bone's frame that belongs to the middle of the template.
            bone_frame = place + first_lag + (middle - first) * (1 + rate)
            best = (float(score[place]), rate, bone_frame, score, place)
    score, rate, bone_frame, curve, place = best
    near = round(0.5 / HOP_S)
    others = np.concatenate([curve[: max(place - near, 0)], curve[place + near :]])
    next_best = float(others.max(initial=1e-3))
    return rate, middle, bone_frame - middle, score / max(next_best, 1e-3)


def _at_rate(x: Bands, first: int, count: int, rate: float) -> Bands:
    """Return frames of air as bone's clock would have them, (bands, count (1 + rate))."""
    places = first + np.arange(round(count * (1 + rate))) / (1 + rate)
    places = places.clip(0, x.shape[1] - 1)
    left = places.astype(int).clip(max=max(x.shape[1] - 2, 0))
    part = (places - left).astype(np.float32)
    return x[:, left] * (1 - part) + x[:, np.minimum(left + 1, x.shape[1] - 1)] * part


def _score(
    template: Bands, spectra: NDArray[np.complexfloating], energy: NDArray[np.floating], size: int
) -> tuple[NDArray[np.floating], int]:
    """Return the score of the template at each lag, and the first of these lags."""
    length, total = template.shape[1], energy.shape[1] - 1
    first_lag = -(length - 1)
    lags = np.arange(first_lag, total)
    begin, end = lags.clip(min=0), (lags + length).clip(max=total)
    score = np.zeros(len(lags))
    # Band by band: of an hour, arrays of all bands together would take 300 MB.
    for band, spectrum, sums in zip(template, spectra, energy, strict=True):
        cross = sp.fft.irfft(spectrum * sp.fft.rfft(band, size).conj(), size)[lags % size]
        own = np.concatenate([[0.0], np.square(band, dtype=np.float64).cumsum()])
        power = (sums[end] - sums[begin]) * (own[end - lags] - own[begin - lags])
        correlation = (cross / np.sqrt(power.clip(min=1e-9))).clip(0, 0.999)
        score += np.log1p(-np.square(correlation))
    seconds = (end - begin) * HOP_S
    score *= -0.5 * DEGREES_HZ * seconds
    score[seconds < LEAST_OVERLAP_S] = 0.0
    return score, first_lag


def _follow(
    x: Bands, y: Bands, rate: float, lag: float, start: float
) -> tuple[NDArray[np.floating], NDArray[np.floating], float]:
    """Follow the lag from window to window.

    Args:
        x: (bands, frames) of air.
        y: (bands, frames) of bone.
        rate: rate of bone's clock, less one.
        lag: lag in frames, once the rate is taken out.
        start: frame of air at which the lag was found.

    Returns:
        The middle of each window and its lag, in frames of air, and the slope of the lags.
    """
    shared = _shared(x, y, rate, lag)
    # Bone at air's rate: frame t + lag belongs to air's frame t.
    level = _at_rate(y, 0, y.shape[1], 1 / (1 + rate) - 1)
    window, step = round(WINDOW_S / HOP_S), round(STEP_S / HOP_S)
    firsts = np.arange(shared[0], max(shared[0] + 1, shared[1] - window + 1), step)
    curves = []
    for first in firsts.tolist():
        far = RATE_ERROR * abs(first + window / 2 - start)
        half = round(min(MAX_JUMP_S / HOP_S, (shared[1] - shared[0]) / 2) + far)
        low = round(lag) - half
        curves.append(_window_curve(x[:, first : first + window], level, first, low, 2 * half + 1))
    gains = [float(curve.values.max() - np.median(curve.values)) for curve in curves]
    cost = max(30.0, JUMP_COST * float(np.median(gains)))
    _, path = best_path(curves, cost, slack=1)
    times, lags = firsts + window / 2, path.astype(float)
    # The slope without jumps: of each part about its own mean.
    weight = np.array([curve.at(int(c)) for curve, c in zip(curves, path, strict=True)])
    bounds = [0, *breaks_of(path, 1), len(path)]
    over = under = 0.0
    for i, k in itertools.pairwise(bounds):
        w = weight[i:k].clip(min=1e-6)
        t = times[i:k] - np.average(times[i:k], weights=w)
        over += float(w @ (t * (lags[i:k] - np.average(lags[i:k], weights=w))))
        under += float(w @ t**2)
    return times, lags, over / under if under > 0 else 0.0


def _window_curve(part: Bands, level: Bands, first: int, low: int, count: int) -> LagCurve:
    """Return the score of `count` lags, in frames, of a window of air that starts at `first`."""
    length = part.shape[1]
    begin, end = first + low, first + low + count - 1 + length
    inside = level[:, max(begin, 0) : max(end, 0)]
    values = np.zeros(count)
    if inside.shape[1] * HOP_S >= LEAST_OVERLAP_S:
        size = fast_length(inside.shape[1] + length)
        energy = np.concatenate(
            [np.zeros((len(level), 1)), np.square(inside, dtype=np.float64).cumsum(1)], 1
        )
        score, first_lag = _score(part, sp.fft.rfft(inside, size, axis=1), energy, size)
        # The score's lag 0 puts the window at the first frame inside, which is air's `first` +
        # `low` or frame 0 of bone.
        offset = max(begin, 0) - begin  # lag 0 of the score is this one of the values
        lags = np.arange(count) - offset - first_lag
        known = (lags >= 0) & (lags < len(score))
        values[known] = score[lags[known]]
    return LagCurve(low, values)
