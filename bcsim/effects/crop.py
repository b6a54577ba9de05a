"""Cut the same segment out of every channel."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Effect, Limits, Scene
from bcsim.effects.distributions import Parameter, Uniform


@EFFECTS.register("crop")
@dataclass(frozen=True)
class Crop(Effect):
    """Keep `duration_s` of every clip; shorter clips are filled with silence behind.

    Args:
        duration_s: length of the segment that is kept, in seconds.
        position: place of the segment: 0 at the clip's start, 1 at its end. EBEN's deterministic
            crop has 0.25.
    """

    keeps_length: ClassVar[bool] = False
    needs_whole_clip: ClassVar[bool] = True
    limits: ClassVar[Limits] = {"duration_s": (1e-3, 600.0), "position": (0.0, 1.0)}

    duration_s: float = 2.5
    position: Parameter = Uniform(0.0, 1.0)

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        kept = round(self.duration_s * scene.sample_rate)
        slack = (scene.lengths - kept).clamp(min=0)
        start = (slack * drawn["position"]).long()
        index = start[:, None] + torch.arange(kept, device=scene.air.device)
        inside = index < scene.lengths[:, None]
        index = index.clamp(max=scene.air.shape[-1] - 1)
        return scene.each(
            lambda signal: signal.gather(-1, index) * inside, torch.full_like(scene.lengths, kept)
        )
