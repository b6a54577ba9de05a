"""The vocabulary of effects: the scene they act on, the distributions they draw from, themselves.

An effect is a frozen dataclass. Fields that are a `Distribution` are drawn once per clip; all
others are fixed settings. Drawing and applying are apart: `sample` gives plain numbers that go
into the manifest, `apply` is a pure function of the scene and those numbers, so a manifest row
is enough to make the same signal again.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bcsim.dsp.levels import energy_rms, frame_energy, loud_frames
from bcsim.rng import MAX_SEED, stream

Value = float | int | str | list[float]
Draw = dict[str, Value]  # what one effect drew for one clip, field name to value
Drawn = Mapping[str, Any]  # the same for a batch: tensors (B,) or (B, K), or a list of B names


@dataclass(frozen=True)
class Scene:
    """What the microphones hear, for a batch of clips.

    `air` is what an enhancer should give back: the talker alone, close by. Where there is noise or
    a room, the air microphone does not hear that but `noisy_air`.

    Args:
        air: (B, T), the air-conducted reference; zero past each clip's end.
        bone: (B, T), the body-conduction sensor.
        lengths: (B,), samples in each clip.
        sample_rate: in Hz.
        ambient: (B, T), the noise field at the air microphone, or None.
        noisy_air: (B, T), what the air microphone picks up: speech by way of the room, and
            ambient. None where that is `air`.
        start: samples of the clip that lie before this scene: 0, but where a long clip is rendered
            in stretches.
        level: (B,), RMS of the whole clip's active speech at the air microphone, where the scenes
            are only stretches; else None.
    """

    air: Tensor
    bone: Tensor
    lengths: Tensor
    sample_rate: int
    ambient: Tensor | None = None
    noisy_air: Tensor | None = None
    start: int = 0
    level: Tensor | None = None

    @classmethod
    def from_air(cls, air: Tensor, sample_rate: int, lengths: Tensor | None = None) -> "Scene":
        """Return the scene before any effect: the sensor hears what the microphone hears.

        Args:
            air: (B, T).
            sample_rate: in Hz.
            lengths: (B,), or None where every clip fills its row.

        Raises:
            ValueError: if `air` is not (B, T).
        """
        if air.ndim != 2:
            raise ValueError(f"air has shape {tuple(air.shape)}, a scene wants (B, T)")
        if lengths is None:
            lengths = torch.full((len(air),), air.shape[1], device=air.device)
        return cls(air=air, bone=air, lengths=lengths, sample_rate=sample_rate)

    @property
    def is_ragged(self) -> bool:
        """Whether some clip may be shorter than the batch; a GPU is not waited for to know."""
        on_cpu = self.lengths.device.type == "cpu"
        return not on_cpu or bool((self.lengths != self.air.shape[-1]).any())

    def mask(self) -> Tensor:
        """Return (B, T), True within each clip."""
        positions = torch.arange(self.air.shape[-1], device=self.air.device)
        return positions < self.lengths[:, None]

    @property
    def microphone(self) -> Tensor:
        """What the air microphone picks up, (B, T)."""
        return self.air if self.noisy_air is None else self.noisy_air

    def speech_level(self) -> Tensor:
        """Return the RMS of active speech at the air microphone, (B,), float64."""
        if self.level is not None:
            return self.level.double()
        energy = frame_energy(self.air)
        return energy_rms(energy, loud_frames(energy.detach(), self.lengths)).double()

    def with_bone(self, bone: Tensor) -> "Scene":
        """Return the scene with another sensor signal, silenced past each clip's end."""
        return replace(self, bone=self._within(bone))

    def with_ambient(self, ambient: Tensor, speech: Tensor | None = None) -> "Scene":
        """Return the scene with more noise at the air microphone.

        Args:
            ambient: (B, T), added to what there is.
            speech: (B, T), what the air microphone hears of the talker instead of `air`, such as
                speech by way of a room; None to leave that as it is.
        """
        ambient = self._within(ambient)
        before = 0 if self.ambient is None else self.ambient
        heard = self.microphone if speech is None else self._within(speech) + before
        return replace(self, ambient=before + ambient, noisy_air=heard + ambient)

    def each(self, change: Callable[[Tensor], Tensor], lengths: Tensor | None = None) -> "Scene":
        """Return the scene with the same done to every signal, so that a pair cannot be torn.

        Args:
            change: (B, T) to (B, T').
            lengths: (B,), of the clips afterwards, where they change.
        """
        changed = {
            name: change(signal)
            for name in ("air", "bone", "ambient", "noisy_air")
            if (signal := getattr(self, name)) is not None
        }
        # What was one signal stays one: an effect may ask whether bone is still air.
        if self.bone is self.air:
            changed["bone"] = changed["air"]
        return replace(self, **changed, lengths=self.lengths if lengths is None else lengths)

    def _within(self, signal: Tensor) -> Tensor:
        return signal * self.mask() if self.is_ragged else signal


@dataclass(frozen=True)
class Distribution(ABC):
    """A parameter that is drawn once per clip."""

    @abstractmethod
    def draw(self, generator: np.random.Generator) -> Value:
        """Return one value, made of plain Python numbers."""

    @abstractmethod
    def centre(self) -> Value | None:
        """Return the value of the mean rendering, or None where even that one has to draw."""


@dataclass(frozen=True)
class Constant(Distribution):
    """Always `value`."""

    value: float

    def draw(self, generator: np.random.Generator) -> Value:
        return float(self.value)

    def centre(self) -> Value:
        return float(self.value)


@dataclass(frozen=True)
class Uniform(Distribution):
    """Uniform between `low` and `high`."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _require(self.low <= self.high, f"uniform [{self.low}, {self.high}]: low exceeds high")

    def draw(self, generator: np.random.Generator) -> Value:
        return float(generator.uniform(self.low, self.high))

    def centre(self) -> Value:
        return (self.low + self.high) / 2


@dataclass(frozen=True)
class LogUniform(Distribution):
    """Uniform in the logarithm between `low` and `high`, both positive."""

    low: float
    high: float

    def __post_init__(self) -> None:
        ordered = 0 < self.low <= self.high
        _require(ordered, f"log_uniform [{self.low}, {self.high}]: wants 0 < low <= high")

    def draw(self, generator: np.random.Generator) -> Value:
        return math.exp(generator.uniform(math.log(self.low), math.log(self.high)))

    def centre(self) -> Value:
        return math.sqrt(self.low * self.high)


@dataclass(frozen=True)
class Normal(Distribution):
    """Gaussian; with `size`, a vector of independent values."""

    mean: float
    std: float
    size: int | None = None

    def __post_init__(self) -> None:
        _require(self.std >= 0, f"normal [{self.mean}, {self.std}]: the deviation is negative")

    def draw(self, generator: np.random.Generator) -> Value:
        if self.size is None:
            return float(generator.normal(self.mean, self.std))
        return [float(x) for x in generator.normal(self.mean, self.std, self.size)]

    def centre(self) -> Value:
        return self.mean if self.size is None else [self.mean] * self.size


@dataclass(frozen=True)
class Choice(Distribution):
    """One of `values`, all equally likely; the mean rendering takes the first."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        _require(len(self.values) > 0, "choice []: nothing to choose from")

    def draw(self, generator: np.random.Generator) -> Value:
        return float(self.values[int(generator.integers(len(self.values)))])

    def centre(self) -> Value:
        return float(self.values[0])


@dataclass(frozen=True)
class Seed(Distribution):
    """The seed of a waveform. Waveforms are never stored: whoever has the seed has the noise."""

    def draw(self, generator: np.random.Generator) -> Value:
        return int(generator.integers(MAX_SEED))

    def centre(self) -> None:
        return None


@dataclass(frozen=True)
class Fluctuation(Distribution):
    """The scale of something that moves within a clip: `scale`, and 0 in the mean rendering."""

    scale: float

    def __post_init__(self) -> None:
        _require(self.scale >= 0, f"fluctuation {self.scale}: the scale is negative")

    def draw(self, generator: np.random.Generator) -> Value:
        return float(self.scale)

    def centre(self) -> Value:
        return 0.0


class Recordings(Distribution):
    """Recordings of noise: one of them is drawn for a clip, by name.

    A recipe gives the path of a folder. Effects cannot read files; whoever builds the simulator
    hands them an instance that does (`bcsim.data.noise.NoiseFolder`).
    """

    @property
    @abstractmethod
    def names(self) -> Sequence[str]:
        """What there is to draw from, sorted."""

    @abstractmethod
    def read(self, name: str, sample_rate: int) -> NDArray[np.float64]:
        """Return a recording (T,), full scale at 1.

        Raises:
            InputError: if it is not there or cannot be used.
        """

    def draw(self, generator: np.random.Generator) -> Value:
        return self.names[int(generator.integers(len(self.names)))]

    def centre(self) -> None:
        return None


DISTRIBUTIONS: Mapping[str, type[Distribution]] = {
    "constant": Constant,
    "uniform": Uniform,
    "log_uniform": LogUniform,
    "normal": Normal,
    "choice": Choice,
    "seed": Seed,
    "fluctuation": Fluctuation,
}


@dataclass(frozen=True)
class Effect(ABC):
    """Something that happens to a scene.

    Subclasses are frozen dataclasses, registered under a name in `bcsim.effects.EFFECTS`. A field
    annotated `SensorProfile` is filled in with the sensor that the simulator is built for, one
    annotated `Recordings` with the noise folder that a recipe names.
    """

    differentiable: ClassVar[bool] = True  # whether gradients reach the air signal through `apply`
    keeps_length: ClassVar[bool] = True  # whether clips come out as long as they went in
    # Whether it has to see a clip from end to end. If not, a long clip may be rendered in
    # stretches: then what it does to a sample depends on the samples near by, on the draws, on
    # the sample's place in the clip (`scene.start`) and on `scene.level` alone.
    needs_whole_clip: ClassVar[bool] = False

    def sample(
        self, seed: int, clip_id: str, step: str, mean: bool = False, moving: bool = False
    ) -> Draw:
        """Draw the parameters for one clip.

        Args:
            seed: root seed of the run.
            clip_id: what the clip is called; with `seed` and `step` it decides every value.
            step: name of this step in the simulator.
            mean: take the centre of each distribution instead. Seeds of waveforms are drawn
                all the same: a mean sensor still has its noise floor.
            moving: with `mean`, draw the fluctuations within the clip none the less.
        """
        drawn: Draw = {}
        for field in fields(self):
            distribution = getattr(self, field.name)
            if isinstance(distribution, Distribution):
                drawn_all_the_same = moving and isinstance(distribution, Fluctuation)
                value = distribution.centre() if mean and not drawn_all_the_same else None
                if value is None:
                    value = distribution.draw(stream(seed, clip_id, step, field.name))
                drawn[field.name] = value
        return drawn

    @abstractmethod
    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        """Return the scene after the effect; `scene` itself stays as it is.

        Args:
            scene: B clips.
            drawn: for every drawn field a tensor (B,) or (B, K) on the scene's device, or a list
                of B names.
        """


def collate(draws: Sequence[Draw], device: torch.device | str = "cpu") -> dict[str, Any]:
    """Stack the draws of B clips into tensors, float64 or, for seeds, int64; names into a list.

    Example:
        >>> collate([{"gain_db": 1.0}, {"gain_db": 2.0}])["gain_db"]
        tensor([1., 2.], dtype=torch.float64)
    """
    stacked: dict[str, Any] = {}
    for name, first in draws[0].items():
        if isinstance(first, str):
            stacked[name] = [d[name] for d in draws]
            continue
        dtype = torch.int64 if isinstance(first, int) else torch.float64
        stacked[name] = torch.tensor([d[name] for d in draws], dtype=dtype, device=device)
    return stacked


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
