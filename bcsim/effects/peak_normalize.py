"""Clip rare peaks and scale to full scale, each channel by itself."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Effect, Limits, Scene


@EFFECTS.register("peak_normalize")
@dataclass(frozen=True)
class PeakNormalize(Effect):
    """Clip each channel at a quantile of its magnitude, then scale its peak to 1.

    The level relation between air and bone is lost, as in EBEN's TemporalTransforms. Ambient noise
    is part of what the air microphone picks up, and is scaled with that.

    Args:
        quantile: quantile q of the magnitudes that becomes full scale: of N in ascending order,
            the one at position int(N q), counted from 0.
    """

    needs_whole_clip: ClassVar[bool] = True
    limits: ClassVar[Limits] = {"quantile": (0.01, 1.0)}

    quantile: float = 0.99999

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        lengths = scene.lengths
        limited = scene.each(lambda signal: (signal / self._limit(signal, lengths)).clamp(-1, 1))
        if scene.ambient is None:
            return limited
        return replace(limited, ambient=scene.ambient / self._limit(scene.microphone, lengths))

    def _limit(self, signal: Tensor, lengths: Tensor) -> Tensor:
        """Return the magnitude of B clips that becomes full scale, (B, 1); 1 in silence."""
        # So many samples, of the longest clip, are as loud as the limit or louder.
        most = signal.shape[-1] - int(signal.shape[-1] * self.quantile) + 1
        loudest = signal.abs().topk(min(most, signal.shape[-1])).values
        position = torch.minimum((lengths.double() * self.quantile).long(), lengths - 1)
        limit = loudest.gather(-1, (lengths - 1 - position)[:, None].clamp(min=0))
        return torch.where(limit > 0, limit, 1)
