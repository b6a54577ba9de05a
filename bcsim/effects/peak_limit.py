"""Keep the sensor's signal within full scale by turning the whole clip down."""

from dataclasses import dataclass

from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Effect, Scene


@EFFECTS.register("peak_limit")
@dataclass(frozen=True)
class PeakLimit(Effect):
    """Scale a clip of the sensor down to `peak` where it exceeds that, so that nothing clips.

    Args:
        peak: the largest magnitude allowed, as a part of full scale.
    """

    peak: float = 0.99

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        largest = scene.bone.abs().amax(dim=-1, keepdim=True)
        return scene.with_bone(scene.bone * (self.peak / largest.clamp(min=self.peak)))
