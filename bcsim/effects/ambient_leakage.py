"""Ambient noise that reaches the sensor through the air, past its isolation."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bcsim.dsp.fir import interpolate_response
from bcsim.dsp.spectra import minimum_phase
from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Limits
from bcsim.effects.distributions import Constant, LogUniform, Parameter, Uniform
from bcsim.effects.spectral import AmbientFilter
from bcsim.sensors.profile import SensorProfile


@EFFECTS.register("ambient_leakage")
@dataclass(frozen=True)
class AmbientLeakage(AmbientFilter):
    r"""Let the ambient noise leak into the sensor, through the measured leakage or a model of it.

    Where the sensor's leakage was measured, with recordings of ambient noise alone, that is the
    response from the air microphone to the sensor, in dB. Else it is the sensor's mean level L less
    an isolation that rises with the frequency, a model and not a measurement:

    .. math:: \ell(f) = L - \Big(I_0 + (I_\infty - I_0)\frac{f^2}{f^2 + f_c^2}\Big)

    Relative to speech, the sensor then picks up the noise weaker by the isolation than the air
    microphone does. The phase is the least that goes with the magnitude. Without ambient noise in
    the scene nothing happens. Belongs before `sensor_level`, which changes all that the sensor
    picks up.

    Args:
        sensor: sensor with its leakage; given by the simulator.
        extra_db: gain of the leakage, measured or not, in dB: a worse fit leaks more.
        isolation_low_db: the model's isolation at low frequencies, in dB.
        isolation_high_db: the model's isolation at high frequencies, in dB.
        corner_hz: frequency at which the model has half of the rise between the two, in Hz.
    """

    limits: ClassVar[Limits] = {
        "extra_db": (-200.0, 200.0),
        "isolation_low_db": (-200.0, 200.0),
        "isolation_high_db": (-200.0, 200.0),
        "corner_hz": (1.0, 192e3),
    }

    sensor: SensorProfile
    extra_db: Parameter = Constant(0.0)
    isolation_low_db: Parameter = Uniform(5.0, 15.0)
    isolation_high_db: Parameter = Uniform(25.0, 40.0)
    corner_hz: Parameter = LogUniform(300.0, 1500.0)

    def half_length(self, sample_rate: int) -> int:
        return len(self.sensor.transfer_function.frequencies_hz) - 1

    def response(self, frequencies_hz: Tensor, drawn: Drawn, sample_rate: int) -> Tensor:
        log_magnitude = self.leakage_db(drawn) * (math.log(10) / 20)
        coarse = torch.polar(log_magnitude.exp(), minimum_phase(log_magnitude))
        return interpolate_response(coarse, len(frequencies_hz))

    def leakage_db(self, drawn: Drawn) -> Tensor:
        """Return the leakage of B clips on the grid of the sensor's response, (B, F), in dB."""
        extra_db = drawn["extra_db"][:, None]
        if self.sensor.leakage_db is not None:
            return torch.from_numpy(self.sensor.leakage_db).to(extra_db.device) + extra_db
        low_db, high_db, corner_hz = (
            drawn[name][:, None] for name in ("isolation_low_db", "isolation_high_db", "corner_hz")
        )
        grid_hz = torch.from_numpy(self.sensor.transfer_function.frequencies_hz)
        squared = grid_hz.to(extra_db.device).square()
        rise = squared / (squared + corner_hz.square())
        return self.sensor.level_db + extra_db - (low_db + (high_db - low_db) * rise)
