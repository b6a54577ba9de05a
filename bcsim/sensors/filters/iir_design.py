r"""Recursive filters of a given magnitude: stable sections of second order, fitted in dB.

A section is the quotient of two polynomials :math:`1 + a_1 z^{-1} + a_2 z^{-2}`. Its zeros and
poles lie within the circle of radius :math:`\rho` whatever the numbers u and v in

.. math:: a_2 = \rho^2\tanh u,\quad a_1 = \rho\,(1 + \tanh u)\tanh v,

for these fill the triangle of stable polynomials. So the fit needs no bounds, the filter is
stable and of minimum phase, and its phase follows from its magnitude.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

RADIUS = 0.9998  # of zeros and poles at most: a ring of 3 s at 16 kHz, and room for rounding
WIDTHS = (0.7, 2.0, 6.0)  # quality factors of new sections
STARTS = 8  # frequencies where a new section is tried
KEPT = 4  # number of starts that get the final fit
SHORT, LONG = 12, 150  # evaluations of a trial and of the final fit
LIMIT = 8.0  # of u and v: beyond, tanh is 1 and its derivative 0
_DB = 20 / math.log(10)


def fit_sections(
    frequencies_hz: NDArray[np.float64],
    wanted_db: NDArray[np.float64],
    weight: NDArray[np.float64],
    sample_rate: int,
    num_sections: int,
    enough_db: float = 0.0,
) -> NDArray[np.float64]:
    """Fit a cascade of second-order sections to a magnitude.

    One section after the other: a neutral one, whose zeros and poles are the same, is put at
    several frequencies and widths, all sections are fitted again, and the best stays. Errors
    where both curves lie at the least of `wanted_db` do not count.

    The magnitude is wanted at N frequencies, at which squared errors have the given weights (N,).
    No more sections are added once the weighted rms error is `enough_db`.

    Returns:
        (S, 6), numerator and denominator of each section in scipy's form, with the gain in the
        first.
    """
    fit = _Fit(frequencies_hz, wanted_db, weight, sample_rate)
    parameters = np.array([float(np.average(wanted_db, weights=weight))])
    for _ in range(num_sections):
        trials = [
            fit.polished(np.concatenate([parameters, start]), SHORT) for start in fit.new_sections()
        ]
        # A short fit does not decide, and several starts lead to the same minimum.
        best = _distinct(sorted(trials, key=fit.cost), fit.cost)[:KEPT]
        parameters = min((fit.polished(trial, LONG) for trial in best), key=fit.cost)
        if math.sqrt(2 * fit.cost(parameters)) <= enough_db:
            break
    return _sections(parameters)


def _sections(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sections (S, 6) of a gain in dB and four numbers a section."""
    quadratics = _polynomials(parameters[1:].reshape(-1, 2, 2))
    sections = np.concatenate([np.ones((*quadratics.shape[:2], 1)), quadratics], axis=-1)
    sections[0, 0] *= 10 ** (parameters[0] / 20)
    return sections.reshape(-1, 6)


def _distinct(
    sorted_trials: list[NDArray[np.float64]], cost: Callable[[NDArray[np.float64]], float]
) -> list[NDArray[np.float64]]:
    """Return the trials whose cost is over 0.1 % above that of the trial kept before."""
    kept = sorted_trials[:1]
    for trial in sorted_trials[1:]:
        if cost(trial) > 1.001 * cost(kept[-1]):
            kept.append(trial)
    return kept


class _Fit:
    """The error of a cascade and its derivative."""

    def __init__(
        self,
        frequencies_hz: NDArray[np.float64],
        wanted_db: NDArray[np.float64],
        weight: NDArray[np.float64],
        sample_rate: int,
    ) -> None:
        self.turns = frequencies_hz / sample_rate
        self.delay = np.exp(-2j * math.pi * self.turns)  # z^-1
        self.wanted_db = wanted_db
        self.floor_db = float(wanted_db.min())
        self.scale = np.sqrt(weight / weight.sum())

    def new_sections(self) -> list[NDArray[np.float64]]:
        """Return neutral sections over the band, as parameters."""
        starts = []
        for turn in np.geomspace(self.turns.min(), 0.9 * self.turns.max(), STARTS):
            for q in WIDTHS:
                radius = math.exp(-math.pi * turn / q)
                first, second = -2 * radius * math.cos(2 * math.pi * turn), radius**2
                pair = [math.atanh(second), math.atanh(first / (1 + second))]
                starts.append(np.array(pair + pair))
        return starts

    def polished(self, start: NDArray[np.float64], evaluations: int) -> NDArray[np.float64]:
        jacobian: Any = self.jacobian  # which scipy's stubs take for the name of a method
        limits = np.full(len(start), LIMIT)
        limits[0] = np.inf
        fitted = scipy.optimize.least_squares(
            self.residual, np.clip(start, -limits, limits), jacobian, method="trf", x_scale="jac",
            bounds=(-limits, limits), max_nfev=evaluations, ftol=1e-6, xtol=1e-6, gtol=1e-10,
        )  # fmt: skip
        return fitted.x

    def cost(self, parameters: NDArray[np.float64]) -> float:
        """Return half of the weighted mean square of the error, in dB^2."""
        return 0.5 * float(np.sum(self.residual(parameters) ** 2))

    def residual(self, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        curve_db = np.maximum(self._curve_db(parameters), self.floor_db)
        return self.scale * (curve_db - self.wanted_db)

    def jacobian(self, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        numbers = parameters[1:].reshape(-1, 2, 2)
        values = self._values(numbers)
        # of log |1 + a1 z^-1 + a2 z^-2| with respect to a1 and a2
        by_first = _DB * (self.delay / values).real
        by_second = _DB * (self.delay**2 / values).real
        u, v = np.tanh(numbers[..., 0, None]), np.tanh(numbers[..., 1, None])
        by_u = (1 - u**2) * (RADIUS * v * by_first + RADIUS**2 * by_second)
        by_v = RADIUS * (1 + u) * (1 - v**2) * by_first
        sign = np.array([1.0, -1.0])[:, None, None]  # numerator, denominator
        columns = sign * np.stack([by_u, by_v], axis=2)  # (S, 2, 2, N)
        rows = np.concatenate([np.ones((1, len(self.turns))), columns.reshape(-1, len(self.turns))])
        moving = self._curve_db(parameters) > self.floor_db
        return (rows * (self.scale * moving)).T

    def _curve_db(self, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        log = np.log(np.abs(self._values(parameters[1:].reshape(-1, 2, 2))))
        return parameters[0] + _DB * (log[:, 0] - log[:, 1]).sum(axis=0)

    def _values(self, numbers: NDArray[np.float64]) -> NDArray[Any]:
        """Return the polynomials at the frequencies, (S, 2, N), complex."""
        quadratics = _polynomials(numbers)
        first, second = quadratics[..., 0, None], quadratics[..., 1, None]
        return 1 + first * self.delay + second * self.delay**2


def _polynomials(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a1 and a2 of u and v, (..., 2)."""
    u, v = np.tanh(numbers[..., 0]), np.tanh(numbers[..., 1])
    return np.stack([RADIUS * (1 + u) * v, RADIUS**2 * u], axis=-1)
