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
from bcsim.sensors.responses.residual import Residual

SCALES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)  # factors of the residual that are tried
ABOVE_NOISE_DB = 6.0  # where bone is so far above its noise, its level is that of speech


def prediction_errors(predictions: Sequence[Prediction]) -> list[Tensor]:
    """Return the recorded less the predicted band levels of each fold item, (active frames, M).

    In dB, NaN where noise hides the speech. The sensors all have a speech-dependent part.
    """
    errors = []
    for pair, profile in predictions:
        frames = speech_frames(pair, profile)
        active = frames.active
        error = frames.speech_db - frames.fixed_db
        error = error - _speech(profile).gains_db(frames.levels_db[None])[0][active]
        above_noise = frames.recorded & (frames.bone_db > frames.noise_db + ABOVE_NOISE_DB)
        errors.append(torch.where(above_noise, error, torch.nan))
    return errors


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


def measured_residual(errors: Sequence[Tensor], predictions: Sequence[Prediction]) -> Residual:
    """Return the residual, scaled so that simulated speech varies as much as the recorded.

    The covariance over bands and the AR(1) coefficient come from the errors about each
    recording's mean. A prediction that was learnt from few frames has some dynamics that the true
    mean has not, so the whole error would be too much: the scale is the one at which the dynamics
    ratio of the recordings, simulated with their noise, is 1 on average.
    """
    error = torch.cat([part - part.nanmean(dim=0) for part in errors])
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
    whole = Residual(factor.numpy(), min(max(coefficient, 0.0), 0.99), 0.0)
    return _scaled_to_dynamics(whole, predictions)


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
