"""The low-pass that is nearest to a response: EBEN's kind of sensor, in three numbers."""

import math

import numpy as np
import scipy  # its parts are loaded when they are asked for
import torch

from bcsim.dsp.lowpass import biquad_power, lowpass_coefficients
from bcsim.sensors.provenance import LowpassEquivalent
from bcsim.sensors.transfer_function import TransferFunction

DYNAMIC_RANGE_DB = 40.0  # below the maximum; what lies deeper is noise and matters little
LOWEST_HZ = 80.0
LOWEST_Q = 0.3  # flatter ones have a corner far from where they begin to fall


def fit_lowpass(
    transfer_function: TransferFunction, highest_hz: float = math.inf
) -> LowpassEquivalent:
    """Fit cutoff, Q and gain of a cookbook low-pass that is run forward and backward.

    Least squares in dB at 24 points an octave from 80 Hz to 0.9 of half the sample rate, or to
    `highest_hz`, above which nothing is known; both curves floored at 40 dB under the response's
    maximum.
    """
    rate = transfer_function.sample_rate
    high = max(2 * LOWEST_HZ, min(0.9 * rate / 2, highest_hz))
    points = max(8, round(24 * math.log2(high / LOWEST_HZ)))
    frequencies = np.geomspace(LOWEST_HZ, high, points)
    grid, magnitude_db = transfer_function.frequencies_hz, transfer_function.magnitude_db
    wanted = np.interp(frequencies, grid, magnitude_db)
    floor = wanted.max() - DYNAMIC_RANGE_DB
    wanted = np.maximum(wanted, floor)
    at = torch.from_numpy(frequencies)

    def residual(parameters: np.ndarray) -> np.ndarray:
        cutoff, q = torch.from_numpy(np.exp(parameters[:2]))[:, None]
        power = biquad_power(lowpass_coefficients(cutoff, q, rate), at, rate)[0]
        # forward and backward: |H|^2 is the amplitude response
        curve = 20 * np.log10(np.maximum(power.numpy(), 1e-12)) + parameters[2]
        return np.maximum(curve, floor) - wanted

    lower = [math.log(LOWEST_HZ / 2), math.log(LOWEST_Q), wanted.max() - 60]
    upper = [math.log(0.49 * rate), math.log(20.0), wanted.max() + 20]
    fits = [
        scipy.optimize.least_squares(
            residual, [math.log(cutoff), math.log(0.7), float(wanted.max())], bounds=(lower, upper)
        )
        for cutoff in np.geomspace(2 * LOWEST_HZ, 0.4 * rate, 5)  # the cost has several valleys
    ]
    best = min(fits, key=lambda fit: fit.cost).x
    return LowpassEquivalent(
        cutoff_hz=float(np.exp(best[0])), q=float(np.exp(best[1])), gain_db=float(best[2])
    )
