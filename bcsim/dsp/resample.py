"""Resampling to another rate, and to the clock of another recorder."""

import numpy as np
import soxr
from numpy.typing import NDArray


def resample(samples: NDArray[np.float64], rate: int, new_rate: int) -> NDArray[np.float64]:
    """Resample (T,) or (T, C) from `rate` to `new_rate` in Hz (soxr, very high quality)."""
    return samples if rate == new_rate else soxr.resample(samples, rate, new_rate, quality="VHQ")


def resample_clock(samples: NDArray[np.float64], drift: float) -> NDArray[np.float64]:
    r"""Bring a recording to the clock of another one.

    .. math:: y(t) = x((1 + d)\,t)

    Args:
        samples: (T,), from a recorder that took 1 + `drift` samples while the other took one.
        drift: relative difference of the clocks, such as -188e-6.

    Returns:
        (T / (1 + drift),), the first sample where it was; `samples` itself without drift.
    """
    if drift == 0:
        return samples
    # soxr, since it takes ratios that are no fractions
    return soxr.resample(samples, 1.0 + drift, 1.0, quality="VHQ")
