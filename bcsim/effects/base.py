"""The vocabulary of effects: the scene that they act on, and themselves.

An effect is a frozen dataclass. Fields that are a `Distribution` are drawn once per clip; all
others are fixed settings. Drawing and applying are apart: `sample` gives plain numbers that go
into the manifest, `apply` is a pure function of the scene and those numbers, so a manifest row
is enough to make the same signal again.
"""

import math
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from dataclasses import field as dataclass_field
from typing import Any, ClassVar

import torch
from torch import Tensor

from bcsim.dsp.activity import speech_rms
from bcsim.effects.distributions import (
    Constant,
    Distribution,
    Normal,
    Seed,
    Value,
    WithinClipVariation,
)
from bcsim.errors import check_that
from bcsim.rng import stream

Draw = dict[str, Value]  # what one effect drew for one clip, field name to value
Limits = Mapping[str, tuple[float, float]]  # field name to a closed range in the field's unit
Drawn = Mapping[str, Any]  # the same for a batch: tensors (B,) or (B, K), or a list of B names


@dataclass(frozen=True)
class Scene:
    """Signals of the microphones, for a batch of clips.

    `air` is the target of an enhancer: the talker alone, close by. Where there is noise or a room,
    the air microphone picks up `noisy_air` instead.

    Args:
        air: (B, T), air-conducted reference; zero past each clip's end.
        bone: (B, T), signal of the body-conduction sensor.
        lengths: (B,), number of samples in each clip.
        sample_rate: sample rate in Hz.
        ambient: (B, T), noise field at the air microphone, or None.
        noisy_air: (B, T), signal of the air microphone: speech by way of the room, and ambient.
            None where that is `air`.
        start: number of samples of the clip before this scene: 0, but where a long clip is
            rendered in segments.
        inside: samples of the scene that are wanted, where others before and after are only there
            for what they have an influence on; None where all are.
        level: (B,), RMS of the whole clip's active speech at the air microphone, where the scenes
            are only segments; else None.
        offset: (B,), mean of the whole clip at the air microphone, where the scenes are only
            segments; else None.
        leak_gain: (B,), gain from `ambient` to the noise field at the sensor, or None for 1. Less
            than 1 where the air microphone is far from the mouth, turned up so that speech keeps
            the level of `air`: noise is turned up with it.
        gains: factors (B,) by signal that followed from the peaks of the signals, so that no draw
            tells them; None where there were none.
        measured: what effects measured while they were applied, by quantity, (B,) each: infinite
            where it has no number, NaN where there is nothing to tell of a clip. The simulator puts
            the name of the effect's step in front: "ambient_noise.snr_db".
    """

    air: Tensor
    bone: Tensor
    lengths: Tensor
    sample_rate: int
    ambient: Tensor | None = None
    noisy_air: Tensor | None = None
    start: int = 0
    inside: slice | None = None
    level: Tensor | None = None
    offset: Tensor | None = None
    leak_gain: Tensor | None = None
    gains: Mapping[str, Tensor] | None = None
    measured: Mapping[str, Tensor] = dataclass_field(default_factory=dict)

    @classmethod
    def from_air(cls, air: Tensor, sample_rate: int, lengths: Tensor | None = None) -> "Scene":
        """Return the scene before any effect, in which the sensor's signal is air, (B, T).

        `lengths` are None where every clip fills its row.
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
    def signals(self) -> dict[str, Tensor]:
        """The signals that there are, (B, T) each, by the names of their fields."""
        named = ((name, getattr(self, name)) for name in ("air", "bone", "ambient", "noisy_air"))
        return {name: signal for name, signal in named if signal is not None}

    @property
    def microphone(self) -> Tensor:
        """What the air microphone picks up, (B, T)."""
        return self.air if self.noisy_air is None else self.noisy_air

    def speech_level(self) -> Tensor:
        """Return the RMS of active speech at the air microphone, (B,), float64."""
        if self.level is not None:
            return self.level.double()
        return speech_rms(self.air, self.sample_rate, self.lengths).double()

    def without_context(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Return the part of a signal (B, T) that is wanted, (B, T'), and its lengths, (B,)."""
        if self.inside is None:
            return signal, self.lengths
        part = signal[:, self.inside]
        return part, (self.lengths - self.inside.start).clamp(0, part.shape[-1])

    def about_mean(self, air: Tensor) -> Tensor:
        """Return air (B, T) less the mean of the whole clip: a converter's offset is no sound."""
        offset = self.offset
        if offset is None:
            offset = air.sum(dim=-1) / self.lengths.clamp(min=1)
        return self._within(air - offset.to(air)[:, None])

    def with_bone(self, bone: Tensor) -> "Scene":
        """Return the scene with another sensor signal, silenced past each clip's end."""
        return replace(self, bone=self._within(bone))

    def with_measured(self, **quantities: Tensor) -> "Scene":
        """Return the scene with more of what an effect measured, by quantity, (B,) each."""
        return replace(self, measured={**self.measured, **quantities})

    def with_ambient(self, ambient: Tensor, speech: Tensor | None = None) -> "Scene":
        """Return the scene with more noise at the air microphone.

        Args:
            ambient: (B, T), noise that is added to the noise already there.
            speech: (B, T), the talker's speech at the air microphone, such as by way of a room;
                None leaves that as it is.
        """
        ambient = self._within(ambient)
        before = 0 if self.ambient is None else self.ambient
        speech_at_microphone = self.microphone if speech is None else self._within(speech) + before
        return replace(self, ambient=before + ambient, noisy_air=speech_at_microphone + ambient)

    def with_gains(self, gains: Mapping[str, Tensor]) -> "Scene":
        """Return the scene with factors (B,) noted, by signal, that its signals were scaled by."""
        before = self.gains or {}
        return replace(self, gains={n: gain * before.get(n, 1) for n, gain in gains.items()})

    def each(self, change: Callable[[Tensor], Tensor], lengths: Tensor | None = None) -> "Scene":
        """Return the scene with the same function applied to every signal.

        Args:
            change: function from (B, T) to (B, T').
            lengths: (B,), lengths of the clips afterwards, where they change.
        """
        changed = {name: change(signal) for name, signal in self.signals.items()}
        # One signal stays one: an effect may ask whether bone is still air.
        if self.bone is self.air:
            changed["bone"] = changed["air"]
        return replace(self, **changed, lengths=self.lengths if lengths is None else lengths)

    def _within(self, signal: Tensor) -> Tensor:
        return signal * self.mask() if self.is_ragged else signal


@dataclass(frozen=True)
class Effect(ABC):
    """One step of a simulator, which changes a scene.

    Subclasses are frozen dataclasses, registered under a name in `bcsim.effects.EFFECTS`. A field
    annotated `SensorProfile` is filled in with the sensor that the simulator is built for, one
    annotated `Recordings` with the noise folder that a recipe names.
    """

    differentiable: ClassVar[bool] = True  # whether gradients reach the air signal through `apply`
    keeps_length: ClassVar[bool] = True  # whether clips come out as long as they went in
    # Whether it has to see a clip from end to end. If not, a long clip may be rendered in
    # segments: then what it does to a sample depends on the samples near by, on the draws, on
    # the sample's place in the clip (`scene.start`) and on `scene.level` alone.
    needs_whole_clip: ClassVar[bool] = False
    # The closed range that a field keeps to, in its own unit, settings and draws alike. What is
    # outside is refused before a run; what an unbounded distribution draws beyond it is moved to
    # its end, so that no draw can end a run.
    limits: ClassVar[Limits] = {}

    def __post_init__(self) -> None:
        """Take numbers as constants, and check every field; subclasses may check more.

        The bounds of a distribution have to lie within `limits`; without bounds, its centre.

        Raises:
            ValueError: naming field, value and range, for a number that is not finite or outside
                `limits`, a vector where one number is wanted, or a seed that is given.
        """
        for field in fields(self):
            name, value = field.name, getattr(self, field.name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if is_number and Distribution in typing.get_args(field.type):
                value = Constant(float(value))
                self._set(name, value)
            if isinstance(value, Seed) != isinstance(field.default, Seed):
                raise ValueError(f"{name} is {value}; leave seeds to the program")
            if isinstance(value, Normal) and value.size is not None:
                vector = isinstance(field.default, Normal) and field.default.size is not None
                check_that(vector, f"{name} is a vector of {value.size}; it wants one number")
            for number in _numbers(value):
                # Not math.isfinite, which cannot take every whole number.
                check_that(abs(number) < math.inf, f"{name} is {number}; it wants a finite number")
            if name in self.limits:
                low, high = self.limits[name]
                for number in _bounds(value):
                    check_that(
                        low <= number <= high, f"{name} is {number}; it wants {low:g} to {high:g}"
                    )

    def sample(
        self, seed: int, clip_id: str, step: str, mean: bool = False, within_clip: bool = False
    ) -> Draw:
        """Draw the parameters for one clip, held within `limits`.

        Args:
            seed: root seed of the run.
            clip_id: name of the clip; with `seed` and `step` it decides every value.
            step: name of this step in the simulator.
            mean: whether the centre of each distribution is taken instead. Seeds of waveforms are
                drawn all the same: a mean sensor still has its noise floor.
            within_clip: with `mean`, whether within-clip variation is drawn none the less.
        """
        drawn: Draw = {}
        for field in fields(self):
            distribution = getattr(self, field.name)
            if isinstance(distribution, Distribution):
                varies = within_clip and isinstance(distribution, WithinClipVariation)
                value = distribution.centre() if mean and not varies else None
                if value is None:
                    value = distribution.draw(stream(seed, clip_id, step, field.name))
                drawn[field.name] = self._within_limits(field.name, value)
        return drawn

    def factors_at_peaks(self, peaks: Mapping[str, float]) -> dict[str, float] | None:
        """Return the factors of an effect that scales whole signals by their peaks, else None.

        Args:
            peaks: largest magnitude by signal of the clip, as a part of full scale.
        """
        return None

    @abstractmethod
    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        """Return the scene after the effect; `scene` itself stays as it is.

        Args:
            scene: B clips.
            drawn: for every drawn field a tensor (B,) or (B, K) on the scene's device, or a list
                of B names.
        """

    def _set(self, name: str, value: object) -> None:
        """Give a field of the frozen dataclass its final value while the effect is being made."""
        object.__setattr__(self, name, value)

    def _within_limits(self, name: str, value: Value) -> Value:
        if name not in self.limits or isinstance(value, str):
            return value
        low, high = self.limits[name]
        if isinstance(value, list):
            return [float(min(max(number, low), high)) for number in value]
        return float(min(max(value, low), high))


def stack_draws(draws: Sequence[Draw], device: torch.device | str = "cpu") -> dict[str, Any]:
    """Stack the draws of B clips into tensors, float64 or, for seeds, int64; names into a list.

    Example:
        >>> stack_draws([{"gain_db": 1.0}, {"gain_db": 2.0}])["gain_db"]
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


def _numbers(value: Any) -> list[float]:
    """Return the numbers that a field, or the distribution in it, is made of."""
    if isinstance(value, Distribution):
        value = tuple(getattr(value, field.name) for field in fields(value))
    if isinstance(value, tuple):
        return [number for part in value for number in _numbers(part)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


def _bounds(value: Any) -> list[float]:
    """Return the extremes of a field's values or, where there are none, their centre."""
    if not isinstance(value, Distribution):
        return _numbers(value)
    centre = value.extremes() or value.centre()
    return _numbers(tuple(centre) if isinstance(centre, list) else centre)
