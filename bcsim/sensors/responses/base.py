"""The speech-dependent part of a sensor: what it does to this sound, beyond its fixed response.

A vowel, a nasal and a fricative reach a body-conduction sensor by different paths, so one filter
explains a fifth of what happens (see `bcsim.fitting.estimators`). The rest is a gain that moves
over time and frequency, predicted from what the air microphone hears: from the levels of its mel
bands around each frame of `bcsim.dsp.filter_bank`. No labels are needed, in no language.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bcsim.dsp.filter_bank import FilterBank
from bcsim.dsp.fir import fast_length, interpolate_response
from bcsim.dsp.noise import white_noise
from bcsim.fitting.pairs import AlignedPair
from bcsim.registry import Registry
from bcsim.sensors.transfer_function import TransferFunction

ACTIVE_RANGE_DB = 35.0
FLOOR_DB = 80.0  # under the level of active speech: what is fainter says nothing about the sound
LIMIT_DB = 40.0  # of a gain, either way
MAX_MEMORY = 0.999  # of a residual: it is drawn from as many frames before as it remembers


@dataclass(frozen=True, eq=False)
class Residual:
    r"""What the prediction leaves unexplained, as a random process to be drawn.

    .. math:: r_t = a\,r_{t-1} + \sqrt{1-a^2}\; L e_t,\quad e_t \sim N(0, I)

    A prediction is a mean, smoother than what it is the mean of; with the residual, simulated
    speech moves as much as the real.

    Args:
        factor_db: (M, M), L, in dB.
        memory: a, 0 to 0.999.
        rise_db: by how much drawing it raises the level of speech; taken off again.
    """

    factor_db: NDArray[np.float64]
    memory: float
    rise_db: float

    def __post_init__(self) -> None:
        bands = len(self.factor_db)
        if self.factor_db.shape != (bands, bands) or not np.isfinite(self.factor_db).all():
            raise ValueError(f"factor_db of the residual has shape {self.factor_db.shape}")
        if np.abs(self.factor_db).max(initial=0) > 100:
            raise ValueError("factor_db of the residual exceeds 100 dB")
        if not 0 <= self.memory <= MAX_MEMORY:
            raise ValueError(f"memory of the residual is {self.memory}, not 0 to {MAX_MEMORY}")
        if not abs(self.rise_db) <= LIMIT_DB:
            raise ValueError(f"rise_db of the residual is {self.rise_db}")

    def draw(self, seeds: Tensor, num_frames: int, first: int = 0) -> Tensor:
        """Return a stretch of each seed's endless course of the residual, level compensated.

        Args:
            seeds: (B,) of int64.
            num_frames: of the stretch.
            first: frame.

        Returns:
            (B, frames, M) in dB, float64.
        """
        # y_t = sum of a^k e_(t-k) up to k = 2^n - 1, by n doublings; beyond, a^k is under 1e-6.
        forgotten = math.log(1e-6) / math.log(self.memory) if self.memory else 1.0
        doublings = max(0, math.ceil(math.log2(forgotten)))
        bands = len(self.factor_db)
        first -= 2**doublings - 1
        num_frames += 2**doublings - 1
        shocks = white_noise(seeds, num_frames * bands, first * bands)
        course = shocks.unflatten(-1, (num_frames, bands))
        for step in (2**k for k in range(doublings)):
            course = course[:, step:] + self.memory**step * course[:, :-step]
        factor_db = torch.from_numpy(self.factor_db).to(course)
        return course @ (math.sqrt(1 - self.memory**2) * factor_db.T) - self.rise_db


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
        courses = self.residual.draw(seeds, gains_db.shape[1], first).to(gains_db)
        return (gains_db + scale * courses).clamp(-LIMIT_DB, LIMIT_DB)

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
    "speech response", "bcsim.fitting.estimators"
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
    active = active_of(power, num_frames)
    total = torch.where(active, power, 0.0).sum(dim=1) / active.sum(dim=1).clamp(min=1)
    reference_db = 10 * total.clamp(min=1e-20).log10() + excess_db
    return (levels_db - reference_db[:, None, None]).clamp(min=-FLOOR_DB)


def active_of(power: Tensor, num_frames: Tensor) -> Tensor:
    """Tell which frames carry speech: power above the 98th percentile less 35 dB.

    Args:
        power: (B, frames).
        num_frames: (B,), frames of each clip.

    Returns:
        (B, frames) of bool.
    """
    inside = torch.arange(power.shape[1], device=power.device) < num_frames[:, None]
    top = torch.nanquantile(torch.where(inside, power, torch.nan), 0.98, dim=1, keepdim=True)
    return inside & (power > top * 10 ** (-ACTIVE_RANGE_DB / 10))


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


@dataclass(frozen=True, eq=False)
class SpeechFrames:
    """The frames of one pair, as a speech-dependent estimator sees them.

    Args:
        talker: or None.
        name: of the pair.
        levels_db: (frames, M), of air, of `relative_levels`.
        fixed_db: (frames, M), what the fixed response makes of air.
        bone_db: (frames, M), what the sensor recorded.
        noise_db: (M,), the sensor's noise in the same bands.
        active: (frames,) of bool.
    """

    talker: str | None
    name: str
    levels_db: Tensor
    fixed_db: Tensor
    bone_db: Tensor
    noise_db: Tensor
    active: Tensor

    @property
    def speech_db(self) -> Tensor:
        """Return the level of bone less its noise, not more than 10 dB under bone, (frames, M)."""
        bone, noise = 10 ** (self.bone_db / 10), 10 ** (self.noise_db / 10)
        return 10 * torch.maximum(bone - noise, 0.1 * bone).log10()

    def error_db(self, gains_db: Tensor) -> Tensor:
        """Return simulated less real level of active frames, (active frames, M).

        Args:
            gains_db: (frames, M).
        """
        power = 10 ** ((self.fixed_db + gains_db) / 10) + 10 ** (self.noise_db / 10)
        return (10 * power.log10() - self.bone_db)[self.active]


def speech_frames(pair: AlignedPair, response: TransferFunction) -> SpeechFrames:
    """Return a pair's frames, air beside bone.

    Args:
        pair: aligned; its noise is used.
        response: the fixed response from `pair.air` to `pair.bone`, in their units.
    """
    bank = FilterBank(pair.sample_rate)
    air_db = bank.levels_db(pair.air[None])
    frames = torch.tensor([air_db.shape[1]])
    filtered = filter_with(response, pair.air[None])
    grid = torch.linspace(0, pair.sample_rate / 2, bank.num_fft // 2 + 1, dtype=torch.float64)
    psd = np.interp(grid.numpy(), response.frequencies_hz, pair.noise.psd.numpy())
    noise = torch.from_numpy(psd) * (pair.sample_rate / 2 * bank.num_fft / 2)  # sum of w^2
    noise_power = (bank.weights @ noise).clamp(min=1e-16)
    return SpeechFrames(
        talker=pair.talker,
        name=pair.name,
        levels_db=relative_levels(air_db, frames)[0],
        fixed_db=bank.levels_db(filtered)[0],
        bone_db=bank.levels_db(pair.bone[None])[0],
        noise_db=10 * noise_power.log10(),
        active=active_of((10 ** (air_db / 10)).sum(dim=-1), frames)[0],
    )


def filter_with(response: TransferFunction, signal: Tensor) -> Tensor:
    """Return the signal after the response, (B, T), as long as it was."""
    bins = len(response.frequencies_hz)
    size = fast_length(signal.shape[-1] + 4 * bins)
    finer = interpolate_response(torch.from_numpy(response.response)[None], size // 2 + 1)
    return torch.fft.irfft(torch.fft.rfft(signal, size) * finer, size)[..., : signal.shape[-1]]
