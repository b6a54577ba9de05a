r"""The difference of two recorders' clocks, in parts per million.

Two windows of one pair, t seconds apart, see the same response but a delay that differs by
:math:`d\,t`. So the drift is the d that makes the windows' cross-spectra :math:`C_w` add up best:

.. math:: \Lambda(d) = -n\sum_f\log\Big(1 - \frac{|\sum_w C_w(f)\,e^{j2\pi f d t_w}|^2}
    {P_{xx}(f)P_{yy}(f)}\Big)

the log likelihood ratio of one filter, whatever it is, behind all windows. Neither the sensor's
phase nor its polarity has to be known.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bcsim.dsp.band_edge import band_edge_hz
from bcsim.dsp.lazy_signal import Samples
from bcsim.dsp.spectra import independent_averages, power_of, spectra_at
from bcsim.fitting.pairs import frame_size, frames_with_speech

WINDOWS, LEAST_WINDOWS = 64, 4
LEAST_FRAMES = 4  # of speech in a window
SEARCH_S = 0.003  # to either side of the first guess, over the whole recording
STEP_S = 75e-6
_BLOCK = 256  # frames that are transformed at a time
HIGHEST_HZ = 8000.0
LOWEST_HZ = 60.0
# The sensor's phase changes with what is said, which looks like a drift. Measured on 16 throat
# pairs of 3-7 s from one recorder: 26 us rms over the whole recording, 48 at most.
ERROR_S = 25e-6
OVERDISPERSION = 10.0  # of that error over what the curvature of the likelihood promises
OWN_SIGMAS = 5.0  # by which a pair's drift must differ from that of the others
COMMON_SIGMAS = 4.0  # by which a drift of all must differ from none
LEAST_S = 50e-6  # over the longest recording: less does no harm


@dataclass(frozen=True)
class Drift:
    """The drift of one pair as measured: growth of bone's delay, in microseconds a second."""

    ppm: float
    error_ppm: float  # standard error; infinite where nothing can be said


def measure_drift(air: Samples, bone: Samples, sample_rate: int) -> Drift:
    """Measure the drift between two channels (T,) that are synchronised to some milliseconds."""
    likelihood = _likelihood_of_drifts(air, bone, sample_rate)
    if likelihood is None:
        return Drift(0.0, math.inf)
    seconds = len(air) / sample_rate
    centre, step, num_steps = 0.0, STEP_S, round(SEARCH_S / STEP_S)
    curvature = 0.0
    for _ in range(3):
        first = centre - step * num_steps
        curve = likelihood(first / seconds, step / seconds, 2 * num_steps + 1)
        best = int(np.argmax(curve))
        if not 0 < best < len(curve) - 1:
            return Drift(0.0, math.inf)
        before, at, after = curve[best - 1 : best + 2]
        curvature = (2 * at - before - after) / step**2
        centre = first + step * best
        step, num_steps = step / 6, 8
    if curvature <= 0:
        return Drift(0.0, math.inf)
    error_s = max(ERROR_S, OVERDISPERSION / math.sqrt(curvature))
    return Drift(1e6 * centre / seconds, 1e6 * error_s / seconds)


def agreed_drifts(drifts: Sequence[Drift], seconds: Sequence[float]) -> list[float]:
    """Decide on the drift of each pair, in ppm.

    Recorders are shared: pairs have the drift on which most of them agree, unless their own
    differs by more than its error explains; and none at all, unless it is beyond doubt. The
    drifts are as measured; `seconds` are the durations of the pairs.

    Example:
        >>> agreed_drifts([Drift(-180.0, 5.0), Drift(-190.0, 5.0), Drift(290.0, 5.0)], [5, 5, 5])
        [-185.0, -185.0, 290.0]
        >>> agreed_drifts([Drift(4.0, 5.0), Drift(-6.0, 5.0)], [5, 5])
        [0.0, 0.0]
    """
    known = [drift for drift in drifts if math.isfinite(drift.error_ppm)]

    def distance(ppm: float) -> float:
        return sum(min(_sigmas(drift, ppm), OWN_SIGMAS) ** 2 for drift in known)

    common = min([0.0, *(drift.ppm for drift in known)], key=distance)
    inliers = [drift for drift in known if _sigmas(drift, common) < OWN_SIGMAS]
    weights = [drift.error_ppm**-2 for drift in inliers]
    if weights:
        common = sum(w * d.ppm for w, d in zip(weights, inliers, strict=True)) / sum(weights)
        certain = abs(common) * math.sqrt(sum(weights)) > COMMON_SIGMAS
        if not certain or abs(common) * max(seconds) < 1e6 * LEAST_S:
            common = 0.0
    own = [math.isfinite(d.error_ppm) and _sigmas(d, common) > OWN_SIGMAS for d in drifts]
    return [round(d.ppm if is_own else common, 3) for d, is_own in zip(drifts, own, strict=True)]


def _sigmas(drift: Drift, ppm: float) -> float:
    return abs(drift.ppm - ppm) / drift.error_ppm


def _likelihood_of_drifts(
    air: Samples, bone: Samples, sample_rate: int
) -> Callable[[float, float, int], list[float]] | None:
    """Return the log likelihood ratio of evenly spaced drifts: the first, their step, their number.

    None where there is too little speech.
    """
    num_fft = frame_size(sample_rate)
    hop = num_fft // 4
    active = frames_with_speech(air, sample_rate)
    places = torch.nonzero(active)[:, 0]
    if len(places) < LEAST_WINDOWS * LEAST_FRAMES:
        return None
    frequencies = torch.linspace(0, sample_rate / 2, num_fft // 2 + 1, dtype=torch.float64)
    parts = places.tensor_split(min(WINDOWS, len(places) // LEAST_FRAMES))
    window_of = torch.cat([torch.full_like(part, number) for number, part in enumerate(parts)])
    xx = yy = torch.zeros(len(frequencies), dtype=torch.float64)
    windows = torch.zeros(len(parts), len(xx), dtype=torch.complex128)
    for block, numbers in zip(places.split(_BLOCK), window_of.split(_BLOCK), strict=True):
        x, y = (spectra_at(signal, block * hop, num_fft) for signal in (air, bone))
        windows.index_add_(0, numbers, x.conj() * y)
        xx, yy = xx + power_of(x).sum(0), yy + power_of(y).sum(0)
    # What a resampler left above the recorded band moves with its own clock.
    edges_hz = [band_edge_hz(power, sample_rate) or math.inf for power in (xx, yy)]
    highest_hz = min(HIGHEST_HZ, 0.95 * sample_rate / 2, 0.95 * min(edges_hz))
    wanted = (frequencies > LOWEST_HZ) & (frequencies < highest_hz)
    windows, xx, yy = windows[:, wanted], xx[wanted], yy[wanted]
    middles = [(float(part.double().mean()) * hop + num_fft / 2) / sample_rate for part in parts]
    time_s = torch.tensor(middles, dtype=torch.float64)
    turn = 2 * math.pi * (time_s - time_s.mean())[:, None] * frequencies[wanted]
    power = (xx * yy).clamp(min=torch.finfo(torch.float64).tiny)
    averages = independent_averages(len(places), num_fft, hop)

    def likelihood(first: float, step: float, count: int) -> list[float]:
        turned = windows * torch.polar(torch.ones_like(turn), turn * first)
        further = torch.polar(torch.ones_like(turn), turn * step)
        totals = []
        for _ in range(count):
            totals.append(turned.sum(0))
            turned = turned * further
        shared = (power_of(torch.stack(totals)) / power).clamp(max=1 - 1e-9)
        return (-averages * torch.log1p(-shared).sum(1)).tolist()

    return likelihood
