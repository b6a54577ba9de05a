"""Noise that was recorded with the sensor itself: chewing, steps, a cable that rubs."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from bcsim.dsp.levels import db_to_amplitude
from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Effect, Limits, Scene
from bcsim.effects.distributions import Parameter, Recordings, Uniform
from bcsim.effects.playback import excess_db, play, recorded_power
from bcsim.sensors.profile import SensorProfile


@EFFECTS.register("recorded_noise")
@dataclass(frozen=True)
class RecordedNoise(Effect):
    r"""Add a recording that was made with the sensor, while the wearer did not speak.

    As with `sensor_noise`, the power of the sensor's active speech is expected to be the clip's
    active air power, times the sensor's mean level; so a wearer with a weaker signal has more
    noise relative to it. The recording, of RMS :math:`r_n` as a whole, is multiplied by

    .. math:: 10^{(L - \mathrm{SNR})/20}\, r_\mathrm{air} / r_n

    Recordings that are shorter than the clip go round; silent ones are refused.

    Args:
        sensor: sensor at whose mean level speech is expected; given by the simulator.
        noise: folder of recordings made with the sensor; each clip draws one.
        position: place in the recording where the clip starts, 0 to 1.
        snr_db: expected power of the sensor's active speech over that of the whole recording, in
            dB.
        level: level of the noise: by "snr", or as "recorded" in the file, full scale at 1, for
            speech that was recorded at the same gains.
    """

    limits: ClassVar[Limits] = {"position": (0.0, 1.0), "snr_db": (-200.0, 200.0)}

    sensor: SensorProfile
    noise: Recordings
    position: Parameter = Uniform(0.0, 1.0)
    snr_db: Parameter = Uniform(5.0, 30.0)
    level: Literal["snr", "recorded"] = "snr"

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        noise = play(self.noise, drawn["noise"], drawn["position"], scene)
        if self.level == "snr":
            power = recorded_power(self.noise, drawn["noise"], scene)
            relative = db_to_amplitude(self.sensor.level_db - drawn["snr_db"])
            gain = scene.speech_level() * relative / power.sqrt()
            # The part that is played may be fainter than the whole of the recording.
            part, lengths = scene.without_context(noise * scene.mask())
            snr_db = drawn["snr_db"] + excess_db(power, part, lengths)
            noise = noise * gain[:, None].to(noise.dtype)
            scene = scene.with_measured(snr_db=snr_db)
        return scene.with_bone(scene.bone + noise)
