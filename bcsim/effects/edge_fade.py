"""Fade every channel in and out."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Effect, Limits, Scene


@EFFECTS.register("edge_fade")
@dataclass(frozen=True)
class EdgeFade(Effect):
    """Multiply the first and last samples of every channel by a quadratic ramp.

    Args:
        num_samples: length of the ramp, from 0 at the clip's edge to 1. Clips shorter than two
            ramps get both. 0 changes nothing.
    """

    needs_whole_clip: ClassVar[bool] = True
    limits: ClassVar[Limits] = {"num_samples": (0, 10**6)}

    num_samples: int = 512

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        if self.num_samples == 0:
            return scene
        from_start = torch.arange(scene.air.shape[-1], device=scene.air.device)
        lengths = scene.lengths if scene.is_ragged else scene.lengths[:1]
        from_end = lengths[:, None] - 1 - from_start
        ramp = self._ramp(from_start) * self._ramp(from_end)
        ramp = ramp.to(scene.air.dtype)
        return scene.each(lambda signal: signal * ramp)

    def _ramp(self, distance: Tensor) -> Tensor:
        return (distance.double() / max(self.num_samples - 1, 1)).clamp(0, 1).square()
