"""The speech-dependent part of a sensor: what it does to this sound, beyond its fixed response.

A vowel, a nasal and a fricative reach a body-conduction sensor by different paths, so one filter
explains a fifth of what happens (see `bcsim.fitting.estimators`). The rest is a gain that moves
over time and frequency, predicted from what the air microphone hears: from the levels of its mel
bands around each frame of `bcsim.dsp.filter_bank`. No labels are needed, in no language.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from bcsim.dsp.activity import is_active
from bcsim.dsp.filter_bank import FilterBank
from bcsim.registry import Registry
from bcsim.sensors.responses.residual import LIMIT_DB, Residual

FLOOR_DB = 80.0  # under the level of active speech: what is fainter says nothing about the sound


@dataclass(frozen=True, eq=False)
class SpeechResponse(ABC):
    """A predictor of band gains from what the air microphone hears.

    Concrete ones are frozen dataclasses, registered in `SPEECH_RESPONSES` beside the estimator
    that makes them; what they are made of are arrays, which the sensor's file stores by name.

    Args:
        sample_rate: in Hz.
        level_db: added to all gains, so that the level of speech comes out right: gains that are
            right on average in dB are too low on average in power.
        residual: what the prediction leaves open; None where it was not measured.

    Raises:
        ValueError: if shapes or values cannot be those of such a response.
    """

    sample_rate: int
    level_db: float
    residual: Residual | None

    summary_word: ClassVar[str] = "speech-dependent"

    def __post_init__(self) -> None:
        if not abs(self.level_db) <= LIMIT_DB:
            raise ValueError(f"level_db of the speech response is {self.level_db}")
        bands = self.bank.num_bands
        if self.residual is not None and len(self.residual.factor_db) != bands:
            raise ValueError(f"the residual has not {bands} bands")

    @abstractmethod
    def predict(self, levels_db: Tensor, num_frames: Tensor) -> Tensor:
        """Return gains in dB, (B, frames, M), relative to the fixed response.

        Args:
            levels_db: (B, frames, M), of `relative_levels`.
            num_frames: (B,), frames of each clip; what lies behind is to be ignored.
        """

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what the file keeps, by name; float32 is kept as such."""

    @classmethod
    @abstractmethod
    def from_arrays(
        cls, common: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
    ) -> "SpeechResponse":
        """Return what `arrays` gave.

        Args:
            common: sample_rate, level_db and residual.
            arrays: by name.

        Raises:
            ValueError: if shapes or values cannot be those of such a response.
            KeyError: if an array is missing.
        """

    @cached_property
    def bank(self) -> FilterBank:
        """The filter bank whose gains these are."""
        return FilterBank(self.sample_rate)

    def gains_db(
        self,
        levels_db: Tensor,
        num_frames: Tensor | None = None,
        excess_db: Tensor | float = 0.0,
    ) -> Tensor:
        """Return gains in dB relative to the fixed response, smoothed over three frames.

        Args:
            levels_db: (B, frames, M), of the air signal, of `FilterBank.levels_db`.
            num_frames: (B,), frames of each clip; all of them where None.
            excess_db: (B,) or a number: by how much active speech is louder in the whole clip
                than in these frames, where they are a stretch of it.

        Returns:
            (B, frames, M), within +-40 dB; independent of the signal's level.
        """
        if num_frames is None:
            shape = levels_db.shape
            num_frames = torch.full((shape[0],), shape[1], device=levels_db.device)
        relative_db = relative_levels(levels_db, num_frames, excess_db)
        gains = self.predict(relative_db, num_frames)
        neighbours = around(gains, (-1, 0, 1), num_frames)
        return (neighbours.mean(dim=2) + self.level_db).clamp(-LIMIT_DB, LIMIT_DB)

    def with_residual(
        self, gains_db: Tensor, seeds: Tensor, scale: Tensor | float = 1.0, first: int = 0
    ) -> Tensor:
        """Return gains with the residual drawn for each clip; as they are where there is none.

        Args:
            gains_db: (B, frames, M).
            seeds: (B,) of int64.
            scale: (B, 1, 1) or a number, parts of the residual's measured deviation.
            first: frame of the clip that the gains begin with.

        Returns:
            (B, frames, M), within +-40 dB.
        """
        if self.residual is None:
            return gains_db
        trajectories = self.residual.draw(seeds, gains_db.shape[1], first).to(gains_db)
        return (gains_db + scale * trajectories).clamp(-LIMIT_DB, LIMIT_DB)

    def apply(self, signal: Tensor, air: Tensor, seed: int | None = None) -> Tensor:
        """Return a signal (B, T) with the gains that go with air (B, T), zero phase.

        Args:
            signal: to be filtered.
            air: that decides.
            seed: of the residual; None for the mean.
        """
        gains = self.gains_db(self.bank.levels_db(air))
        if seed is not None:
            gains = self.with_residual(gains, torch.full((len(air),), seed))
        return self.bank.filter(signal, gains)


SPEECH_RESPONSES: Registry[type[SpeechResponse]] = Registry(
    "speech response", "bcsim.sensors.responses"
)


def relative_levels(
    levels_db: Tensor, num_frames: Tensor, excess_db: Tensor | float = 0.0
) -> Tensor:
    """Return band levels relative to the clip's active speech, not below -80 dB.

    Args:
        levels_db: (B, frames, M).
        num_frames: (B,), frames of each clip.
        excess_db: (B,), see `SpeechResponse.gains_db`.

    Returns:
        (B, frames, M).
    """
    power = (10 ** (levels_db / 10)).sum(dim=-1)
    active = is_active(power, num_frames)
    total = torch.where(active, power, 0.0).sum(dim=1) / active.sum(dim=1).clamp(min=1)
    reference_db = 10 * total.clamp(min=1e-20).log10() + excess_db
    return (levels_db - reference_db[:, None, None]).clamp(min=-FLOOR_DB)


def around(values: Tensor, offsets: Sequence[int], num_frames: Tensor, stride: int = 1) -> Tensor:
    """Return the frames at some offsets from each; at a clip's ends its last frame is held.

    Args:
        values: (B, frames, M).
        offsets: K of them.
        num_frames: (B,).
        stride: from each such frame to the next.

    Returns:
        (B, frames, K, M).
    """
    frames = torch.arange(0, values.shape[1], stride, device=values.device)
    places = frames[:, None] + torch.tensor(offsets, device=values.device)
    last = (num_frames - 1).clamp(min=0).view(-1, 1, 1)
    places = torch.minimum(places[None].clamp(min=0), last)
    rows = torch.arange(len(values), device=values.device).view(-1, 1, 1)
    return values[rows, places]
