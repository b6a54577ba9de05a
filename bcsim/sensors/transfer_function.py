"""The air-to-bone response: a relative transfer function with what is known about its error."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_BINS, MAX_BINS = 9, 16_385  # 16 to 32,768 taps


@dataclass(frozen=True, eq=False)
class TransferFunction:
    r"""A response on a uniform grid, with coherence and the number of averages behind it.

    A bone signal is :math:`Y(f) = H(f) X(f)` of the air signal; with the kernel
    :math:`e^{-j2\pi ft}`, a bone signal that comes later than air has a falling phase.

    Args:
        frequencies_hz: (F,), uniform from 0 to half the sample rate.
        response: (F,), complex; real at both ends.
        coherence: (F,), magnitude-squared, 0 to 1: the part of the bone signal's power that is a
            linear function of the air signal.
        num_averages: independent averages that the spectra were formed from.

    Raises:
        ValueError: for other shapes, values or grids.
    """

    frequencies_hz: NDArray[np.float64]
    response: NDArray[np.complex128]
    coherence: NDArray[np.float64]
    num_averages: float

    def __post_init__(self) -> None:
        bins = len(self.frequencies_hz)
        if not MIN_BINS <= bins <= MAX_BINS:
            raise ValueError(f"a response has {bins} bins; {MIN_BINS} to {MAX_BINS} are possible")
        for name in ("frequencies_hz", "response", "coherence"):
            values = getattr(self, name)
            if values.shape != (bins,):
                raise ValueError(f"{name} has shape {values.shape}, the response has {bins} bins")
            if not np.isfinite(values).all():
                raise ValueError(f"{name} holds values that are not finite numbers")
        if not (math.isfinite(self.num_averages) and self.num_averages >= 0):
            raise ValueError(f"num_averages is {self.num_averages}")
        if ((self.coherence < 0) | (self.coherence > 1)).any():
            raise ValueError("coherence leaves the range 0 to 1")
        grid = np.linspace(0, self.frequencies_hz[-1], bins)
        if grid[-1] <= 0 or np.abs(self.frequencies_hz - grid).max() > 1e-9 * grid[-1]:
            raise ValueError("frequencies_hz is not a uniform grid from 0 upwards")

    @property
    def sample_rate(self) -> int:
        """Twice the last frequency, in Hz."""
        return round(2 * float(self.frequencies_hz[-1]))

    @property
    def magnitude_db(self) -> NDArray[np.float64]:
        """Return 20 log10 of the magnitude, (F,), not below -200 dB."""
        return 20 * np.log10(np.maximum(np.abs(self.response), 1e-10))

    @property
    def standard_error(self) -> NDArray[np.float64]:
        r"""Return the relative standard error of the magnitude, (F,).

        .. math:: \epsilon = \sqrt{(1-\gamma^2)/(2\gamma^2 n_d)}

        (Bendat & Piersol, Random Data, table 9.6), at most 1: there nothing is known.
        """
        known = np.maximum(self.coherence, 1e-12)
        error = np.sqrt((1 - known) / (2 * known * max(self.num_averages, 1e-12)))
        return np.minimum(error, 1.0)

    def impulse_response(self) -> tuple[NDArray[np.float64], int]:
        """Return the taps (2 (F - 1),) and the index of the one at time zero.

        Example:
            >>> grid = np.linspace(0, 8000, 9)
            >>> flat = TransferFunction(grid, np.ones(9, complex), np.ones(9), 1.0)
            >>> taps, centre = flat.impulse_response()
            >>> len(taps), centre, float(taps[centre].round(12))
            (16, 8, 1.0)
        """
        taps = np.fft.irfft(self.response)
        return np.fft.fftshift(taps), len(taps) // 2
