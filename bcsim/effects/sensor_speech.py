"""What the sensor does to this speech sound, beyond its fixed response."""

from dataclasses import dataclass

from bcsim.effects import EFFECTS
from bcsim.effects.base import Distribution, Drawn, Effect, Fluctuation, Scene, Seed
from bcsim.sensors.profile import SensorProfile


@EFFECTS.register("sensor_speech")
@dataclass(frozen=True)
class SensorSpeech(Effect):
    """Apply the band gains that the sensor's speech-dependent part predicts from air.

    They come before the fixed response, through a filter bank of perfect reconstruction. A sensor
    without speech-dependent part leaves the scene as it is.

    Args:
        sensor: whose speech-dependent part; given by the simulator.
        residual: what the prediction leaves open is drawn with this part of its measured
            deviation; the mean rendering has none.
        seed: of its course.
        minimum_phase: give the gains minimum instead of zero phase.
    """

    sensor: SensorProfile
    residual: Distribution = Fluctuation(1.0)
    seed: Distribution = Seed()
    minimum_phase: bool = False

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        speech = self.sensor.speech
        if speech is None:
            return scene
        bank = speech.bank
        gains_db = speech.gains_db(bank.levels_db(scene.air), bank.num_frames(scene.lengths))
        scale = drawn["residual"].to(gains_db)[:, None, None]
        gains_db = speech.with_residual(gains_db, drawn["seed"], scale, scene.start // bank.hop)
        return scene.with_bone(bank.filter(scene.bone, gains_db, self.minimum_phase))
