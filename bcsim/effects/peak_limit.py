"""Keep a pair within full scale by turning the whole of it down."""

from dataclasses import dataclass, replace

import torch

from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Effect, Scene


@EFFECTS.register("peak_limit")
@dataclass(frozen=True)
class PeakLimit(Effect):
    """Scale air and bone by one factor where either exceeds `peak`, so that nothing clips.

    The level of one relative to the other stays.

    Args:
        peak: the largest magnitude allowed, as a part of full scale.
    """

    peak: float = 1.0

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        largest = torch.maximum(scene.air.abs(), scene.bone.abs()).amax(dim=-1, keepdim=True)
        factor = self.peak / largest.clamp(min=self.peak)
        return replace(scene, air=scene.air * factor, bone=scene.bone * factor)
