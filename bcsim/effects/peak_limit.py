"""Keep a pair within full scale by turning the whole of it down."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Effect, Limits, Scene


@EFFECTS.register("peak_limit")
@dataclass(frozen=True)
class PeakLimit(Effect):
    """Scale every channel by one factor where one exceeds `peak`, so that nothing clips.

    The level of one relative to the other stays.

    Args:
        peak: largest magnitude allowed, as a part of full scale.
    """

    needs_whole_clip: ClassVar[bool] = True
    limits: ClassVar[Limits] = {"peak": (1e-6, 1e3)}

    peak: float = 1.0

    def factor_at_peak(self, peak: float) -> float:
        return self.peak / max(self.peak, peak)

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        largest = torch.maximum(_peak(scene.air), _peak(scene.bone))
        if scene.noisy_air is not None:
            largest = torch.maximum(largest, _peak(scene.noisy_air))
        if largest.device.type == "cpu" and bool((largest <= self.peak).all()):
            return scene  # what is not changed need not be encoded again
        factor = self.peak / largest.clamp(min=self.peak)
        return scene.each(lambda signal: signal * factor)


def _peak(signal: Tensor) -> Tensor:
    return torch.maximum(signal.amax(dim=-1, keepdim=True), -signal.amin(dim=-1, keepdim=True))
