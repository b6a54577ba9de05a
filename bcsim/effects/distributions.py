"""What the parameters of effects are drawn from, once a clip."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bcsim.errors import check_that
from bcsim.rng import MAX_SEED

MAX_SIZE = 1000  # of a vector: a manifest lists its numbers

Value = float | int | str | list[float]


@dataclass(frozen=True)
class Distribution(ABC):
    """A parameter that is drawn once per clip."""

    @abstractmethod
    def draw(self, generator: np.random.Generator) -> Value:
        """Return one value, made of plain Python numbers."""

    @abstractmethod
    def centre(self) -> Value | None:
        """Return the value of the mean rendering, or None where even that one has to draw."""

    def extremes(self) -> tuple[float, float] | None:
        """Return the least and the greatest number it may draw; None without bounds, or names."""
        return None


@dataclass(frozen=True)
class Constant(Distribution):
    """Always `value`."""

    value: float

    def draw(self, generator: np.random.Generator) -> Value:
        return float(self.value)

    def centre(self) -> Value:
        return float(self.value)

    def extremes(self) -> tuple[float, float]:
        return self.value, self.value


Parameter = Distribution | float  # of an effect; a number stands for a `Constant`


@dataclass(frozen=True)
class Uniform(Distribution):
    """Uniform between `low` and `high`."""

    low: float
    high: float

    def __post_init__(self) -> None:
        check_that(self.low <= self.high, f"uniform [{self.low}, {self.high}]: low exceeds high")

    def draw(self, generator: np.random.Generator) -> Value:
        return float(generator.uniform(self.low, self.high))

    def centre(self) -> Value:
        return (self.low + self.high) / 2

    def extremes(self) -> tuple[float, float]:
        return self.low, self.high


@dataclass(frozen=True)
class LogUniform(Distribution):
    """Uniform in the logarithm between `low` and `high`, both positive."""

    low: float
    high: float

    def __post_init__(self) -> None:
        ordered = 0 < self.low <= self.high
        check_that(ordered, f"log_uniform [{self.low}, {self.high}]: wants 0 < low <= high")

    def draw(self, generator: np.random.Generator) -> Value:
        return math.exp(generator.uniform(math.log(self.low), math.log(self.high)))

    def centre(self) -> Value:
        return math.sqrt(self.low * self.high)

    def extremes(self) -> tuple[float, float]:
        return self.low, self.high


@dataclass(frozen=True)
class Normal(Distribution):
    """Gaussian; with `size`, a vector of independent values."""

    mean: float
    std: float
    size: int | None = None

    def __post_init__(self) -> None:
        check_that(self.std >= 0, f"normal [{self.mean}, {self.std}]: the deviation is negative")
        whole = self.size is None or (isinstance(self.size, int) and 1 <= self.size <= MAX_SIZE)
        check_that(whole, f"the size is {self.size}; it wants a whole number from 1 to {MAX_SIZE}")

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
        check_that(len(self.values) > 0, "choice []: nothing to choose from")

    def draw(self, generator: np.random.Generator) -> Value:
        return float(self.values[int(generator.integers(len(self.values)))])

    def centre(self) -> Value:
        return float(self.values[0])

    def extremes(self) -> tuple[float, float]:
        return min(self.values), max(self.values)


@dataclass(frozen=True)
class Seed(Distribution):
    """The seed of a waveform. Waveforms are never stored: whoever has the seed has the noise."""

    def draw(self, generator: np.random.Generator) -> Value:
        return int(generator.integers(MAX_SEED))

    def centre(self) -> None:
        return None


@dataclass(frozen=True)
class WithinClipVariation(Distribution):
    """The scale of a within-clip variation: always `scale`, but 0 in the mean rendering."""

    scale: float

    def __post_init__(self) -> None:
        check_that(self.scale >= 0, f"within-clip variation {self.scale}: the scale is negative")

    def draw(self, generator: np.random.Generator) -> Value:
        return float(self.scale)

    def centre(self) -> Value:
        return 0.0

    def extremes(self) -> tuple[float, float]:
        return 0.0, self.scale


class Recordings(Distribution):
    """Recordings of noise: one of them is drawn for a clip, by name.

    A recipe gives the path of a folder. Effects cannot read files; whoever builds the simulator
    hands them an instance that does (`bcsim.datasets.noise_folder.NoiseFolder`).
    """

    written_as: ClassVar[str] = "a folder of recordings"  # in a recipe

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
    "fluctuation": WithinClipVariation,
}
