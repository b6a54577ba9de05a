r"""The trajectory of a delay over time: measured window by window, and smoothed.

Clocks change their rate slowly. So a delay is a broken line with a knot every `KNOT_S`, whose
slope changes little from knot to knot, and an offset for each part between jumps:

.. math:: \min_{c,\,o}\ \sum_i w_i\,\rho\big(d_i - o_{p(i)} - c(t_i)\big)
    + \sum_k \big((c_{k+1} - 2c_k + c_{k-1})/\sigma\big)^2

with Huber's :math:`\rho`, for a window in which little is shared may be wrong by anything.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bcsim.dsp.lazy_signal import Samples
from bcsim.dsp.spectra import CrossSpectra, cross_spectra
from bcsim.fitting.alignment.consensus import octave_phasors, peak_delay

KNOT_S = 3.0
BEND_LEAST_S = 12.0  # of a recording, from which on its drift may change
RATE_CHANGE = 60e-6  # of the clocks, standard deviation from knot to knot
LEAST_BEND_S = 150e-6  # by which the delay must leave a line
SLOPE_SIGMAS = 4.0  # by which a drift must differ from none
LEAST_DRIFT_S = 50e-6  # over the recording
HUBER = 2.5  # errors, from which on a window counts less
ROUNDS = 4
WINDOW_S = 1.2  # of speech in a window, at most
LEAST_FRAMES = 4  # of speech in a window
RANGE_S = 0.0015  # of the delay that a window may have left


@dataclass(frozen=True, eq=False)
class Measured:
    """Delays that were measured at moments of a recording.

    Args:
        times_s: (N,), moments of air.
        parts: (N,), number of the part between jumps that each is in.
        delays_s: (N,), delay of bone.
        weights: (N,), how much each counts.
    """

    times_s: NDArray[np.floating]
    parts: NDArray[np.int64]
    delays_s: NDArray[np.floating]
    weights: NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A smoothed delay: a broken line, common to all parts, and an offset of each part.

    Args:
        knots_s: (K,), moments of air.
        line_s: (K,), delay of the broken line at each.
        offsets_s: (parts,), what each part adds.
    """

    knots_s: NDArray[np.floating]
    line_s: NDArray[np.floating]
    offsets_s: NDArray[np.floating]

    def at(self, times_s: NDArray[np.floating], part: NDArray[np.int64] | int) -> NDArray:
        """Return the delay at moments of a part in seconds, continued linearly past the knots."""
        x, y = self.knots_s, self.line_s
        first, last = ((y[k + 1] - y[k]) / (x[k + 1] - x[k]) for k in (0, len(x) - 2))
        before, after = np.minimum(times_s - x[0], 0.0), np.maximum(times_s - x[-1], 0.0)
        return np.interp(times_s, x, y) + first * before + last * after + self.offsets_s[part]

    @property
    def is_straight(self) -> bool:
        """Whether the delay grows evenly."""
        return len(self.knots_s) == 2

    @property
    def slope(self) -> float:
        """The mean growth of the delay, in seconds a second."""
        return float((self.line_s[-1] - self.line_s[0]) / (self.knots_s[-1] - self.knots_s[0]))


def smoothed(
    measured: Measured,
    seconds: float,
    num_parts: int,
    error_s: float,
    least_drift_s: float = LEAST_DRIFT_S,
    least_bend_s: float = LEAST_BEND_S,
) -> Trajectory:
    """Smooth measured delays: steady if that explains them, or a line, or a broken line.

    Args:
        measured: the delays.
        seconds: duration of the recording.
        num_parts: number of parts between jumps.
        error_s: error of a single measurement, at least.
        least_drift_s: drift over the recording from which on there is a line.
        least_bend_s: distance from a line, from which on there is a broken line.
    """
    ends = np.array([0.0, seconds])
    line, slope_error = _fitted(measured, ends, num_parts, error_s)
    if seconds >= BEND_LEAST_S:
        knots = np.linspace(0, seconds, max(3, round(seconds / KNOT_S) + 1))
        broken, _ = _fitted(measured, knots, num_parts, error_s)
        for_line = Measured(
            measured.times_s,
            measured.parts,
            broken.at(measured.times_s, measured.parts),
            measured.weights,
        )
        bend = for_line.delays_s - line.at(measured.times_s, measured.parts)
        if np.abs(bend).max() > least_bend_s:
            return broken
    certain = abs(line.slope) > SLOPE_SIGMAS * slope_error
    if certain and abs(line.slope) * seconds > least_drift_s:
        return line
    return offsets(measured, seconds, num_parts)


def offsets(measured: Measured, seconds: float, num_parts: int) -> Trajectory:
    """Return the steady delay of each part; the arguments are those of `smoothed`."""
    steady = [
        np.average(measured.delays_s[inside], weights=measured.weights[inside])
        if (inside := measured.parts == part).any()
        else 0.0
        for part in range(num_parts)
    ]
    return Trajectory(np.array([0.0, seconds]), np.zeros(2), np.array(steady))


def _fitted(
    measured: Measured, knots_s: NDArray[np.floating], num_parts: int, error_s: float
) -> tuple[Trajectory, float]:
    """Return the trajectory with these knots, and the standard error of its mean slope."""
    num_knots = len(knots_s)
    hats = np.stack(
        [np.interp(measured.times_s, knots_s, row) for row in np.eye(num_knots)], axis=1
    )
    design = np.concatenate([hats, np.eye(num_parts)[measured.parts]], axis=1)
    spacing = float(knots_s[1] - knots_s[0])
    curvature = np.zeros((max(num_knots - 2, 0), num_knots + num_parts))
    for k in range(num_knots - 2):
        curvature[k, k : k + 3] = 1.0, -2.0, 1.0
    penalty = curvature.T @ curvature / (RATE_CHANGE * spacing) ** 2
    # The line is told from the offsets by being 0 at the first knot.
    penalty[0, 0] += 1e12
    penalty += 1e-3 * np.eye(len(penalty))
    share = measured.weights / max(float(measured.weights.mean()), 1e-30)
    weight, scale = share.copy(), error_s
    solution = np.zeros(num_knots + num_parts)
    normal = penalty
    for _ in range(6):
        normal = (design.T * (weight / scale**2)) @ design + penalty
        solution = np.linalg.solve(normal, (design.T * (weight / scale**2)) @ measured.delays_s)
        residual = np.abs(measured.delays_s - design @ solution)
        scale = max(error_s, 1.4826 * float(np.median(residual)))
        weight = share * np.minimum(1.0, HUBER * scale / residual.clip(min=1e-30))
    line, offsets = solution[:num_knots], solution[num_knots:]
    variance = float(np.linalg.inv(normal)[num_knots - 1, num_knots - 1])
    seconds = float(knots_s[-1] - knots_s[0])
    return Trajectory(knots_s, line, offsets), max(variance, 0.0) ** 0.5 / seconds


def window_delays(
    air: Samples,
    bone: Samples,
    bounds: Sequence[int],
    active: Tensor,
    num_fft: int,
    sample_rate: int,
    by_part: bool = False,
) -> Measured | None:
    """Measure how the delays of windows differ from each other.

    Each is compared with the measured phase of the others, whatever that is, as pairs are in
    `consensus`.

    Args:
        air: (T,), parts of the air channel, one behind the other.
        bone: (T,), the sensor's channel, synchronised to a millisecond.
        bounds: first sample of each part, and T.
        active: (frames,) of bool, frames of `num_fft` every quarter with speech.
        num_fft: frame length in samples.
        sample_rate: in Hz.
        by_part: whether each part is one window.

    Returns:
        The delays, at moments of the signals as given; None of too little speech.
    """
    hop = num_fft // 4
    spectra, times, parts = [], [], []
    for number in range(len(bounds) - 1):
        first_frame = -(-bounds[number] // hop)
        last_frame = (bounds[number + 1] - num_fft) // hop
        places = torch.nonzero(active[first_frame : last_frame + 1])[:, 0] + first_frame
        if len(places) < LEAST_FRAMES:
            continue
        size = max(2 * LEAST_FRAMES, round(WINDOW_S * sample_rate / hop))
        count = max(1, round(len(places) / size), min(3, len(places) // (2 * LEAST_FRAMES)))
        count = 1 if by_part else count
        for window in places.tensor_split(count):
            first, last = int(window[0]), int(window[-1])
            segment = slice(first * hop, last * hop + num_fft)
            keep = active[first : last + 1]
            spectra.append(cross_spectra(air[segment], bone[segment], num_fft, hop, keep))
            times.append((float(window.double().mean()) * hop + num_fft / 2) / sample_rate)
            parts.append(number)
    if len(spectra) < 2:
        return None
    delays, weights = _agreed(spectra, sample_rate)
    return Measured(np.array(times), np.array(parts), delays, weights)


def _agreed(spectra: Sequence[CrossSpectra], sample_rate: int) -> tuple[NDArray, NDArray]:
    """Return the delay of each window in seconds and its weight."""
    phasors = octave_phasors(spectra)
    frequencies = torch.linspace(0, sample_rate / 2, len(phasors[0]), dtype=torch.float64)
    delays = np.zeros(len(spectra))
    weights = np.ones(len(spectra))
    total = torch.stack(phasors).sum(dim=0)
    for _ in range(ROUNDS):
        before = delays.copy()
        # One by one: two windows that both moved to where the other was would change places.
        for index, own in enumerate(phasors):
            others = total - own
            unit = torch.polar(torch.ones_like(others.real), -torch.angle(others))
            step, score = peak_delay(own * unit, sample_rate, RANGE_S)
            step = float(np.clip(step, -RANGE_S - delays[index], RANGE_S - delays[index]))
            phasors[index] = own * torch.exp(2j * math.pi * step * frequencies)
            total = others + phasors[index]
            delays[index] += step
            weights[index] = max(score, 1e-6)
        if np.abs(delays - before).max() < 2e-6:
            break
    return delays - np.average(delays, weights=weights), weights
