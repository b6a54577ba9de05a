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
        signals = {name: signal for name, signal in scene.signals.items() if name != "ambient"}
        limits = {name: self._limit(signal, scene.lengths) for name, signal in signals.items()}
        changed = {name: (signal / limits[name]).clamp(-1, 1) for name, signal in signals.items()}
        if scene.ambient is not None:
            changed["ambient"] = scene.ambient / limits.get("noisy_air", limits["air"])
        gains = {name: 1 / limit[:, 0] for name, limit in limits.items()}
        return replace(scene, **changed).with_gains(gains)

    def _limit(self, signal: Tensor, lengths: Tensor) -> Tensor:
        """Return the magnitude of B clips that becomes full scale, (B, 1); 1 in silence."""
        # So many samples, of the longest clip, are as loud as the limit or louder.
        most = signal.shape[-1] - int(signal.shape[-1] * self.quantile) + 1
        loudest = signal.abs().topk(min(most, signal.shape[-1])).values
        position = torch.minimum((lengths.double() * self.quantile).long(), lengths - 1)
        limit = loudest.gather(-1, (lengths - 1 - position)[:, None].clamp(min=0))
        return torch.where(limit > 0, limit, 1)
