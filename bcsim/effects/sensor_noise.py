"""The sensor's own noise floor, as fitted from the pauses of the recordings."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bcsim.dsp.fir import interpolate_response
from bcsim.dsp.levels import db_to_amplitude
from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Limits, Scene
from bcsim.effects.distributions import Distribution, Normal, Parameter, Seed
from bcsim.effects.spectral import StationaryNoise
from bcsim.sensors.profile import SensorProfile


@EFFECTS.register("sensor_noise")
@dataclass(frozen=True)
class SensorNoise(StationaryNoise):
    r"""Add stationary noise with the sensor's noise-floor PSD.

    The profile's PSD :math:`S(f)` is relative to the power of the sensor's active speech. That
    power is expected to be the clip's active air power, times the sensor's mean level, so speech
    and noise scale together and a quiet corpus keeps the signal-to-noise ratio of the recordings.
    White noise of unit variance has the one-sided PSD :math:`2/f_s`, hence the amplitude

    .. math:: A(f) = 10^{(L + n\sigma)/20}\, r_\mathrm{air} \sqrt{S(f)\, f_s/2}

    Args:
        sensor: sensor with its noise floor; given by the simulator.
        level: deviation n of the noise level from its mean, in standard deviations over the
            recordings.
        seed: seed of the waveform.
    """

    limits: ClassVar[Limits] = {"level": (-20.0, 20.0)}

    sensor: SensorProfile
    level: Parameter = Normal(0.0, 1.0)
    seed: Distribution = Seed()

    def half_length(self, sample_rate: int) -> int:
        return len(self.sensor.noise_psd) - 1

    def amplitude(self, frequencies_hz: Tensor, scene: Scene, drawn: Drawn) -> Tensor:
        level_db = self.sensor.level_db + drawn["level"] * self.sensor.noise_level_std_db
        psd = torch.from_numpy(self.sensor.noise_psd).to(scene.bone.device)
        shape = (psd * scene.sample_rate / 2).sqrt()[None].to(torch.complex128)
        # A real spectrum is a symmetric impulse response, so it stays real on the finer grid.
        shape = interpolate_response(shape, len(frequencies_hz)).real
        return (scene.speech_level() * db_to_amplitude(level_db))[:, None] * shape
