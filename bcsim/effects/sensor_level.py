"""How loud the sensor is: coupling and gain, which change from one recording to the next."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from bcsim.dsp.levels import db_to_amplitude
from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Limits
from bcsim.effects.distributions import Normal, Parameter
from bcsim.effects.spectral import LinearEffect
from bcsim.sensors.profile import SensorProfile


@EFFECTS.register("sensor_level")
@dataclass(frozen=True)
class SensorLevel(LinearEffect):
    """Change the sensor's level, speech and noise alike, as it changes between recordings.

    Args:
        sensor: sensor with its spread of levels; given by the simulator.
        deviation: deviation from the mean level, in standard deviations over the recordings.
        mean_db: mean level of the sensor's active speech relative to the air microphone's, in dB;
            null keeps the fitted one, which depends on two gain knobs: an enhancer that has learnt
            it is wrong by the difference wherever the knobs stand otherwise.
        highest_mean_db: highest mean level that is rendered; null for none. A sensor that was
            recorded far louder than its air microphone would exceed full scale with speech of the
            usual level.
    """

    limits: ClassVar[Limits] = {
        "deviation": (-20.0, 20.0),
        "mean_db": (-60.0, 60.0),
        "highest_mean_db": (-60.0, 60.0),
    }

    sensor: SensorProfile
    deviation: Parameter = Normal(0.0, 1.0)
    mean_db: float | None = None
    highest_mean_db: float | None = None

    @property
    def rendered_mean_db(self) -> float:
        """Mean level relative to the air microphone's that is rendered, in dB."""
        mean_db = self.sensor.level_db if self.mean_db is None else self.mean_db
        return mean_db if self.highest_mean_db is None else min(mean_db, self.highest_mean_db)

    def half_length(self, sample_rate: int) -> int:
        return 0

    def response(self, frequencies_hz: Tensor, drawn: Drawn, sample_rate: int) -> Tensor:
        gain_db = drawn["deviation"] * self.sensor.level_std_db
        gain_db = gain_db + (self.rendered_mean_db - self.sensor.level_db)
        return db_to_amplitude(gain_db)[:, None].expand(-1, len(frequencies_hz))
