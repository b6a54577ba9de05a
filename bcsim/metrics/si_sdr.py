"""Scale-invariant signal-to-distortion ratio (Le Roux et al. 2019, arXiv 1811.02508)."""

import math
from functools import partial

import torch

from bcsim.dsp.fir import fast_length, frequency_grid
from bcsim.metrics import METRICS
from bcsim.metrics.base import Metric
from bcsim.metrics.comparison import SAMPLE_RATE, Comparison

LOW_HZ, HIGH_HZ = 100.0, 1000.0
MAX_LAG_S = 0.002
LIMIT_DB = 100.0  # equal signals would have an infinite ratio


@METRICS.register("si_sdr")
@partial(
    Metric,
    label="SI-SDR",
    better="higher",
    worst=-LIMIT_DB,
    unit="dB",
    enhancement=1,
    selects=True,
)
def si_sdr(pair: Comparison) -> float:
    r"""Return the SI-SDR of the whole signals, in dB, within +-100 dB.

    .. math:: 10 \log_{10} \frac{\lVert a s \rVert^2}{\lVert a s - \hat{s} \rVert^2},
        \quad a = \frac{\langle \hat{s}, s \rangle}{\lVert s \rVert^2}

    of the signals without their means.
    """
    estimate, real = (signal - signal.mean() for signal in (pair.estimate, pair.real))
    scaled = real * ((estimate * real).sum() / real.square().sum())
    return _ratio_db(float(scaled.square().sum()), float((scaled - estimate).square().sum()))


@METRICS.register("si_sdr_100_1000")
@partial(
    Metric,
    label="SI-SDR 0.1-1 kHz",
    better="higher",
    worst=-LIMIT_DB,
    unit="dB",
    note="a diagnostic",
    simulation=9,
)
def si_sdr_100_1000(pair: Comparison) -> float:
    r"""Return the SI-SDR from 100 to 1000 Hz at the best lag within 2 ms, whatever the sign.

    A diagnostic of simulators: how much of the sensor's signal a delayed, inverted or scaled copy
    of the simulated one explains. With :math:`\rho` the normalised correlation, it is
    :math:`10\log_{10}\rho^2/(1-\rho^2)`, within +-100 dB.
    """
    max_lag = round(MAX_LAG_S * SAMPLE_RATE)
    size = fast_length(len(pair.real) + max_lag)
    frequencies = frequency_grid(size, SAMPLE_RATE, pair.real)
    band = (frequencies >= LOW_HZ) & (frequencies <= HIGH_HZ)
    estimate, real = (torch.fft.rfft(s, size) * band for s in (pair.estimate, pair.real))
    correlation = torch.fft.irfft(estimate.conj() * real, size)
    best = float(torch.cat([correlation[-max_lag:], correlation[: max_lag + 1]]).abs().max())
    energies = [float(torch.fft.irfft(s, size).square().sum()) for s in (estimate, real)]
    if min(energies) == 0:
        return -LIMIT_DB if energies[1] > 0 else math.nan
    explained = min(best**2 / (energies[0] * energies[1]), 1.0)
    return _ratio_db(explained, 1 - explained)


def _ratio_db(signal: float, error: float) -> float:
    """Return the ratio of two energies in dB, within +-100 dB."""
    if signal == 0 or error == 0:
        return LIMIT_DB if error == 0 else -LIMIT_DB
    return max(-LIMIT_DB, min(LIMIT_DB, 10 * math.log10(signal / error)))
