"""A sensor that is wired the other way round."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Limits
from bcsim.effects.distributions import Choice, Parameter
from bcsim.effects.spectral import LinearEffect


@EFFECTS.register("polarity")
@dataclass(frozen=True)
class Polarity(LinearEffect):
    """Turn the sensor's signal upside down in some of the clips.

    Args:
        sign: polarity +1 or -1, by default one as often as the other, and +1 in the mean
            rendering. Between them the sign counts, and 0 is +1.
    """

    limits: ClassVar[Limits] = {"sign": (-1.0, 1.0)}

    sign: Parameter = Choice((1.0, -1.0))

    def half_length(self, sample_rate: int) -> int:
        return 0

    def response(self, frequencies_hz: Tensor, drawn: Drawn, sample_rate: int) -> Tensor:
        sign = torch.where(drawn["sign"] < 0, -1.0, 1.0).double()
        return sign[:, None].expand(-1, len(frequencies_hz))
