"""Where the band of a recording ends that was once at a lower rate, or went through a codec."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bcsim.dsp.lazy_signal import LazySignal
from bcsim.dsp.spectra import cross_spectra

# A resampler's or codec's edge is a cliff. A sensor of two or four poles falls by 4 to 7 dB from
# 0.9 to 1.08 of a frequency.
BELOW = (0.82, 0.92)  # of the edge: here the band is still whole
ABOVE = 1.08  # of the edge: from here on there is nothing
CLIFF_DB = 25.0
LOWEST_HZ = 1000.0  # sensors that convey less are not told from upsampled ones
HIGHEST = 0.9  # of half the sample rate: above is the edge of any converter
FRAME_S = 0.064


def band_edge_hz(power: Tensor, sample_rate: int) -> float | None:
    """Return the frequency in Hz at which a spectrum ends in a cliff, or None where it has none.

    Args:
        power: (F,), mean power in bins from 0 to half the sample rate.
        sample_rate: in Hz.
    """
    level_db = 10 * np.log10(np.maximum(power.numpy(), float(power.max()) * 1e-20 + 1e-300))
    grid = np.linspace(0, sample_rate / 2, len(level_db))
    # Highest level from each bin on, of which a single odd bin is no part.
    smooth_db = np.convolve(level_db, [1 / 3] * 3, "same")
    above_db = np.maximum.accumulate(smooth_db[::-1])[::-1]
    best: tuple[float, float] | None = None
    for edge_hz in np.arange(LOWEST_HZ, HIGHEST * sample_rate / 2, 50.0):
        low, high = np.searchsorted(grid, [BELOW[0] * edge_hz, BELOW[1] * edge_hz])
        past = int(np.searchsorted(grid, ABOVE * edge_hz))
        if past >= len(grid) - 2:
            break
        fall_db = float(np.median(level_db[low:high]) - above_db[past])
        if fall_db > CLIFF_DB and (best is None or fall_db > best[0]):
            half_db = float(np.median(level_db[low:high])) - CLIFF_DB / 2
            best = fall_db, float(grid[high + np.argmax(above_db[high:] < half_db)])
    return None if best is None else best[1]


def recorded_band_hz(samples: NDArray[np.floating], sample_rate: int) -> float | None:
    """Return the frequency in Hz at which a recording's band ends, or None where it goes on.

    Args:
        samples: (T,), recording, best at the rate of its file.
        sample_rate: in Hz.
    """
    signal = LazySignal.of(samples)
    num_fft = 2 * round(FRAME_S * sample_rate / 2)
    return band_edge_hz(cross_spectra(signal, signal, num_fft, num_fft // 2).xx, sample_rate)
