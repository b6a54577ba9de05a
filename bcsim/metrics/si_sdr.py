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
@partial(Metric, label="SI-SDR", better="higher", unit="dB", enhancement=1, selects=True)
def si_sdr(pair: Comparison) -> float:
    r"""Return the SI-SDR of the whole signals, in dB, within +-100 dB.

    .. math:: 10 \log_{10} \frac{\lVert a s \rVert^2}{\lVert a s - \hat{s} \rVert^2},
        \quad a = \frac{\langle \hat{s}, s \rangle}{\lVert s \rVert^2}

    of the signals without their means.
    """
    if pair.is_void:
        return math.nan
    estimate, real = (signal - signal.mean() for signal in (pair.estimate, pair.real))
    tiny = torch.finfo(real.dtype).eps
    scaled = real * (((estimate * real).sum() + tiny) / (real.square().sum() + tiny))
    error = (scaled - estimate).square().sum() + tiny
    value = 10 * ((scaled.square().sum() + tiny) / error).log10()
    return max(-LIMIT_DB, min(LIMIT_DB, float(value)))


@METRICS.register("si_sdr_100_1000")
@partial(
    Metric, label="SI-SDR 0.1-1 kHz", better="higher", unit="dB", note="a diagnostic", simulation=9
)
def si_sdr_100_1000(pair: Comparison) -> float:
    r"""Return the SI-SDR from 100 to 1000 Hz at the best lag within 2 ms, whatever the sign.

    A diagnostic of simulators: how much of the sensor's signal a delayed, inverted or scaled copy
    of the simulated one explains. With :math:`\rho` the normalised correlation, it is
    :math:`10\log_{10}\rho^2/(1-\rho^2)`, within +-100 dB.
    """
    if pair.is_void:
        return math.nan
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
    ratio = max(explained, 1e-300) / max(1 - explained, 1e-300)
    return max(-LIMIT_DB, min(LIMIT_DB, 10 * math.log10(ratio)))
