r"""Timing of two recorders: a coarse lag, how sure it is, and jumps in the middle.

All of it rests on one statistic. In each octave, whitened, the channels have the analytic
cross-correlation :math:`\rho_b(\tau)`, whose magnitude knows neither phase nor polarity. Of n
samples of a Gaussian signal, :math:`-n\log(1-|\rho_b|^2)` is the log likelihood ratio of being
shared; octaves without coherence add next to nothing.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bcsim.dsp.activity import is_active
from bcsim.dsp.fir import fast_length
from bcsim.dsp.spectra import fractional_octave_smooth, frame_power
from bcsim.fitting.diagnosis.defects import held
from bcsim.fitting.pairs import Jump, frame_size
from bcsim.sensors.recorded_pair import RecordedPair

MAX_OFFSET_S = 1.2  # of the coarse search
COARSE_SECONDS = 60.0  # of signal that the coarse search looks at
LOWEST_HZ = 100.0

# Jumps. Measured on the 16 throat pairs: whole, none gains anything by a jump; with one of 5 to
# 200 ms in the middle, each gains 13 to 94 % of its likelihood.
SEGMENT_S = 1.0
MAX_SEGMENTS = 300
MAX_JUMP_S = 0.25
MAX_DRIFT = 600e-6
CELL_S = 0.0005  # of the lags that a path runs through
SLACK = 2  # cells that a lag may move from segment to segment without a jump
JUMP_GAIN = 0.05  # of the likelihood, that jumps have to win
JUMP_COST = 60.0  # of likelihood, each, at least,
JUMP_COST_S = 0.5  # and beside others or dropouts as much as so many seconds of the recording have
LEAST_HELD_S = 0.06  # from here on, a channel that stands still spoils a segment
MAX_BROKEN = 0.4  # of the segments may count for nothing
LEAST_SPEECH_S = 0.2  # on either side of a jump; with 0.5, jumps 1 s into a recording go unseen
JUMP_MARGIN_S = 0.05  # that is left out beside a jump, and the jump's size
LEAST_SLOPE_S = 0.003  # over the part between jumps: the lags of segments show no smaller drift


@dataclass(frozen=True)
class Timing:
    """Lag between the channels of one pair, to within some milliseconds.

    Args:
        lag: samples by which bone is later than air, at the middle of the part that is used.
        start: first sample of air in the longest part without a jump, which is used.
        stop: sample of air after the last one of that part.
        slope: slope of the lag within that part, in seconds a second: a first estimate of a large
            drift, or 0.
        jumps: jumps of the delay, in order of time.
        evidence: likelihood of the coarse lag over that of an ordinary one (the 99th
            percentile of all lags). Unrelated recordings stay under 7; 16 throat pairs exceed 17.
        likelihood_rate: log likelihood of the lags found over ordinary ones, per second.
    """

    lag: int
    start: int
    stop: int
    slope: float
    jumps: tuple[Jump, ...]
    evidence: float
    likelihood_rate: float


def measure_timing(pair: RecordedPair, sample_rate: int) -> Timing:
    """Find the lag between the channels, and the longest part in which it does not jump."""
    air, bone = without_dc(pair)
    lag, evidence = _coarse(air, bone, sample_rate)
    edges, likelihood = _segment_likelihood(air, bone, lag, sample_rate)
    intact = _intact(air, bone, lag, sample_rate)
    # Where one channel is missing, chance picks the lag. Where much is, pauses are silenced.
    broken = np.array([not intact[i:k].all() for i, k in itertools.pairwise(edges.tolist())])
    sound = likelihood * (~broken | (broken.mean() > MAX_BROKEN))[:, None]
    path = _path(sound, _speech_s(air, intact, edges, sample_rate), len(air) / sample_rate)
    ordinary = float(np.quantile(likelihood, 0.9, axis=1).sum())
    found = likelihood[np.arange(len(path)), path]
    rate = (found.sum() - ordinary) / (len(air) / sample_rate)
    # From cells to lags in samples.
    cell = max(1, round(CELL_S * sample_rate))
    lags = (path + 0.5) * cell + lag - likelihood.shape[1] * cell // 2
    breaks = np.flatnonzero(np.abs(np.diff(path)) > SLACK) + 1
    jumps, places = [], [0]
    for k in breaks.tolist():
        within = (int(edges[k - 1]), int(edges[k + 1]))
        place = _jump_place(air, bone, within, (lags[k - 1], lags[k]), sample_rate)
        jumps.append(Jump(place / sample_rate, float(lags[k] - lags[k - 1]) / sample_rate))
        places.append(place)
    places.append(len(air))
    longest = int(np.argmax(np.diff(places)))
    bounds = np.concatenate([[0], breaks, [len(path)]])
    inside = slice(int(bounds[longest]), int(bounds[longest + 1]))
    start, stop = places[longest], places[longest + 1]
    # What one channel lost has no partner in the other: the place is sure up to the jump's size.
    spare = round(JUMP_MARGIN_S * sample_rate)
    margins = [
        min(spare + round(abs(jump.size_s) * sample_rate), (stop - start) // 4) for jump in jumps
    ]
    start += margins[longest - 1] if longest > 0 else 0
    stop -= margins[longest] if longest < len(jumps) else 0
    centres = (edges[:-1] + edges[1:])[inside] / 2
    slope, middle = _line(centres, lags[inside], found[inside], (start + stop) / 2)
    if abs(slope) * (stop - start) < LEAST_SLOPE_S * sample_rate:
        slope = 0.0
    return Timing(
        lag=round(middle) if jumps or slope else lag,
        start=start,
        stop=stop,
        slope=slope,
        jumps=tuple(jumps),
        evidence=evidence,
        likelihood_rate=float(rate),
    )


def without_dc(pair: RecordedPair) -> tuple[Tensor, Tensor]:
    """Return both channels, of equal length and without DC, as float64."""
    length = min(len(pair.air), len(pair.bone))
    air, bone = (
        torch.from_numpy(np.array(samples[:length], dtype=np.float64))
        for samples in (pair.air, pair.bone)
    )
    return air - air.mean(), bone - bone.mean()


def synchronised_channels(pair: RecordedPair, timing: Timing) -> tuple[Tensor, Tensor, int]:
    """Return both channels synchronised to some milliseconds, and the first sample of air therein.

    A drift is followed in whole samples: that leaves digital silence and held samples as they are.
    """
    air, bone = without_dc(pair)
    place = torch.arange(timing.start, timing.stop)
    middle = (timing.start + timing.stop) / 2
    bone_place = place + timing.lag + (timing.slope * (place - middle)).round().long()
    inside = (bone_place >= 0) & (bone_place < len(bone))
    place, bone_place = place[inside], bone_place[inside]
    return air[place], bone[bone_place], int(place[0])


def _coarse(air: Tensor, bone: Tensor, sample_rate: int) -> tuple[int, float]:
    length = min(len(air), round(COARSE_SECONDS * sample_rate))
    if length < len(air):  # where the most speech is
        energy = torch.nn.functional.pad(air.square().cumsum(0), (1, 0))
        start = int((energy[length:] - energy[:-length]).argmax())
        air, bone = air[start : start + length], bone[start : start + length]
    max_lag = min(round(MAX_OFFSET_S * sample_rate), length // 2)
    size = fast_length(length + max_lag)
    x, y = (_whitened(torch.fft.rfft(signal, size)) for signal in (air, bone))
    likelihood = _lag_likelihood(x, y, size, (-max_lag, max_lag), sample_rate)
    best = int(likelihood.argmax())
    ordinary = float(torch.quantile(likelihood, 0.99))
    return best - max_lag, float(likelihood[best]) / max(ordinary, 1e-12)


def _lag_likelihood(
    x: Tensor, y: Tensor, size: int, lags: tuple[int, int], sample_rate: int, share: float = 1.0
) -> Tensor:
    """Return the log likelihood ratio of every lag from the first to the last of `lags`.

    x and y, (F,), are the whitened spectra of air and bone over `size` samples; `share` is the
    part of the power of y that may belong to x at one lag.
    """
    first, last = lags
    frequencies = torch.fft.rfftfreq(size, 1 / sample_rate, dtype=torch.float64)
    likelihood = torch.zeros(last - first + 1, dtype=torch.float64)
    place = torch.arange(first, last + 1) % size
    low = LOWEST_HZ
    while low < 0.9 * sample_rate / 2:
        high = min(2 * low, 0.95 * sample_rate / 2)
        band = slice(*torch.searchsorted(frequencies, torch.tensor([low, high])).tolist())
        product = x.new_zeros(size)
        product[band] = y[band] * x[band].conj()
        norm = share * x[band].abs().square().sum() * y[band].abs().square().sum()
        correlation = (torch.fft.ifft(product) * size)[place]
        shared = (correlation.abs().square() / norm.clamp(min=1e-30)).clamp(max=1 - 1e-9)
        likelihood -= (band.stop - band.start) * torch.log1p(-shared)
        low = high
    return likelihood


def _whitened(spectrum: Tensor) -> Tensor:
    """Divide by the magnitude, smoothed over a sixth of an octave."""
    smooth = fractional_octave_smooth(spectrum.abs().square(), 6).clamp(min=0).sqrt()
    return spectrum / smooth.clamp(min=1e-12 * float(smooth.max()) + 1e-300)


def _segment_likelihood(
    air: Tensor, bone: Tensor, lag: int, sample_rate: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the edges of segments, and for each the likelihood of lags around `lag`, in cells."""
    length = len(air)
    seconds = length / sample_rate
    count = max(1, min(MAX_SEGMENTS, round(seconds / SEGMENT_S)))
    cell = max(1, round(CELL_S * sample_rate))
    half_range_s = min(MAX_JUMP_S + MAX_DRIFT * seconds, MAX_OFFSET_S)
    cells = 2 * round(half_range_s * sample_rate / cell)
    half_range = cells * cell // 2
    size = fast_length(length)
    x, y = (
        torch.fft.irfft(_whitened(torch.fft.rfft(signal, size)), size)[:length]
        for signal in (air, bone)
    )
    margin = half_range + abs(lag)
    y = torch.nn.functional.pad(y, (margin, margin))
    edges = np.array([round(k * length / count) for k in range(count + 1)])
    size = fast_length(-(-length // count) + 1 + 2 * half_range)
    rows = []
    for first, last in itertools.pairwise(edges.tolist()):
        part = x[first:last]
        around = y[first + lag - half_range + margin : last + lag + half_range + margin]
        spectra = torch.fft.rfft(part, size), torch.fft.rfft(around, size)
        lags, share = (0, cells * cell - 1), len(part) / len(around)
        curve = _lag_likelihood(*spectra, size, lags, sample_rate, share)
        rows.append(curve.reshape(cells, cell).amax(dim=1).numpy())
    return edges, np.stack(rows)


def _path(
    likelihood: NDArray[np.float64], speech_s: NDArray[np.float64], seconds: float
) -> NDArray[np.int64]:
    """Return the lags of segments, as cells, with the jumps that the recording clearly has.

    Beside a dropout or a true jump chance adds some, so there each has to win more.
    """
    whole, steady = _best_path(likelihood, math.inf)
    path = steady
    costs = (JUMP_COST, max(JUMP_COST, JUMP_COST_S * whole / seconds))
    for cost in costs if likelihood.any(axis=1).all() else costs[1:]:
        split, path = _best_path(likelihood, cost)
        if split - whole < JUMP_GAIN * whole:
            return steady
        path = _without_short_parts(path, speech_s)
        if np.count_nonzero(np.abs(np.diff(path)) > SLACK) < 2:
            break
    return path


def _intact(air: Tensor, bone: Tensor, lag: int, sample_rate: int) -> NDArray[np.bool_]:
    """Tell which samples of air are outside of segments in which a channel stands still, (T,)."""
    intact = np.ones(len(air), dtype=bool)
    for channel, delay in ((air, 0), (bone, lag)):
        for segment in held(channel.numpy(), sample_rate):
            if segment.seconds >= LEAST_HELD_S:
                first = round(segment.start_s * sample_rate) - delay
                last = first + round(segment.seconds * sample_rate)
                intact[max(first, 0) : max(last, 0)] = False
    return intact


def _speech_s(
    air: Tensor, intact: NDArray[np.bool_], edges: NDArray[np.int64], sample_rate: int
) -> NDArray[np.float64]:
    """Return how many seconds of speech, of which nothing is missing, each segment has."""
    size = frame_size(sample_rate)
    active = is_active(frame_power(air[None], size, size // 4)[0])
    speaks = np.repeat(active.numpy(), size // 4)[: len(air)]
    speaks = np.pad(speaks, (0, len(air) - len(speaks))) & intact
    return np.add.reduceat(speaks, edges[:-1]) / sample_rate


def _without_short_parts(
    path: NDArray[np.int64], speech_s: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Give parts between jumps that hold too little speech to tell the lag of a neighbour."""
    path = path.copy()
    while True:
        breaks = np.flatnonzero(np.abs(np.diff(path)) > SLACK) + 1
        bounds = [0, *breaks.tolist(), len(path)]
        spoken = [float(speech_s[i:k].sum()) for i, k in itertools.pairwise(bounds)]
        shortest = int(np.argmin(spoken))
        if len(spoken) == 1 or spoken[shortest] >= LEAST_SPEECH_S:
            return path
        first, last = bounds[shortest], bounds[shortest + 1]
        before = shortest > 0 and (
            shortest == len(spoken) - 1 or spoken[shortest - 1] >= spoken[shortest + 1]
        )
        path[first:last] = path[first - 1] if before else path[last]


def _best_path(likelihood: NDArray[np.float64], cost: float) -> tuple[float, NDArray[np.int64]]:
    """Return the most likely lags of consecutive segments, as cells, and their likelihood.

    From one segment to the next the lag moves by up to `SLACK` cells, or anywhere at a `cost`
    (Viterbi's algorithm).
    """
    count = likelihood.shape[1]
    total = likelihood[0].copy()
    came_from = []
    for row in likelihood[1:]:
        padded = np.pad(total, SLACK, constant_values=-np.inf)
        near = np.stack([padded[k : k + count] for k in range(2 * SLACK + 1)])
        source = np.arange(count) + near.argmax(axis=0) - SLACK
        steady = near.max(axis=0)
        best = int(total.argmax())
        jumps = total[best] - cost > steady
        came_from.append(np.where(jumps, best, source))
        total = np.where(jumps, total[best] - cost, steady) + row
    path = [int(total.argmax())]
    for source in reversed(came_from):
        path.append(int(source[path[-1]]))
    return float(total.max()), np.array(path[::-1])


def _jump_place(
    air: Tensor, bone: Tensor, within: tuple[int, int], lags: tuple[float, float], sample_rate: int
) -> int:
    r"""Find the sample of air from which on the second lag holds instead of the first.

    With :math:`p_k(t) = x_b^*(t)\,y_b(t+\tau_k)` of the octaves' analytic signals, it maximises
    :math:`\sum_b |\sum_{t<s} p_1|^2 + |\sum_{t\ge s} p_2|^2` over s, each octave by its power.
    """
    first, last = within
    size = fast_length(last - first)
    margin = round(max(abs(lag) for lag in lags)) + 1
    padded = torch.nn.functional.pad(bone, (margin, margin))
    parts = [padded[first + round(lag) + margin : last + round(lag) + margin] for lag in lags]
    x, *y = (_whitened(torch.fft.rfft(part, size)) for part in (air[first:last], *parts))
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
        bins = band.stop - band.start
        score += bins * (left.abs().square() + right.abs().square()) / power.clamp(min=1e-30)
        low *= 2
    return first + int(score[: last - first].argmax())


def _line(
    place: NDArray[np.float64], lags: NDArray[np.float64], weight: NDArray[np.float64], at: float
) -> tuple[float, float]:
    """Return the slope of a weighted line through the lags, and its value `at` a sample."""
    weight = weight / max(weight.sum(), 1e-12)
    centre, mean = float(weight @ place), float(weight @ lags)
    spread = float(weight @ (place - centre) ** 2)
    slope = float(weight @ ((place - centre) * (lags - mean))) / spread if spread > 0 else 0.0
    return slope, mean + slope * (at - centre)
