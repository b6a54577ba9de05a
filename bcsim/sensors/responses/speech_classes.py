"""A speech-dependent response made of classes of speech sounds, each with gains of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import scipy  # its parts are loaded when they are asked for
import torch
from numpy.typing import NDArray
from torch import Tensor

from bcsim.sensors.responses.base import SPEECH_RESPONSES, SpeechResponse

MAX_CLASSES = 256
MAX_GAIN_DB = 100.0  # bound of a class's gains
MAX_VALUE = 1e4  # bound of all other values, far beyond what a fit gives
MIN_STD = 1e-6
BLOCK = 256  # frames whose distances are formed at a time
SOFTNESS = 4.0  # squared distance over which one class fades into the next
_ARRAYS = ("centres", "mean", "std", "class_gains_db")


@SPEECH_RESPONSES.register("speech-classes")
@dataclass(frozen=True, eq=False)
class ClassResponse(SpeechResponse):
    r"""A set of gains for each class; a frame gets a mixture of those of the nearest classes.

    With d_k the distance of the frame's standardised cosine coefficients to the centre of class k,
    the weight of a class is proportional to :math:`e^{-d_k^2/4}`.

    Args:
        sample_rate: see `SpeechResponse`, also for `level_db` and `residual`.
        centres: (K, C), centres of the classes in standardised coefficients.
        mean: (C,), mean of the coefficients.
        std: (C,), standard deviation of the coefficients.
        class_gains_db: (K, M), gains of each class in dB.
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
        position = ((levels_db @ cosines - mean) / std).flatten(0, -2)
        distance = position.new_empty(len(position), len(centres))
        for start in range(0, len(position), BLOCK):
            block = position[start : start + BLOCK, None]
            distance[start : start + BLOCK] = (block - centres).square().sum(dim=-1)
        weights = torch.softmax(distance.div_(-SOFTNESS), dim=-1)
        return weights.view(*levels_db.shape[:-1], len(centres))

    @cached_property
    def _cosines(self) -> Tensor:
        return cosines(self.bank.num_bands, len(self.mean))

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {name: getattr(self, name) for name in _ARRAYS}

    @classmethod
    def from_arrays(
        cls, common: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
    ) -> "ClassResponse":
        if arrays["centres"].ndim != 2:
            raise ValueError("centres of the classes have no two dimensions")
        own: dict[str, Any] = {name: arrays[name].astype(np.float64) for name in _ARRAYS}
        return cls(**common, **own)


def cosines(num_bands: int, count: int) -> Tensor:
    """Return the orthonormal cosine transform's first columns, (M, count)."""
    columns = np.asarray(scipy.fft.dct(np.eye(num_bands), axis=-1, norm="ortho"))
    return torch.from_numpy(columns[:, :count].copy())
