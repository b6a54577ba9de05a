"""FIR filters of a given magnitude, by weighted least squares."""

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray

from bcsim.dsp.fir import fast_length
from bcsim.dsp.spectra import minimum_phase

RANGE_DB = 60.0  # below the maximum, to which the magnitude is followed
PHASE_RANGE_DB = 120.0
LOWEST_HZ = 80.0
HIGHEST = 0.9  # of half the sample rate
OUTSIDE = 0.1  # weight of what lies outside of this band
FINER = 8  # grid of the design over that of the response, or over the taps


def linear_phase_taps(
    magnitude_db: NDArray[np.float64], sample_rate: int, num_taps: int
) -> NDArray[np.float64]:
    """Design a symmetric FIR, (num_taps,), with its centre at (num_taps - 1) // 2.

    An even number of symmetric taps would force a zero at half the sample rate and a latency of
    half a sample, so for an even `num_taps` one tap less is designed, and a zero appended.

    The taps have the least weighted squared error. A window instead would smear the response over
    its main lobe, and its side lobes would be relative to the maximum of the magnitude, where here
    each frequency counts relative to its own level.

    Args:
        magnitude_db: (F,), magnitude on a uniform grid from 0 to half the sample rate.
        sample_rate: sample rate in Hz.
        num_taps: number of taps, 3 or more.
    """
    wanted, weight, _ = _design(magnitude_db, sample_rate, num_taps)
    half = (num_taps - 1) // 2
    taps = _least_squares(wanted, weight, 2 * half + 1, half)
    taps = (taps + taps[::-1]) / 2  # symmetric to the last bit
    return np.pad(taps, (0, num_taps - len(taps)))


def minimum_phase_taps(
    magnitude_db: NDArray[np.float64], sample_rate: int, num_taps: int
) -> NDArray[np.float64]:
    """Design a causal FIR, (num_taps,), whose zeros lie within the unit circle.

    It is the minimum-phase factor of the least-squares fit to the minimum-phase response. For the
    arguments see `linear_phase_taps`.
    """
    wanted, weight, phase = _design(magnitude_db, sample_rate, num_taps)
    taps = _least_squares(wanted * np.exp(1j * phase), weight, num_taps, 0)
    return minimum_phase_factor(taps)


def minimum_phase_factor(taps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the FIR of equal length and magnitude with all zeros within the unit circle.

    By the cepstrum: reflecting a zero leaves the autocorrelation, hence the length, as it is.

    Example:
        >>> minimum_phase_factor(np.array([0.5, 1.0])).round(6).tolist()
        [1.0, 0.5]
    """
    size = fast_length(max(32 * len(taps), 2**16))  # cepstra of zeros near the circle are long
    magnitude = np.abs(np.fft.rfft(taps, size))
    # A zero on the circle has no logarithm; 240 dB under the maximum it is as good as zero.
    log = np.log(np.maximum(magnitude, 1e-12 * magnitude.max()))
    phase = minimum_phase(torch.from_numpy(log)).numpy()
    return np.fft.irfft(np.exp(log + 1j * phase), size)[: len(taps)]


def _design(
    magnitude_db: NDArray[np.float64], sample_rate: int, num_taps: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return magnitude, weight and minimum phase on a grid finer than filter and response.

    An error counts relative to the magnitude, that is in dB, and a frequency by the part of an
    octave that it stands for.
    """
    size = fast_length(FINER * max(2 * (len(magnitude_db) - 1), num_taps))
    grid = np.linspace(0, 1, size // 2 + 1)
    wanted_db = np.interp(grid, np.linspace(0, 1, len(magnitude_db)), magnitude_db)
    # The phase follows the deepest dips; the weight does not, or they alone would count.
    wanted = 10 ** (np.maximum(wanted_db, wanted_db.max() - PHASE_RANGE_DB) / 20)
    counted = np.maximum(wanted, wanted.max() * 10 ** (-RANGE_DB / 20))
    frequencies = grid * sample_rate / 2
    inside = (frequencies >= LOWEST_HZ) & (grid <= HIGHEST)
    weight = np.where(inside, 1.0, OUTSIDE) / np.maximum(frequencies, LOWEST_HZ) / counted**2
    phase = minimum_phase(torch.from_numpy(np.log(wanted))).numpy()
    return wanted, weight, phase


def _least_squares(
    wanted: NDArray[np.float64] | NDArray[np.complex128],
    weight: NDArray[np.float64],
    num_taps: int,
    before: int,
) -> NDArray[np.float64]:
    r"""Minimise :math:`\sum_f w\,|\sum_n h_n e^{-j2\pi fn} - H|^2` for n = -before...

    The normal equations are Toeplitz: :math:`\sum_m r_{n-m} h_m = d_n`, with r and d the inverse
    transforms of w and of wH.
    """
    auto = np.fft.irfft(weight)[:num_taps]
    cross = np.roll(np.fft.irfft(weight * wanted), before)[:num_taps]
    auto[0] *= 1 + 1e-12
    return scipy.linalg.solve(scipy.linalg.toeplitz(auto), cross, assume_a="pos")
