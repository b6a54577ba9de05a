"""Classes of speech sounds, found without labels, with a response each.

What Ohlenbusch, Rollwage and Doclo (2024, arXiv 2405.11592) do with the phonemes of a recogniser,
here with clusters of air frames: no recogniser, any language, and as many classes as the
recordings can tell apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import scipy  # its parts are loaded when they are asked for
import torch
from numpy.typing import NDArray
from torch import Tensor

from bcsim.fitting.cross_validation import folds_of
from bcsim.fitting.estimators import ESTIMATORS
from bcsim.fitting.estimators.power_ratio import PowerRatio
from bcsim.rng import stream
from bcsim.sensors.responses.base import SPEECH_RESPONSES, SpeechFrames, SpeechResponse

NUM_COEFFICIENTS = 16
SOFTNESS = 4.0  # squared distance over which one class fades into the next
PRIOR_FRAMES = 1.0  # of a class that weigh as much as what is known without them
MAX_CLASSES = 256
MAX_GAIN_DB = 100.0  # of a class; more is no sound
MAX_VALUE = 1e4  # of anything else, far beyond what a fit gives
MIN_STD = 1e-6


@SPEECH_RESPONSES.register("speech-classes")
@dataclass(frozen=True, eq=False)
class ClassResponse(SpeechResponse):
    r"""A set of gains for each class; a frame fades between the classes that it is near to.

    With d_k the distance of the frame's standardised cosine coefficients to the centre of class k,
    the weight of a class is proportional to :math:`e^{-d_k^2/4}`.

    Args:
        sample_rate: see `SpeechResponse`; so for `level_db` and `residual`.
        centres: (K, C), in standardised coefficients.
        mean: (C,), of the coefficients.
        std: (C,).
        class_gains_db: (K, M).
    """

    centres: NDArray[np.float64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    class_gains_db: NDArray[np.float64]

    summary_word: ClassVar[str] = "speech classes"

    def __post_init__(self) -> None:
        super().__post_init__()
        count, coefficients = self.centres.shape
        good = (
            0 < count <= MAX_CLASSES
            and self.mean.shape == self.std.shape == (coefficients,)
            and 0 < coefficients <= self.bank.num_bands
            and self.class_gains_db.shape == (count, self.bank.num_bands)
        )
        if not good:
            raise ValueError("the classes' arrays do not fit together")
        for name, values in self.arrays().items():
            if not np.isfinite(values).all():
                raise ValueError(f"{name} of the classes holds values that are not finite")
            bound = MAX_GAIN_DB if name == "class_gains_db" else MAX_VALUE
            if np.abs(values).max() > bound:
                raise ValueError(f"{name} of the classes exceeds {bound:g}")
        if self.std.min() < MIN_STD:
            raise ValueError(f"std of the classes is below {MIN_STD:g}")

    def predict(self, levels_db: Tensor, num_frames: Tensor) -> Tensor:
        return self.memberships(levels_db) @ torch.from_numpy(self.class_gains_db).to(levels_db)

    def memberships(self, levels_db: Tensor) -> Tensor:
        """Return the weight of every class in every frame, (..., K), from levels (..., M)."""
        cosines = self._cosines.to(levels_db)
        mean, std, centres = (
            torch.from_numpy(v).to(levels_db) for v in (self.mean, self.std, self.centres)
        )
        position = (levels_db @ cosines - mean) / std
        distance = (position[..., None, :] - centres).square().sum(dim=-1)
        return torch.softmax(-distance / SOFTNESS, dim=-1)

    @cached_property
    def _cosines(self) -> Tensor:
        return cosines(self.bank.num_bands, len(self.mean))

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {
            "centres": self.centres,
            "mean": self.mean,
            "std": self.std,
            "class_gains_db": self.class_gains_db,
        }

    @classmethod
    def from_arrays(
        cls, common: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
    ) -> "ClassResponse":
        names = ("centres", "mean", "std", "class_gains_db")
        if arrays["centres"].ndim != 2:
            raise ValueError("centres of the classes have no two dimensions")
        return cls(**{**common, **{name: arrays[name].astype(np.float64) for name in names}})


def cosines(num_bands: int, count: int) -> Tensor:
    """Return the orthonormal cosine transform's first columns, (M, count)."""
    identity = np.eye(num_bands)
    columns = np.asarray(scipy.fft.dct(identity, axis=-1, norm="ortho"))
    return torch.from_numpy(columns[:, :count].copy())


@ESTIMATORS.register("speech-classes")
@dataclass(frozen=True)
class SpeechClasses(PowerRatio):
    """The power ratio as fixed response, and the gains of each class of sounds beside it.

    Args:
        average: see `SpectralEstimator`.
        candidates: numbers of classes, of which the one with the least error on held-out
            recordings is taken.
    """

    candidates: tuple[int, ...] = field(default=(4, 8, 16, 32, 64))

    def speech(
        self, frames: Sequence[SpeechFrames], sample_rate: int, prior: SpeechResponse | None
    ) -> ClassResponse:
        folds = folds_of([(f.talker, f.name) for f in frames])
        errors = dict.fromkeys(self.candidates, 0.0)
        for held_out in folds if len(folds) > 1 else []:
            rest = [f for index, f in enumerate(frames) if index not in held_out]
            for count in self.candidates:
                fitted = fit_classes(rest, sample_rate, count, prior)
                for index in held_out:
                    f = frames[index]
                    error_db = f.error_db(fitted.gains_db(f.levels_db[None])[0])
                    errors[count] += float(error_db.square().mean(dim=1).sqrt().sum())
        best = min(errors, key=lambda count: (errors[count], count))
        return fit_classes(frames, sample_rate, best, prior)


def fit_classes(
    frames: Sequence[SpeechFrames], sample_rate: int, count: int, prior: SpeechResponse | None
) -> ClassResponse:
    """Fit K classes: k-means over the cosine coefficients of air, then the gains of each.

    A class of few frames leans on the prior, or on no gain at all where there is none.

    Args:
        frames: of all pairs.
        sample_rate: in Hz.
        count: K, lessened where there are too few frames.
        prior: what is expected of these frames, or None.
    """
    levels = torch.cat([f.levels_db[f.active] for f in frames])
    coefficients = (levels @ cosines(levels.shape[1], NUM_COEFFICIENTS)).numpy()
    mean, std = coefficients.mean(axis=0), np.maximum(coefficients.std(axis=0), 1e-3)
    position = (coefficients - mean) / std
    count = max(1, min(count, len(position) // 10))
    generator = stream(0, "speech classes", count)
    centres, _ = scipy.cluster.vq.kmeans2(
        position, count, minit="++", rng=generator, missing="warn"
    )
    response = ClassResponse(
        sample_rate, 0.0, None, centres, mean, std, np.zeros((count, levels.shape[1]))
    )
    weights = response.memberships(levels)  # (N, K)
    speech = 10 ** (torch.cat([f.speech_db[f.active] for f in frames]) / 10)
    fixed = 10 ** (torch.cat([f.fixed_db[f.active] for f in frames]) / 10)
    # Frames of one class still differ in level; relative to the fixed response each counts alike.
    ratio_db = 10 * (speech / fixed).log10()
    expected = torch.zeros(count, levels.shape[1], dtype=levels.dtype)
    if prior is not None:
        known = torch.cat([prior.gains_db(f.levels_db[None])[0][f.active] for f in frames])
        expected = weights.T @ known / weights.sum(dim=0)[:, None].clamp(min=1e-9)
    # Least squares, not the mean of each class: frames belong to several classes, and means of
    # means would draw the classes together.
    ridge = PRIOR_FRAMES * torch.eye(count, dtype=levels.dtype)
    gains = torch.linalg.solve(
        weights.T @ weights + ridge, weights.T @ ratio_db + PRIOR_FRAMES * expected
    )
    # Beyond that is a band that air lacks, as in upsampled recordings.
    return replace(response, class_gains_db=gains.clamp(-MAX_GAIN_DB, MAX_GAIN_DB).numpy())
