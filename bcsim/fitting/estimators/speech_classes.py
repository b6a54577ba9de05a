"""Classes of speech sounds, found without labels, with a response each.

Ohlenbusch, Rollwage and Doclo (2024, arXiv 2405.11592) take the phonemes of a recogniser as
classes; here they are clusters of air frames, for which no recogniser is needed, in any language,
and of which there are as many as the recordings can tell apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy  # its parts are loaded when they are asked for
import torch

from bcsim.fitting.cross_validation import folds_of
from bcsim.fitting.estimators import ESTIMATORS
from bcsim.fitting.estimators.power_ratio import PowerRatio
from bcsim.fitting.speech_frames import SpeechFrames, thinned
from bcsim.rng import stream
from bcsim.sensors.responses.base import SpeechResponse
from bcsim.sensors.responses.speech_classes import MAX_GAIN_DB, ClassResponse, cosines

NUM_COEFFICIENTS = 16
PRIOR_FRAMES = 1.0  # number of frames that weigh as much as the gains expected without them


@ESTIMATORS.register("speech-classes")
@dataclass(frozen=True)
class SpeechClasses(PowerRatio):
    """The power ratio as fixed response, and the gains of each class of sounds beside it.

    Args:
        average: see `SpectralEstimator`.
        candidates: numbers of classes, of which the one with the least cross-validation error is
            taken.
    """

    candidates: tuple[int, ...] = (4, 8, 16, 32, 64)

    def speech(
        self, frames: Sequence[SpeechFrames], sample_rate: int, prior: SpeechResponse | None
    ) -> ClassResponse:
        frames = thinned(frames)
        folds = folds_of([(f.talker, f.name) for f in frames])
        errors = dict.fromkeys(self.candidates, 0.0)
        for held_out in folds if len(folds) > 1 else []:
            rest = [f for index, f in enumerate(frames) if index not in held_out]
            for count in self.candidates:
                fitted = _fit_classes(rest, sample_rate, count, prior)
                for index in held_out:
                    f = frames[index]
                    error_db = f.error_db(fitted.gains_db(f.levels_db[None])[0])
                    errors[count] += float(error_db.square().mean(dim=1).sqrt().sum())
        best = min(errors, key=lambda count: (errors[count], count))
        return _fit_classes(frames, sample_rate, best, prior)


def _fit_classes(
    frames: Sequence[SpeechFrames], sample_rate: int, count: int, prior: SpeechResponse | None
) -> ClassResponse:
    """Fit K classes: k-means over the cosine coefficients of air, then the gains of each.

    K is `count`, or less where there are too few frames. The gains of a class with few frames are
    drawn towards those of the prior, or towards 0 dB where there is none.
    """
    levels = torch.cat([f.levels_db[f.active] for f in frames])
    columns = cosines(levels.shape[1], NUM_COEFFICIENTS).to(levels)
    coefficients = (levels @ columns).double().numpy()
    mean, std = coefficients.mean(axis=0), np.maximum(coefficients.std(axis=0), 1e-3)
    position = (coefficients - mean) / std
    count = max(1, min(count, len(position) // 10))
    generator = stream(0, "speech classes", count)
    centres, _ = scipy.cluster.vq.kmeans2(
        position, count, minit="++", rng=generator, missing="warn"
    )
    no_gains = np.zeros((count, levels.shape[1]))
    response = ClassResponse(sample_rate, 0.0, None, centres, mean, std, no_gains)
    weights = response.memberships(levels)  # (N, K)
    # Frames of one class still differ in level; relative to the fixed response each counts alike.
    ratio_db = torch.cat([f.speech_db - f.fixed_db for f in frames]).to(levels)
    expected = torch.zeros(count, levels.shape[1], dtype=levels.dtype)
    if prior is not None:
        known = torch.cat([prior.gains_db(f.levels_db[None])[0][f.active] for f in frames])
        known = known.to(levels)
        expected = weights.T @ known / weights.sum(dim=0)[:, None].clamp(min=1e-9)
    # Least squares, not the mean of each class: frames belong to several classes, and means of
    # means would draw the classes together.
    ridge = PRIOR_FRAMES * torch.eye(count, dtype=levels.dtype)
    gains = torch.linalg.solve(
        weights.T @ weights + ridge, weights.T @ ratio_db + PRIOR_FRAMES * expected
    )
    # Beyond that is a band that air lacks, as in upsampled recordings.
    return replace(response, class_gains_db=gains.clamp(-MAX_GAIN_DB, MAX_GAIN_DB).double().numpy())
