"""Mel-cepstral distortion (Kubichek 1993, doi 10.1109/PACRIM.1993.407206)."""

import math
from functools import partial

import torch
from torch import Tensor

from bcsim.metrics import METRICS
from bcsim.metrics.base import Metric
from bcsim.metrics.comparison import FLOOR_DB, Comparison

NUM_COEFFICIENTS = 13


@METRICS.register("mcd")
@partial(
    Metric,
    label="MCD",
    better="lower",
    worst=FLOOR_DB,
    unit="dB",
    note="mel-cepstral distortion",
    headline="MCD",
    simulation=7,
)
def mcd(pair: Comparison) -> float:
    r"""Return the mel-cepstral distortion over active frames, in dB.

    .. math:: \frac{10}{\ln 10}\,\frac1T\sum_t \sqrt{2\sum_{n=1}^{13}\Delta c_n^2},\quad
        c_n = \frac{2}{M}\sum_{m=0}^{M-1} \ln|X_m| \cos\frac{\pi n (m+1/2)}{M}

    with :math:`|X_m|` the root of the power in mel band m of 40. Level (n = 0) does not count.
    """
    estimate, real = (levels[pair.active] for levels in pair.mel_levels_db)
    difference = (estimate - real) * (math.log(10) / 20) @ cepstrum_matrix(estimate.shape[1])
    distortion = (2 * difference.square().sum(dim=1)).sqrt()
    return float(10 / math.log(10) * distortion.mean())


def cepstrum_matrix(num_bands: int) -> Tensor:
    """Return the matrix from log magnitudes to the coefficients 1 to 13, (M, 13)."""
    band = torch.arange(num_bands, dtype=torch.float64)[:, None] + 0.5
    order = torch.arange(1, NUM_COEFFICIENTS + 1, dtype=torch.float64)
    return 2 / num_bands * torch.cos(math.pi * order * band / num_bands)
