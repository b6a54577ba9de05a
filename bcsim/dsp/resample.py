"""Resampling by the ratio of two clocks."""

import numpy as np
import soxr
from numpy.typing import NDArray


def resample_clock(samples: NDArray[np.float64], drift: float) -> NDArray[np.float64]:
    r"""Bring a recording to the clock of another one.

    .. math:: y(t) = x((1 + d)\,t)

    Args:
        samples: (T,), whose recorder took 1 + `drift` samples while the other took one.
        drift: relative difference of the clocks, such as -188e-6. By soxr at its highest quality,
            which takes ratios that are no fractions.

    Returns:
        (T / (1 + drift),), the first sample where it was; the very samples for no drift.
    """
    if drift == 0:
        return samples
    return soxr.resample(samples, 1.0 + drift, 1.0, quality="VHQ")
