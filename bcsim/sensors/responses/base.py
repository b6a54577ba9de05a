"""The speech-dependent part of a sensor: its gains in every frame, beyond its fixed response.

A vowel, a nasal and a fricative reach a body-conduction sensor by different paths, so one filter
explains only about a fifth of what the sensor does to speech. The rest is a gain that varies
over time and frequency, predicted from the mel-band levels of the air signal around each frame of
`bcsim.dsp.filter_bank`, without labels.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from bcsim.dsp.activity import mean_speech_power
from bcsim.dsp.filter_bank import FilterBank
from bcsim.registry import Registry
from bcsim.sensors.responses.residual import LIMIT_DB, Residual

FLOOR_DB = 80.0  # the lowest level, in dB below active speech


@dataclass(frozen=True, eq=False)
class SpeechResponse(ABC):
    """A predictor of band gains from the levels of the air signal.

    Subclasses are frozen dataclasses, registered in `SPEECH_RESPONSES` under the name of the
    estimator that makes them; the sensor's file stores their arrays by name.

    Args:
        sample_rate: sample rate of the sensor in Hz.
        level_db: offset of all gains in dB, so that the level of speech comes out right: gains that
            are right on average in dB are too low on average in power.
        residual: process that the prediction leaves open; None where it was not measured.

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
            levels_db: (B, frames, M), levels relative to active speech (`relative_levels`).
            num_frames: (B,), number of frames of each clip; later frames are padding.
        """

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that the sensor's file stores, by name; float32 stays float32."""

    @classmethod
    @abstractmethod
    def from_arrays(
        cls, common: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
    ) -> "SpeechResponse":
        """Return the response with the fields of `SpeechResponse` and arrays as from `arrays`.

        Raises:
            ValueError: if shapes or values cannot be those of such a response.
            KeyError: if an array is missing.
        """

    @cached_property
    def bank(self) -> FilterBank:
        """The filter bank whose gains these are."""
        return FilterBank(self.sample_rate)

    def gains_db(
        self, levels_db: Tensor, num_frames: Tensor | None = None, excess_db: Tensor | float = 0.0
    ) -> Tensor:
        """Return gains in dB relative to the fixed response, smoothed over three frames.

        Args:
            levels_db: (B, frames, M), band levels of the air signal (`FilterBank.levels_db`).
            num_frames: (B,), number of frames of each clip; None for all frames.
            excess_db: (B,) or a number, level of active speech in the whole clip less that in
                these frames in dB, where the frames are a segment of the clip.

        Returns:
            (B, frames, M), within +-40 dB; independent of the signal's level.
        """
        if num_frames is None:
            shape = levels_db.shape
            num_frames = torch.full((shape[0],), shape[1], device=levels_db.device)
        relative_db = relative_levels(self.bank, levels_db, num_frames, excess_db)
        gains = self.predict(relative_db, num_frames)
        neighbours = around(gains, (-1, 0, 1), num_frames)
        return (neighbours.mean(dim=2) + self.level_db).clamp(-LIMIT_DB, LIMIT_DB)

    def with_residual(
        self,
        gains_db: Tensor,
        relative_db: Tensor,
        seeds: Tensor,
        scale: Tensor | float = 1.0,
        first: int = 0,
    ) -> Tensor:
        """Return gains with the residual drawn for each clip, or unchanged where there is none.

        Args:
            gains_db: (B, frames, M), predicted gains.
            relative_db: (B, frames, M), levels of air relative to active speech.
            seeds: (B,) of int64, seed of each clip's trajectory.
            scale: (B, 1, 1) or a number, factor of the trajectories, and below 1 that of the
                calibration.
            first: frame of the clip that the gains begin with.

        Returns:
            (B, frames, M), within +-40 dB.
        """
        if self.residual is None:
            return gains_db
        trajectories = self.residual.draw(seeds, gains_db.shape[1], first).to(gains_db)
        drawn = gains_db + scale * trajectories
        if self.residual.calibration is not None:
            part = torch.as_tensor(scale).clamp(max=1.0)
            drawn = drawn + part * self.residual.calibration.change_db(relative_db + gains_db)
        return drawn.clamp(-LIMIT_DB, LIMIT_DB)


SPEECH_RESPONSES: Registry[type[SpeechResponse]] = Registry(
    "speech response", "bcsim.sensors.responses"
)


def relative_levels(
    bank: FilterBank, levels_db: Tensor, num_frames: Tensor, excess_db: Tensor | float = 0.0
) -> Tensor:
    """Return band levels (B, frames, M) relative to the clip's active speech, not below -80 dB.

    For the arguments see `SpeechResponse.gains_db`; the bank is the one that the levels are of.
    """
    total = mean_speech_power(bank.power(levels_db), bank.speech_power(levels_db), num_frames)
    reference_db = 10 * total.clamp(min=1e-20).log10() + excess_db
    return (levels_db - reference_db[:, None, None]).clamp_(min=-FLOOR_DB)


def around(values: Tensor, offsets: Sequence[int], num_frames: Tensor, stride: int = 1) -> Tensor:
    """Return the values (B, frames, M) at K offsets from every `stride`-th frame.

    At the ends of a clip of `num_frames` (B,) frames its first or last frame is repeated.

    Returns:
        (B, frames, K, M).
    """
    frames = torch.arange(0, values.shape[1], stride, device=values.device)
    places = frames[:, None] + torch.tensor(offsets, device=values.device)
    last = (num_frames - 1).clamp(min=0).view(-1, 1, 1)
    places = torch.minimum(places[None].clamp(min=0), last)
    rows = torch.arange(len(values), device=values.device).view(-1, 1, 1)
    return values[rows, places]
