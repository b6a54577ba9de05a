"""Scale-invariant signal-to-distortion ratio (Le Roux et al. 2019, arXiv 1811.02508)."""

import math

import torch

from bcsim.dsp.fir import fast_length, frequency_grid
from bcsim.extras import optional_import
from bcsim.metrics import METRICS
from bcsim.metrics.comparison import SAMPLE_RATE, Comparison

LOW_HZ, HIGH_HZ = 100.0, 1000.0
MAX_LAG_S = 0.002
LIMIT_DB = 100.0  # equal signals would have an infinite ratio


@METRICS.register("si_sdr")
def si_sdr(pair: Comparison) -> float:
    """Return the SI-SDR of the whole signals as they stand, in dB, within +-100 dB."""
    if pair.is_void:
        return math.nan
    audio = optional_import("torchmetrics.functional.audio", extra="eval")
    value = audio.scale_invariant_signal_distortion_ratio(pair.estimate, pair.real, zero_mean=True)
    return max(-LIMIT_DB, min(LIMIT_DB, float(value)))


@METRICS.register("si_sdr_100_1000")
def si_sdr_100_1000(pair: Comparison) -> float:
    r"""Return the SI-SDR from 100 to 1000 Hz at the best lag within 2 ms, whatever the sign.

    A diagnostic of simulators: how much of the sensor's signal a delayed, inverted or scaled copy
    of the simulated one explains. With :math:`\rho` the normalised correlation, it is
    :math:`10\log_{10}\rho^2/(1-\rho^2)`, within +-100 dB.
    """
    if pair.is_void:
        return math.nan
    reach = round(MAX_LAG_S * SAMPLE_RATE)
    size = fast_length(len(pair.real) + reach)
    frequencies = frequency_grid(size, SAMPLE_RATE, pair.real)
    band = (frequencies >= LOW_HZ) & (frequencies <= HIGH_HZ)
    estimate, real = (torch.fft.rfft(s, size) * band for s in (pair.estimate, pair.real))
    correlation = torch.fft.irfft(estimate.conj() * real, size)
    best = float(torch.cat([correlation[-reach:], correlation[: reach + 1]]).abs().max())
    energies = [float(torch.fft.irfft(s, size).square().sum()) for s in (estimate, real)]
    if min(energies) == 0:
        return -LIMIT_DB if energies[1] > 0 else math.nan
    explained = min(best**2 / (energies[0] * energies[1]), 1.0)
    ratio = max(explained, 1e-300) / max(1 - explained, 1e-300)
    return max(-LIMIT_DB, min(LIMIT_DB, 10 * math.log10(ratio)))
