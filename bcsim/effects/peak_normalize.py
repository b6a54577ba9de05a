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
    limits = [
        torch.kthvalue(row[:length], min(int(length * quantile), length - 1) + 1).values
        for row, length in zip(signal.abs(), lengths.tolist(), strict=True)
    ]
    limit = torch.stack(limits)[:, None]
    clipped = torch.minimum(torch.maximum(signal, -limit), limit)
    # The largest magnitude is now the limit itself. Silence stays silent.
    return clipped / torch.where(limit > 0, limit, 1)
