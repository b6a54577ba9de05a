"""Clip rare peaks and scale to full scale, each channel by itself."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Effect, Scene


@EFFECTS.register("peak_normalize")
@dataclass(frozen=True)
class PeakNormalize(Effect):
    """Clip each channel at a quantile of its magnitude, then scale its peak to 1.

    The level relation between air and bone is lost, as in EBEN's TemporalTransforms.

    Args:
        quantile: q; of the N magnitudes in ascending order, the one at position int(N q),
            counted from 0, becomes full scale.
    """

    needs_whole_clip: ClassVar[bool] = True

    quantile: float = 0.99999

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        return scene.each(lambda signal: _normalize(signal, scene.lengths, self.quantile))


def _normalize(signal: Tensor, lengths: Tensor, quantile: float) -> Tensor:
    # So many samples, of the longest clip, are as loud as the limit or louder.
    most = signal.shape[-1] - int(signal.shape[-1] * quantile) + 1
    loudest = signal.abs().topk(min(most, signal.shape[-1])).values
    position = torch.minimum((lengths.double() * quantile).long(), lengths - 1)
    limit = loudest.gather(-1, (lengths - 1 - position)[:, None].clamp(min=0))
    # The largest magnitude is now the limit itself. Silence stays silent.
    scaled = signal / torch.where(limit > 0, limit, 1)
    return scaled.clamp(-1, 1)
