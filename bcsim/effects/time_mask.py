"""Moments of silence in every channel of a pair."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from bcsim.dsp.noise import white_noise
from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Effect, Limits, Scene
from bcsim.effects.distributions import Distribution, Seed

EDGE_S = 0.005


@EFFECTS.register("time_mask")
@dataclass(frozen=True)
class TimeMask(Effect):
    r"""Silence a few segments of the clip, at the same places in every channel.

    A segment lasts from 0 to `longest_s`, all equally likely, and so are its places; it begins and
    ends with half a cosine of 5 ms, :math:`\cos^2` of a rising angle. (Time masking of SpecAugment,
    arXiv 1904.08779, on waveforms.)

    Args:
        stretches: number of segments in a clip; they may overlap.
        longest_s: longest segment in seconds; at most the whole clip.
        seed: seed of the places and durations.
    """

    needs_whole_clip: ClassVar[bool] = True
    limits: ClassVar[Limits] = {"stretches": (0, 1000), "longest_s": (0.0, 3600.0)}

    stretches: int = 2
    longest_s: float = 0.2
    seed: Distribution = Seed()

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        time = torch.arange(scene.air.shape[-1], device=scene.air.device)
        uniform = torch.special.ndtr(white_noise(drawn["seed"], 2 * self.stretches))
        gain = torch.ones_like(scene.air, dtype=uniform.dtype)
        for number in range(self.stretches):
            part, place = uniform[:, 2 * number, None], uniform[:, 2 * number + 1, None]
            duration = part * self.longest_s * scene.sample_rate
            duration = torch.minimum(duration, scene.lengths[:, None])
            start = place * (scene.lengths[:, None] - duration)
            inside = torch.minimum(time - start, start + duration - time)
            angle = (inside / (EDGE_S * scene.sample_rate)).clamp(0, 1) * (math.pi / 2)
            gain = gain * (1 - angle.sin().square())
        gain = gain.to(scene.air.dtype)
        return scene.each(lambda signal: signal * gain)
