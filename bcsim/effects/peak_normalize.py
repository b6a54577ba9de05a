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
        quantile: q; of the N magnitudes in ascending order, the one at position int(N q),
            counted from 0, becomes full scale.
    """

    needs_whole_clip: ClassVar[bool] = True
    limits: ClassVar[Limits] = {"quantile": (0.01, 1.0)}

    quantile: float = 0.99999

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        limited = scene.each(
            lambda signal: (signal / self._limit(signal, scene.lengths)).clamp(-1, 1)
        )
        if scene.ambient is None:
            return limited
        return replace(
            limited, ambient=scene.ambient / self._limit(scene.microphone, scene.lengths)
        )

    def _limit(self, signal: Tensor, lengths: Tensor) -> Tensor:
        """Return the magnitude of B clips that becomes full scale, (B, 1); 1 in silence."""
        limit = _quantile(signal, lengths, self.quantile)
        return torch.where(limit > 0, limit, 1)


def _quantile(signal: Tensor, lengths: Tensor, quantile: float) -> Tensor:
    # So many samples, of the longest clip, are as loud as the limit or louder.
    most = signal.shape[-1] - int(signal.shape[-1] * quantile) + 1
    loudest = signal.abs().topk(min(most, signal.shape[-1])).values
    position = torch.minimum((lengths.double() * quantile).long(), lengths - 1)
    return loudest.gather(-1, (lengths - 1 - position)[:, None].clamp(min=0))
