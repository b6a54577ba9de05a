"""A response as a filter for other programs: FIR of three phases, or sections of second order."""

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import scipy  # its parts are loaded when they are asked for
from numpy.typing import NDArray

from bcsim.errors import UsageError
from bcsim.sensors.filters.fir_design import (
    HIGHEST,
    LOWEST_HZ,
    OUTSIDE,
    RANGE_DB,
    linear_phase_taps,
    minimum_phase_taps,
)
from bcsim.sensors.filters.iir_design import fit_sections
from bcsim.sensors.transfer_function import TransferFunction

Kind = Literal["linear-phase", "minimum-phase", "zero-phase", "iir"]
KINDS: tuple[Kind, ...] = get_args(Kind)
NUM_TAPS = 512
MIN_TAPS, MAX_TAPS = 3, 8192
MAX_ORDER = 32
CHOSEN_ORDER = 20  # the highest that is chosen without being asked for
ENOUGH_DB = 1.0  # rms error at which an order is enough
POINTS_AN_OCTAVE = 24
LOWEST_FITTED_HZ = 20.0


@dataclass(frozen=True)
class FitError:
    """Error of a filter's magnitude in dB, at 24 points an octave from `low_hz` to `high_hz`.

    Both curves are floored at 60 dB under the response's maximum.

    Args:
        rms_db: root of the mean squared error.
        max_db: greatest absolute error.
        low_hz: lower end of the band.
        high_hz: upper end of the band.
    """

    rms_db: float
    max_db: float
    low_hz: float
    high_hz: float


@dataclass(frozen=True, eq=False)
class ResponseFilter:
    """A filter with the magnitude of a response.

    Args:
        kind: one of the four kinds.
        sample_rate: sample rate in Hz.
        coefficients: taps (N,); or sections (S, 6) of numerator and denominator, in scipy's form.
        time_zero: index of the tap at time zero; the taps before it, of a zero-phase filter, act
            before their cause. A convolver that starts at the first tap delays by so many samples.
        latency_samples: delay of the filter when it is used with this `time_zero`.
        error: error of the filter's magnitude.
    """

    kind: Kind
    sample_rate: int
    coefficients: NDArray[np.float64]
    time_zero: int
    latency_samples: int
    error: FitError

    def facts(self) -> dict[str, Any]:
        """Return all fields, ready for JSON."""
        name = "sections" if self.kind == "iir" else "taps"
        return {
            "kind": self.kind,
            "sample_rate": self.sample_rate,
            "time_zero": self.time_zero,
            "latency_samples": self.latency_samples,
            "fit_error": {
                "rms_db": round(self.error.rms_db, 4),
                "max_db": round(self.error.max_db, 4),
                "band_hz": [round(self.error.low_hz, 1), round(self.error.high_hz, 1)],
            },
            name: self.coefficients.tolist(),
        }


def response_filter(
    transfer_function: TransferFunction,
    kind: Kind = "minimum-phase",
    size: int | None = None,
    polarity: int = 1,
) -> ResponseFilter:
    """Make a filter with the magnitude of a response.

    The phase is that of the kind: none (zero-phase, for files), a constant delay (linear-phase,
    for convolvers that start at the first tap), or the least that the magnitude allows
    (minimum-phase, and iir: nearest to a real sensor, no latency).

    Args:
        transfer_function: response whose magnitude is wanted.
        kind: kind of the filter.
        size: number of taps (512 by default); order of an iir, even (by default the least that
            comes within 1 dB rms, at most 20).
        polarity: -1 inverts the sign of the filter's output.

    Raises:
        UsageError: for a size that is not possible.
    """
    if kind == "iir":
        coefficients = _sections(transfer_function, size)
        coefficients[0, :3] *= polarity
    else:
        num_taps = NUM_TAPS if size is None else size
        if not MIN_TAPS <= num_taps <= MAX_TAPS:
            raise UsageError(f"{num_taps} taps: {MIN_TAPS} to {MAX_TAPS} are possible")
        design = minimum_phase_taps if kind == "minimum-phase" else linear_phase_taps
        taps = design(transfer_function.magnitude_db, transfer_function.sample_rate, num_taps)
        coefficients = polarity * taps
    centre = (len(coefficients) - 1) // 2
    return ResponseFilter(
        kind=kind,
        sample_rate=transfer_function.sample_rate,
        coefficients=coefficients,
        time_zero=centre if kind == "zero-phase" else 0,
        latency_samples=centre if kind == "linear-phase" else 0,
        error=_fit_error(transfer_function, coefficients),
    )


def _fit_error(transfer_function: TransferFunction, coefficients: NDArray[np.float64]) -> FitError:
    """Return how far taps (N,) or sections (S, 6) are from a response, over 80 Hz to 0.9 fs/2."""
    rate = transfer_function.sample_rate
    frequencies = _points(LOWEST_HZ, HIGHEST * rate / 2)
    wanted_db, floor_db = _wanted_db(transfer_function, frequencies)
    magnitude_db = 20 * np.log10(np.maximum(_magnitude(coefficients, frequencies, rate), 1e-30))
    error_db = np.maximum(magnitude_db, floor_db) - wanted_db
    return FitError(
        rms_db=float(np.sqrt(np.mean(error_db**2))),
        max_db=float(np.abs(error_db).max()),
        low_hz=float(frequencies[0]),
        high_hz=float(frequencies[-1]),
    )


def _sections(transfer_function: TransferFunction, order: int | None) -> NDArray[np.float64]:
    if order is not None and not (2 <= order <= MAX_ORDER and order % 2 == 0):
        raise UsageError(f"order {order}: even orders from 2 to {MAX_ORDER} are possible")
    rate = transfer_function.sample_rate
    # Outside the band, a low weight keeps the magnitude from extremes.
    frequencies = _points(LOWEST_FITTED_HZ, 0.99 * rate / 2)
    inside = (frequencies >= LOWEST_HZ) & (frequencies <= HIGHEST * rate / 2)
    wanted_db, _ = _wanted_db(transfer_function, frequencies)
    return fit_sections(
        frequencies,
        wanted_db,
        np.where(inside, 1.0, OUTSIDE),
        rate,
        num_sections=(CHOSEN_ORDER if order is None else order) // 2,
        enough_db=0.9 * ENOUGH_DB if order is None else 0.0,
    )


def _points(low_hz: float, high_hz: float) -> NDArray[np.float64]:
    return np.geomspace(
        low_hz, high_hz, max(8, round(POINTS_AN_OCTAVE * math.log2(high_hz / low_hz)))
    )


def _wanted_db(
    transfer_function: TransferFunction, frequencies: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Return the magnitude at the frequencies, floored, and the floor."""
    magnitude_db = transfer_function.magnitude_db
    floor_db = float(magnitude_db.max()) - RANGE_DB
    at = np.interp(frequencies, transfer_function.frequencies_hz, magnitude_db)
    return np.maximum(at, floor_db), floor_db


def _magnitude(
    coefficients: NDArray[np.float64], frequencies: NDArray[np.float64], rate: int
) -> NDArray[np.float64]:
    if coefficients.ndim == 2:
        _, response = scipy.signal.sosfreqz(coefficients, frequencies, fs=rate)
        return np.abs(response)
    turns = np.outer(frequencies / rate, np.arange(len(coefficients)))
    return np.abs(np.exp(-2j * math.pi * turns) @ coefficients)
