"""Resampling between the rates of files and recipes."""

import numpy as np
import soxr
from numpy.typing import NDArray


def resample(samples: NDArray[np.float64], rate: int, new_rate: int) -> NDArray[np.float64]:
    """Resample (T,) or (T, C) from `rate` to `new_rate` in Hz (soxr, very high quality)."""
    return samples if rate == new_rate else soxr.resample(samples, rate, new_rate, quality="VHQ")
