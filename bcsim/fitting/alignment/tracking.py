"""Lags followed from segment to segment, on the clock and near the lag where they fit best."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bcsim.dsp.fir import fast_length
from bcsim.dsp.lazy_signal import BLOCK, Samples, mean_square, part_of
from bcsim.dsp.resample import on_clock, resample
from bcsim.fitting.alignment.envelopes import MAX_RATE, Place
from bcsim.fitting.alignment.likelihood import (
    LOWEST_HZ,
    LagCurve,
    Whitener,
    cell_size,
    lag_curves,
    lag_likelihood,
    whitened,
)
from bcsim.fitting.alignment.path import best_path, breaks_of, confirmed, contradicting
from bcsim.fitting.alignment.trajectory import Measured, smoothed
from bcsim.fitting.diagnosis.defects import held
from bcsim.fitting.pairs import frame_size, frames_with_speech

MAX_OFFSET_S = 1.2  # of the first search, that of waveforms
COARSE_SECONDS = 60.0  # of signal that it looks at
SEGMENT_S = 1.0
MAX_JUMP_S = 0.6  # about the lag that the envelopes tell
NEAR_LAG_S = 0.125  # of a lag, at which the envelopes say no more than the waveforms
NEAR_S = 6.0  # that the envelopes misplace a jump at most
JUMP_COST = 60.0  # of likelihood, each, at least,
JUMP_COST_S = 0.05  # and as much as so many seconds of the recording have
LEAST_HELD_S = 0.06  # from here on, a channel that stands still spoils a segment
MAX_BROKEN = 0.4  # of the segments may count for nothing
LEAST_SLOPE_S = 0.0015  # over the recording: the lags of segments show no smaller drift
RATE_STEP = 1000e-6  # of the clocks, that segments can bear
SHORT_S = 60.0  # of a recording whose envelopes do not tell the rate to one step
RELATED_SCORE = 3.5  # of a place: other speech has 3 at most,
POOR_GAIN = 3000.0  # of likelihood a second, from which on no other rates are tried
KEPT_PLACES = 3  # of those that are tried in the bass, for the whole band
BASS_RATE_HZ = 4000  # sample rate of the bass, which every sensor shares
RATE_EDGE_S = 0.06  # by which the envelopes misplace the ends of such a recording
SURE_EVIDENCE = 17.0  # of a coarse lag that no other rate is tried beside
BETTER = 1.15  # factor in likelihood by which another place or rate has to win,
BETTER_BY = 40.0  # and the likelihood itself
PLACE_MARGIN = 12.0  # of likelihood, by which a place of a jump beats those that are ruled out
MOST_SHARED = 0.95  # of an octave, lest a noiseless one decide alone where a jump is
LAG_ERROR_S = 0.0002  # of a segment


@dataclass(frozen=True, eq=False)
class Track:
    """The lags of consecutive segments, on a clock without `rate`.

    Args:
        rate: rate of bone's clock that was taken out.
        edges: (segments + 1,), samples of air.
        curves: likelihood of the lags of each segment.
        path: (segments,), lag of each segment, as a cell.
        breaks: segments before which the lag is another.
        doubted: (segments,), whether a segment tells a lag of its own, with too little speech.
        gain: likelihood over ordinary lags, less the cost of jumps; that of doubted segments is
            taken at the lag of their neighbours.
    """

    rate: float
    edges: NDArray[np.int64]
    curves: list[LagCurve]
    path: NDArray[np.int64]
    breaks: list[int]
    doubted: NDArray[np.bool_]
    gain: float

    def lags(self, sample_rate: int) -> NDArray[np.floating]:
        """Return the lag of each segment in samples of air."""
        return (self.path + 0.5) * cell_size(sample_rate)

    def measured(self, sample_rate: int) -> Measured:
        """Return the lags of segments as delays that are to be smoothed."""
        centres = (self.edges[:-1] + self.edges[1:]) / 2 / sample_rate
        parts = np.zeros(len(self.path), dtype=np.int64)
        for segment in self.breaks:
            parts[segment:] += 1
        weights = [
            max(curve.at(cell) - curve.ordinary, 0.0)
            for curve, cell in zip(self.curves, self.path.tolist(), strict=True)
        ]
        weights = np.array(weights) + 1e-6
        return Measured(centres, parts, self.lags(sample_rate) / sample_rate, weights)


def best_track(
    air: Samples,
    bone: Samples,
    coarse: tuple[int, float],
    place: Place | None,
    sample_rate: int,
) -> Track:
    """Return the likeliest of what the waveforms and what the envelopes suggest.

    Args:
        air: (T,).
        bone: (T',).
        coarse: lag in samples that the waveforms suggest, and the evidence for it.
        place: what the envelopes suggest, or None.
        sample_rate: in Hz.
    """
    lag, evidence = coarse
    seconds = len(air) / sample_rate
    middle = np.array([seconds / 2])
    whitener = Whitener(air, sample_rate)

    def track(place: Place) -> Track:
        return _track(air, whitener, bone, place, sample_rate)

    start = track(Place(0.0, middle, np.array([lag / sample_rate]), evidence))
    best = start
    if place is not None and not _is_near(place, lag / sample_rate):
        best = better(best, track(place))
    # A drift of a short recording, too large for its segments, may pass for a jump or a doubt.
    if place is not None and seconds < SHORT_S and (evidence < SURE_EVIDENCE or best.breaks):
        likely = _likeliest_in_bass(air, bone, sample_rate)
        near = place.rate + _steps(RATE_EDGE_S / seconds, RATE_STEP)
        best = max([best, *map(track, likely(_at_rates(place, near)))], key=_gain)
        is_poor = best.gain < POOR_GAIN * seconds or best.breaks
        if place.score > RELATED_SCORE and is_poor:
            # A buffer that was lost within a template spoils the rate that it tells.
            others = _at_rates(place, _steps(MAX_RATE, 2 * RATE_STEP))
            best = max([best, *map(track, likely(others))], key=_gain)
    best = better(start, best)
    for _ in range(4):
        line = smoothed(best.measured(sample_rate), seconds, len(best.breaks) + 1, LAG_ERROR_S)
        slope = line.slope
        if abs(slope) < 0.2 * RATE_STEP or abs(slope) * seconds < LEAST_SLOPE_S:
            break
        other = track(_on_rate(best, slope, sample_rate))
        if other.gain <= best.gain:
            break
        best = other
    return best


def _is_near(place: Place, lag_s: float) -> bool:
    """Tell whether a place says no more than that the lag is this one."""
    moved = place.rate * place.times_s.max(initial=0.0)
    return abs(moved) < 0.1 * NEAR_LAG_S and bool((np.abs(place.lags_s - lag_s) < NEAR_LAG_S).all())


def better(best: Track, other: Track) -> Track:
    """Return the other track if it is clearly more likely, or does without jumps and doubts."""
    if best.breaks and not other.breaks and other.gain > best.gain:
        return other
    return other if other.gain > max(BETTER * best.gain, best.gain + BETTER_BY) else best


def _gain(track: Track) -> float:
    return track.gain


def _steps(largest: float, step: float) -> NDArray[np.floating]:
    """Return steps from 0 to either side, up to `largest`."""
    count = math.ceil(largest / step)
    return step * np.arange(-count, count + 1)


def _at_rates(place: Place, rates: NDArray[np.floating]) -> Iterator[Place]:
    """Yield the same place at each of some rates of bone's clock: bone stays where it is."""
    bone = (1 + place.rate) * (place.times_s + place.lags_s)
    for rate in rates.tolist():
        yield Place(rate, place.times_s, bone / (1 + rate) - place.times_s, place.score)


def _on_rate(track: Track, slope: float, sample_rate: int) -> Place:
    """Return the lags of a track on a clock without their slope."""
    times = (track.edges[:-1] + track.edges[1:]) / 2 / sample_rate
    bone = (1 + track.rate) * (times + track.lags(sample_rate) / sample_rate)
    rate = (1 + track.rate) * (1 + slope) - 1
    return Place(rate, times, bone / (1 + rate) - times, 0.0)


def _likeliest_in_bass(
    air: Samples, bone: Samples, sample_rate: int
) -> Callable[[Iterable[Place]], list[Place]]:
    """Return a function: of places, the `KEPT_PLACES` at which short channels' bass fits best."""
    rate = min(BASS_RATE_HZ, sample_rate)
    bass_air, bass_bone = (
        torch.from_numpy(resample(channel[:].double().numpy(), sample_rate, rate))
        for channel in (air, bone)
    )
    seconds = len(air) / sample_rate
    whitener = Whitener(bass_air, rate)

    def gain(place: Place) -> float:
        _, curves = _curves(whitener, on_clock(bass_bone, place.rate), place, rate)
        gain, _ = best_path(curves, _jump_cost(curves, seconds))
        return gain - sum(curve.ordinary for curve in curves)

    return lambda places: sorted(places, key=gain, reverse=True)[:KEPT_PLACES]


def _curves(
    air: Whitener, bone: Samples, place: Place, sample_rate: int
) -> tuple[NDArray[np.int64], list[LagCurve]]:
    """Return the edges of air's segments, and the likelihood of the lags near a place.

    Args:
        air: the air channel.
        bone: (T',), on a clock without the rate of the place.
        place: where bone is expected.
        sample_rate: in Hz.
    """
    num_samples = len(air.signal)
    count = max(1, round(num_samples / sample_rate / SEGMENT_S))
    edges = np.array([round(k * num_samples / count) for k in range(count + 1)])
    ranges = []
    for centre_s in (edges[:-1] + edges[1:]) / 2 / sample_rate:
        near = place.lags_s[np.abs(place.times_s - centre_s) <= NEAR_S]
        if len(near) == 0:
            near = np.interp([centre_s], place.times_s, place.lags_s)
        low, high = near.min() - MAX_JUMP_S, near.max() + MAX_JUMP_S
        ranges.append((round(low * sample_rate), round(high * sample_rate)))
    return edges, lag_curves(air, Whitener(bone, sample_rate), edges, ranges, sample_rate)


def _jump_cost(curves: list[LagCurve], seconds: float) -> float:
    """Return what a jump costs in likelihood, in a recording of so many seconds."""
    whole, _ = best_path(curves, math.inf)
    return max(JUMP_COST, JUMP_COST_S * whole / seconds)


def _track(
    air: Samples, whitener: Whitener, bone: Samples, place: Place, sample_rate: int
) -> Track:
    """Follow the lag from segment to segment, near where it is expected."""
    bone = on_clock(bone, place.rate)
    seconds = len(air) / sample_rate
    edges, curves = _curves(whitener, bone, place, sample_rate)
    lags = np.interp(edges / sample_rate, place.times_s, place.lags_s) * sample_rate
    intact = _intact(air, bone, edges, lags, sample_rate)
    # Where one channel is missing, chance picks the lag. Where much is, pauses are silenced.
    broken = np.array([not intact[i:k].all() for i, k in itertools.pairwise(edges.tolist())])
    if broken.mean() <= MAX_BROKEN:
        sound = [
            LagCurve(curve.first, curve.values * (not is_broken))
            for curve, is_broken in zip(curves, broken.tolist(), strict=True)
        ]
    else:
        sound = curves
    _, path = best_path(sound, math.inf)
    cost = _jump_cost(sound, seconds)
    _, jumping = best_path(sound, cost)
    # What is too little for a jump is enough for a doubt.
    _, free = best_path(sound, JUMP_COST)
    doubted, own = np.zeros(len(path), dtype=bool), path
    if breaks_of(free):
        speech_s = _speech_s(air, intact, edges, sample_rate)
        sure = confirmed(sound, jumping, speech_s)
        doubted = contradicting(sound, free, sure, speech_s)
        doubted &= not doubted.all()
        path = sure if breaks_of(sure) or doubted.any() else path
        own = np.where(doubted, free, path)
    ordinary = sum(curve.ordinary for curve in curves)
    found = sum(curve.at(cell) for curve, cell in zip(curves, path.tolist(), strict=True))
    gain = found - ordinary - cost * len(breaks_of(path))
    breaks = sorted({*breaks_of(own), *breaks_of(doubted.astype(np.int64), 0)})
    return Track(place.rate, edges, curves, own, breaks, doubted, gain)


def coarse_lag(air: Samples, bone: Samples, sample_rate: int) -> tuple[int, float]:
    """Return the likeliest lag in samples, up to `MAX_OFFSET_S`, and the evidence for it.

    The evidence is the likelihood of that lag over that of an ordinary one, the 99th percentile.
    """
    length = min(len(air), len(bone))
    size = min(length, round(COARSE_SECONDS * sample_rate))
    start = _loudest(part_of(air, 0, length), size) if size < length else 0
    air, bone, length = air[start : start + size], bone[start : start + size], size
    max_lag = min(round(MAX_OFFSET_S * sample_rate), length // 2)
    size = fast_length(length + max_lag)
    x, y = (whitened(torch.fft.rfft(signal, size)) for signal in (air, bone))
    likelihood = lag_likelihood(x, y, size, (-max_lag, max_lag), sample_rate)
    best = int(likelihood.argmax())
    ordinary = float(torch.quantile(likelihood, 0.99))
    return best - max_lag, float(likelihood[best]) / max(ordinary, 1e-12)


def _loudest(signal: Samples, num_samples: int) -> int:
    """Return the first of those `num_samples` consecutive samples that have the most energy."""
    best, start = -1.0, 0
    energy = 0.0  # of the samples from a block's first one on
    for first in range(0, len(signal) - num_samples + 1, BLOCK):
        if first == 0:
            energy = num_samples * mean_square(part_of(signal, 0, num_samples))
        last = min(first + BLOCK, len(signal) - num_samples)
        gained = signal[first + num_samples : last + num_samples].square()
        change = torch.nn.functional.pad((gained - signal[first:last].square()).cumsum(0), (1, 0))
        place = int(change.argmax())
        if energy + float(change[place]) > best:
            best, start = energy + float(change[place]), first + place
        energy += float(change[-1])
    return start


def _intact(
    air: Samples,
    bone: Samples,
    places: NDArray[np.int64],
    lags: NDArray[np.floating],
    sample_rate: int,
) -> NDArray[np.bool_]:
    """Tell which samples of air are outside of segments in which a channel stands still, (T,).

    Bone is later by `lags` at the samples of air `places`.
    """
    intact = np.ones(len(air), dtype=bool)
    for channel, delays in ((air, 0 * lags), (bone, lags)):
        for segment in held(channel, sample_rate):
            if segment.seconds >= LEAST_HELD_S:
                first = round(segment.start_s * sample_rate)
                first -= round(float(np.interp(first, places + delays, delays)))
                last = first + round(segment.seconds * sample_rate)
                intact[max(first, 0) : max(last, 0)] = False
    return intact


def _speech_s(
    air: Samples, intact: NDArray[np.bool_], edges: NDArray[np.int64], sample_rate: int
) -> NDArray[np.floating]:
    """Return how many seconds of speech, of which nothing is missing, each segment has."""
    hop = frame_size(sample_rate) // 4
    speaks = frames_with_speech(air, sample_rate).numpy()
    speaks = np.append(speaks, False)  # behind the last frame
    counts = []
    for first, last in itertools.pairwise(edges.tolist()):
        frames = (np.arange(first, last) // hop).clip(max=len(speaks) - 1)
        counts.append(np.count_nonzero(speaks[frames] & intact[first:last]))
    return np.array(counts) / sample_rate


def jump_place(
    air: Samples,
    bone: Samples,
    within: tuple[int, int],
    lags: tuple[float, float],
    sample_rate: int,
) -> tuple[int, int, int]:
    r"""Find the sample of air from which on the second lag holds instead of the first.

    With :math:`p_k(t) = x_b^*(t)\,y_b(t+\tau_k)` of the octaves' analytic signals, it maximises
    :math:`\sum_b w_b\,(|\sum_{t<s} p_1| + |\sum_{t\ge s} p_2|)` over s: the log likelihood of
    Gaussian noise, with :math:`w_b = n_b\rho_b/(1-\rho_b^2)` over the octave's power.

    Returns:
        The first likely sample, the likeliest, and the last likely one.
    """
    first, last = within
    size = fast_length(last - first)
    parts = [_zero_padded(bone, first + round(lag), last + round(lag)) for lag in lags]
    x, *y = (whitened(torch.fft.rfft(part, size)) for part in (air[first:last], *parts))
    frequencies = torch.fft.rfftfreq(size, 1 / sample_rate, dtype=torch.float64)
    score = torch.zeros(size, dtype=torch.float64)
    low = LOWEST_HZ
    while low < 0.9 * sample_rate / 2:
        band = slice(*torch.searchsorted(frequencies, torch.tensor([low, 2 * low])).tolist())

        def analytic(spectrum: Tensor, band: slice = band) -> Tensor:
            full = spectrum.new_zeros(size)
            full[band] = spectrum[band]
            return torch.fft.ifft(full)

        before, after = (analytic(x).conj() * analytic(part) for part in y)
        power = analytic(x).abs().square().sum() * analytic(y[0]).abs().square().sum()
        left = before.cumsum(0)
        right = after.sum() - after.cumsum(0)
        shared = (left.abs() + right.abs()) / power.sqrt().clamp(min=1e-30)
        best = min(float(shared.max()), MOST_SHARED)
        score += (band.stop - band.start) * best / (1 - best**2) * shared
        low *= 2
    score = score[: last - first]
    likely = torch.nonzero(score > score.max() - PLACE_MARGIN)[:, 0] + first
    return int(likely[0]), first + int(score.argmax()), int(likely[-1])


def _zero_padded(signal: Samples, first: int, last: int) -> Tensor:
    """Return the samples from `first` to before `last`, zeros where there are none."""
    inside = signal[max(first, 0) : max(last, 0)]
    before = min(max(-first, 0), last - first)
    return torch.nn.functional.pad(inside, (before, last - first - before - len(inside)))
