"""The residual of a speech-dependent response: what its prediction leaves open, as a process."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bcsim.dsp.noise import white_noise

LIMIT_DB = 40.0  # of a gain, either way
CALIBRATED_DB = 25.0  # either side of the mean level: farther ones, in pauses, move no more
MAX_AR_COEFFICIENT = 0.999  # the nearer to 1, the more innovations go into one frame
NEGLIGIBLE = 1e-6  # weight of an innovation, from which on it is left out


@dataclass(frozen=True, eq=False)
class Calibration:
    r"""How far levels in new recordings follow those that are predicted, band by band.

    A predictor that was fitted to few talkers predicts deviations from the mean level that are too
    large for others. With slope s, mean c and the predicted level p, a calibrated prediction
    differs from it by

    .. math:: (s - 1)\,\max(-25, \min(25, p - c))

    Args:
        slope: (M,), slope of the regression of recorded on predicted levels, 0 to 1.
        mean_db: (M,), mean predicted level over active frames, in dB relative to active air speech.

    Raises:
        ValueError: for other shapes, or numbers out of range.
    """

    slope: NDArray[np.float64]
    mean_db: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.slope.ndim != 1 or self.slope.shape != self.mean_db.shape:
            raise ValueError(
                f"slope and mean_db of the residual have shapes {self.slope.shape} and "
                f"{self.mean_db.shape}"
            )
        if not ((self.slope >= 0) & (self.slope <= 1)).all():
            raise ValueError("slope of the residual is not within 0 and 1")
        if not (np.abs(self.mean_db) <= 200).all():
            raise ValueError("mean_db of the residual is not within 200 dB")

    def change_db(self, predicted_db: Tensor) -> Tensor:
        """Return what the calibration adds to the gains.

        Args:
            predicted_db: (..., M), predicted levels in dB relative to active air speech.
        """
        slope, mean_db = (torch.from_numpy(x).to(predicted_db) for x in (self.slope, self.mean_db))
        return (slope - 1) * (predicted_db - mean_db).clamp(-CALIBRATED_DB, CALIBRATED_DB)


@dataclass(frozen=True, eq=False)
class Residual:
    r"""A first-order autoregressive process over the frames, with a covariance over the bands.

    .. math:: r_t = a\,r_{t-1} + \sqrt{1-a^2}\; L e_t,\quad e_t \sim N(0, I)

    A prediction is a mean, and varies less than what it is the mean of; with the residual,
    simulated speech varies as much as the real. The calibration belongs to it: a prediction that
    varies too much leaves too little to be drawn.

    Args:
        factor_db: (M, M), factor L of the covariance over the bands, in dB.
        ar_coefficient: AR(1) coefficient a, 0 to 0.999 (`memory` in a sensor's file).
        level_correction_db: rise in the level of speech that the residual would cause, in dB;
            subtracted from every draw (`rise_db` in a sensor's file).
        calibration: change of the prediction that goes with the draws; None in profiles from
            before it was measured.

    Raises:
        ValueError: for a factor that is not square, or numbers out of range.
    """

    factor_db: NDArray[np.float64]
    ar_coefficient: float
    level_correction_db: float
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        bands = len(self.factor_db)
        if self.factor_db.shape != (bands, bands) or not np.isfinite(self.factor_db).all():
            raise ValueError(f"factor_db of the residual has shape {self.factor_db.shape}")
        if np.abs(self.factor_db).max(initial=0) > 100:
            raise ValueError("factor_db of the residual exceeds 100 dB")
        if self.calibration is not None and len(self.calibration.slope) != bands:
            raise ValueError(f"slope of the residual has not {bands} bands")
        if not 0 <= self.ar_coefficient <= MAX_AR_COEFFICIENT:
            raise ValueError(
                f"ar_coefficient of the residual (memory in the file) is {self.ar_coefficient}, "
                f"not 0 to {MAX_AR_COEFFICIENT}"
            )
        if not abs(self.level_correction_db) <= LIMIT_DB:
            raise ValueError(
                "level_correction_db of the residual (rise_db in the file) is "
                f"{self.level_correction_db}, not within {LIMIT_DB:g} dB"
            )

    def draw(self, seeds: Tensor, num_frames: int, first: int = 0) -> Tensor:
        """Return a segment of each seed's endless trajectory, with the level correction applied.

        Args:
            seeds: (B,) of int64, seeds of the trajectories.
            num_frames: length of the segment in frames.
            first: frame of the trajectory that the segment starts with.

        Returns:
            (B, frames, M) in dB, float64.
        """
        a = self.ar_coefficient
        # y_t = sum of a^k e_(t-k) up to k = 2^n - 1, in n doublings; the rest is negligible.
        significant = math.log(NEGLIGIBLE) / math.log(a) if a else 1.0
        doublings = max(0, math.ceil(math.log2(significant)))
        bands = len(self.factor_db)
        first -= 2**doublings - 1
        num_frames += 2**doublings - 1
        innovations = white_noise(seeds, num_frames * bands, first * bands)
        trajectory = innovations.unflatten(-1, (num_frames, bands))
        for step in (2**k for k in range(doublings)):
            trajectory = trajectory[:, step:] + a**step * trajectory[:, :-step]
        factor_db = torch.from_numpy(self.factor_db).to(trajectory)
        return trajectory @ (math.sqrt(1 - a**2) * factor_db.T) - self.level_correction_db
