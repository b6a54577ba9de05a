"""The simulator: an ordered list of effects that turns air-conducted speech into a pair."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import cast

from torch import Tensor

from bcsim.dsp.signals import Signal, as_batch
from bcsim.effects import EFFECTS
from bcsim.effects.base import Draw, Drawn, Effect, Scene, stack_draws
from bcsim.effects.spectral import SpectralEffect, Step, render_spectral
from bcsim.errors import InputError


@dataclass(frozen=True)
class Simulator:
    """A chain of effects that turns air into a scene.

    Drawing and applying are apart: `sample` gives the plain numbers of one clip, which the
    manifest keeps; `apply` renders scenes from such numbers and nothing else.

    Args:
        effects: effects in the order in which they are applied.
        sample_rate: sample rate of all signals in Hz.

    Example:
        >>> import torch
        >>> from bcsim.effects.gain import Gain
        >>> louder = Simulator((Gain(6.0),), sample_rate=16_000)
        >>> scene = louder(torch.ones(4), 16_000)
        >>> scene.air.shape, round(scene.bone.max().item(), 2)
        (torch.Size([1, 4]), 2.0)
    """

    effects: tuple[Effect, ...]
    sample_rate: int

    def __call__(
        self,
        air: Signal,
        sample_rate: int,
        *,
        seed: int = 0,
        clip_ids: Sequence[str] | None = None,
        mean: bool = False,
    ) -> Scene:
        """Simulate the sensor on air-conducted speech.

        The same seed and clip name give the same wearer, level and noise again; another seed gives
        another draw. Signals of another sample rate are refused, not resampled, so that gradients
        reach `air` unchanged.

        Args:
            air: (T,) or (B, T), NumPy array or tensor, float32 or float64; full scale is 1.
            sample_rate: sample rate of `air` in Hz, which has to be the simulator's.
            seed: root seed of the draws.
            clip_ids: B names, one a row of `air`; by default the numbers of the rows.
            mean: whether to render the mean sensor, in which only the noise floor is random.

        Returns:
            Scene of tensors (B, T), in the precision and on the device of `air`; B is 1 for (T,).

        Raises:
            InputError: if `air` is no such array, empty, or not finite, or has another sample rate.
        """
        if sample_rate != self.sample_rate:
            raise InputError(
                f"air is {sample_rate} Hz, the simulator renders at {self.sample_rate} Hz; "
                "resample air first"
            )
        batch = as_batch(air, "air")
        if isinstance(clip_ids, str):  # whose letters would be taken for names
            raise InputError(
                f"clip_ids is the text {clip_ids!r}; give a list of {len(batch)} names"
            )
        names = [str(row) for row in range(len(batch))] if clip_ids is None else clip_ids
        return self.render(batch, names, seed, mean=mean)

    @property
    def step_names(self) -> list[str]:
        """The effects' names, the second of a kind as `name#2`.

        Names, not positions, decide what is drawn: an effect that is added, removed or moved
        leaves the others' draws as they were.
        """
        names: list[str] = []
        seen: dict[str, int] = {}
        for effect in self.effects:
            name = EFFECTS.name_of(type(effect))
            seen[name] = seen.get(name, 0) + 1
            names.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
        return names

    def sample(
        self, seed: int, clip_id: str, mean: bool = False, within_clip: bool = False
    ) -> dict[str, Draw]:
        """Draw everything that is random about one clip.

        Args:
            seed: root seed of the run.
            clip_id: name of the clip.
            mean: whether to draw the mean sensor instead (see `Effect.sample`).
            within_clip: with `mean`, whether to draw the within-clip variation.

        Returns:
            For every step that draws something, field names to plain numbers.
        """
        draws = {
            name: effect.sample(seed, clip_id, name, mean, within_clip)
            for name, effect in zip(self.step_names, self.effects, strict=True)
        }
        return {name: draw for name, draw in draws.items() if draw}

    def apply(self, scene: Scene, draws: Sequence[Mapping[str, Draw]]) -> Scene:
        """Render a batch.

        Args:
            scene: B clips at the simulator's rate.
            draws: draws of each clip, as `sample` returns them.

        Raises:
            ValueError: if the scene has another sample rate or another number of clips.
        """
        if scene.sample_rate != self.sample_rate:
            raise ValueError(f"scene is {scene.sample_rate} Hz, simulator {self.sample_rate} Hz")
        if len(draws) != len(scene.air):
            raise ValueError(f"{len(scene.air)} clips, but draws for {len(draws)}")
        steps = [
            (effect, stack_draws([draw.get(name, {}) for draw in draws], scene.air.device), name)
            for name, effect in zip(self.step_names, self.effects, strict=True)
        ]
        measured: dict[str, Tensor] = {}
        if scene.bone is scene.air and any(hasattr(effect, "sensor") for effect in self.effects):
            scene = replace(scene, bone=scene.about_mean(scene.air))  # an offset is no sound
        for edges, run in groupby(steps, key=_edges):
            if edges is not None:  # neighbours that go on alike past the ends share a transform
                scene = render_spectral(scene, [cast(Step, step[:2]) for step in run])
                continue
            for effect, drawn, name in run:
                scene = effect.apply(replace(scene, measured={}), drawn)
                measured |= {f"{name}.{key}": value for key, value in scene.measured.items()}
        return replace(scene, measured=measured)

    def render(
        self,
        air: Tensor,
        clip_ids: Sequence[str],
        seed: int,
        mean: bool = False,
        within_clip: bool = False,
    ) -> Scene:
        """Draw for B clips and render them from air (B, T); for the arguments see `sample`."""
        draws = [self.sample(seed, clip_id, mean, within_clip) for clip_id in clip_ids]
        return self.apply(Scene.from_air(air, self.sample_rate), draws)


def _edges(step: tuple[Effect, Drawn, str]) -> bool | None:
    """Return whether a spectral effect reflects the clip at its ends, or None for other effects."""
    effect, _, _ = step
    return effect.reflects_edges if isinstance(effect, SpectralEffect) else None
