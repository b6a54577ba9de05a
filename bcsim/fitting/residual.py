"""Errors of cross-validated predictions: the residual, and the differences between wearers."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from bcsim.fitting.cross_validation import Prediction
from bcsim.fitting.mean_sensor import excess_level_db
from bcsim.fitting.simulation import simulate
from bcsim.fitting.speech_frames import speech_frames
from bcsim.metrics import METRICS
from bcsim.metrics.comparison import Comparison
from bcsim.sensors.profile import SensorProfile
from bcsim.sensors.responses.base import SpeechResponse
from bcsim.sensors.responses.residual import CALIBRATED_DB, Calibration, Residual

SCALES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)  # factors of the residual that are tried
# Of what the regression asks for: folds are fitted to fewer talkers than the sensor is. With all of
# it simulations of other throat talkers, of the right dynamics, follow air less than the real ones.
CALIBRATED_PART = 0.5
ABOVE_NOISE_DB = 6.0  # where bone is so far above its noise, its level is that of speech


def prediction_errors(predictions: Sequence[Prediction]) -> tuple[list[Tensor], list[Tensor]]:
    """Return how far predicted levels are off; the sensors all have a speech-dependent part.

    Returns:
        For each fold item, recorded less predicted band levels, (active frames, M), in dB, NaN
        where noise hides the speech; and the predicted levels without the fixed response, in dB
        relative to active air speech.
    """
    errors, predicted = [], []
    for pair, profile in predictions:
        frames = speech_frames(pair, profile)
        active = frames.active
        gains_db = _speech(profile).gains_db(frames.levels_db[None])[0][active]
        error = frames.speech_db - frames.fixed_db - gains_db
        above_noise = frames.recorded & (frames.bone_db > frames.noise_db + ABOVE_NOISE_DB)
        errors.append(torch.where(above_noise, error, torch.nan))
        predicted.append(frames.levels_db[active] + gains_db)
    return errors, predicted


def wearer_curves(
    errors: Sequence[Tensor], predictions: Sequence[Prediction]
) -> tuple[Tensor, Tensor]:
    """Return the mean error of each prediction over its frames, and how certain it is.

    The level is taken out as the sensor picks it up, in power: it is drawn apart from the shape.

    Returns:
        Curves in dB (N, F) and certainties (N, F), as `bcsim.fitting.spread.ratio_curves` gives
        them for a sensor without speech dependence.
    """
    _, first = predictions[0]
    bank = _speech(first).bank
    centres = bank.centres_hz.numpy()
    grid = first.transfer_function.frequencies_hz
    curves, certainties = [], []
    widths = 1 / bank.weights.max(dim=1).values  # widths of the bands in bins
    for error, (pair, profile) in zip(errors, predictions, strict=True):
        known = ~error.isnan()
        mean = torch.where(known, error, 0.0).sum(0) / known.sum(0).clamp(min=1)
        frames = speech_frames(pair, profile)
        power = widths * (10 ** (frames.speech_db / 10)).mean(dim=0)
        power = torch.where(known.any(dim=0), power, 0.0)
        mean = mean - 10 * ((power * 10 ** (mean / 10)).sum() / power.sum()).log10()
        curves.append(torch.from_numpy(np.interp(grid, centres, mean.numpy())))
        share = known.double().mean(dim=0).numpy()
        certainties.append(torch.from_numpy(np.interp(grid, centres, share)))
    return torch.stack(curves), torch.stack(certainties)


def measured_residual(
    errors: Sequence[Tensor], predicted: Sequence[Tensor], predictions: Sequence[Prediction]
) -> Residual:
    """Return the residual, scaled so that simulated speech varies as much as the recorded.

    A prediction that was learnt from few talkers has dynamics that the true mean has not: it is
    calibrated by half of what the regression of recorded on predicted levels asks for. The
    covariance over bands and the AR(1) coefficient come from what that leaves, about each
    recording's mean. The scale is the one at which the dynamics ratio of the recordings, simulated
    with their noise, is 1 on average.

    Args:
        errors: errors of the predictions, (active frames, M) each, as from `prediction_errors`.
        predicted: predicted levels, (active frames, M) each.
        predictions: fold items, each with the sensor that was fitted without it.
    """
    calibration = measured_calibration(errors, predicted)
    left = [
        error - calibration.change_db(level) for error, level in zip(errors, predicted, strict=True)
    ]
    error = torch.cat([part - part.nanmean(dim=0) for part in left])
    known = ~error.isnan()
    filled = torch.where(known, error, 0.0)
    count = known.double().T @ known.double()
    covariance = filled.T @ filled / count.clamp(min=1)
    both = known[1:] & known[:-1]
    products = torch.where(both, filled[1:] * filled[:-1], 0.0).sum()
    squares = torch.where(both, filled[1:].square(), 0.0).sum()
    coefficient = float(products / squares.clamp(min=1e-9))
    values, vectors = torch.linalg.eigh(covariance)
    factor = vectors * values.clamp(min=0).sqrt()
    whole = Residual(factor.numpy(), min(max(coefficient, 0.0), 0.99), 0.0, calibration)
    return _scaled_to_dynamics(whole, predictions)


def measured_calibration(errors: Sequence[Tensor], predicted: Sequence[Tensor]) -> Calibration:
    """Return the regression of recorded on predicted levels, both about each recording's mean."""
    products = squares = 0.0
    for error, level in zip(errors, predicted, strict=True):
        deviation = (level - level.mean(dim=0)).clamp(-CALIBRATED_DB, CALIBRATED_DB)
        known = ~error.isnan()
        centred = torch.where(known, error - error.nanmean(dim=0), 0.0)
        products = products + (centred * deviation).sum(dim=0)
        squares = squares + torch.where(known, deviation, 0.0).square().sum(dim=0)
    slope = 1 + CALIBRATED_PART * products / torch.as_tensor(squares).clamp(min=1e-9)
    means = torch.stack([level.mean(dim=0) for level in predicted])
    return Calibration(slope.clamp(0, 1).numpy(), means.mean(dim=0).numpy())


def _scaled_to_dynamics(residual: Residual, predictions: Sequence[Prediction]) -> Residual:
    ratios, corrections = [], []
    without = [excess_level_db(profile, [pair]) for pair, profile in predictions]
    for scale in SCALES:
        scaled = replace(residual, factor_db=scale * residual.factor_db)
        drawn = [
            excess_level_db(profile, [pair], within_clip=True)
            for pair, profile in with_residual(predictions, scaled)
        ]
        correction = float(np.mean(np.subtract(drawn, without)))
        corrected = replace(scaled, level_correction_db=correction)
        ratios.append(dynamics(with_residual(predictions, corrected)))
        corrections.append(correction)
    rising = np.maximum.accumulate(ratios)  # a larger residual never varies less
    scale = float(np.interp(1.0, rising, SCALES)) if rising[0] < 1.0 else 0.0
    correction = float(np.interp(scale, SCALES, corrections))
    return replace(residual, factor_db=scale * residual.factor_db, level_correction_db=correction)


def with_residual(predictions: Sequence[Prediction], residual: Residual) -> list[Prediction]:
    """Return predictions whose sensors, all with a speech-dependent part, have this residual."""
    return [
        (pair, replace(profile, speech=replace(_speech(profile), residual=residual)))
        for pair, profile in predictions
    ]


def dynamics(predictions: Sequence[Prediction]) -> float:
    """Return the dynamics ratio with the residual drawn, mean over fold items."""
    ratios = []
    for pair, profile in predictions:
        air, bone = pair.air[:], pair.bone[:]
        simulated = simulate(profile, air, pair.name, within_clip=True)
        comparison = Comparison.prepare(simulated, bone, pair.sample_rate, air)
        ratios.append(METRICS["dynamics_ratio"](comparison))
    return float(np.nanmean(ratios))


def _speech(profile: SensorProfile) -> SpeechResponse:
    assert profile.speech is not None
    return profile.speech
