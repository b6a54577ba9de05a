"""A plain gain on the sensor's signal."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from bcsim.dsp.levels import db_to_amplitude
from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Limits
from bcsim.effects.distributions import Constant, Parameter
from bcsim.effects.spectral import LinearEffect


@EFFECTS.register("gain")
@dataclass(frozen=True)
class Gain(LinearEffect):
    """Multiply the sensor's signal by 10^(gain_db / 20).

    Args:
        gain_db: gain in dB.
    """

    limits: ClassVar[Limits] = {"gain_db": (-200.0, 200.0)}

    gain_db: Parameter = Constant(0.0)

    def half_length(self, sample_rate: int) -> int:
        return 0

    def response(self, frequencies_hz: Tensor, drawn: Drawn, sample_rate: int) -> Tensor:
        return db_to_amplitude(drawn["gain_db"])[:, None].expand(-1, len(frequencies_hz))
