"""The fitted air-to-bone response, with a new plausible wearer in every clip."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bcsim.dsp.fir import interpolate_response
from bcsim.dsp.levels import db_to_amplitude
from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Limits
from bcsim.effects.distributions import Normal, Parameter
from bcsim.effects.spectral import LinearEffect
from bcsim.sensors.profile import SensorProfile


@EFFECTS.register("sensor_response")
@dataclass(frozen=True)
class SensorResponse(LinearEffect):
    r"""Filter with the sensor's response, polarity included and delay left out.

    .. math:: H_z(f) = p\,H(f)\;10^{\sum_k z_k c_k(f)/20}

    where :math:`c_k` are the smooth components, in dB, of the spread between the recordings that
    the profile was fitted on.

    Args:
        sensor: sensor with its response; given by the simulator.
        wearer: coordinates z of the wearer, in standard deviations. Components beyond those that
            the profile has are ignored.
    """

    limits: ClassVar[Limits] = {"wearer": (-20.0, 20.0)}

    sensor: SensorProfile
    wearer: Parameter = Normal(0.0, 1.0, size=8)

    def half_length(self, sample_rate: int) -> int:
        return len(self.sensor.transfer_function.frequencies_hz) - 1

    def response(self, frequencies_hz: Tensor, drawn: Drawn, sample_rate: int) -> Tensor:
        device = frequencies_hz.device
        fitted = self.sensor.transfer_function.response * self.sensor.polarity
        components_db = torch.from_numpy(self.sensor.spread_components_db).to(device)
        wearer = drawn["wearer"]
        # One number a clip is the first coordinate; a vector has as many as it has.
        wearer = (wearer[:, None] if wearer.ndim == 1 else wearer)[:, : len(components_db)]
        deviation_db = wearer @ components_db[: wearer.shape[1]]
        response = torch.from_numpy(fitted).to(device) * db_to_amplitude(deviation_db)
        return interpolate_response(response, len(frequencies_hz))
