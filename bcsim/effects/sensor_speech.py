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
        # float64: rounded to 16 bits, processors and thread counts then agree.
        air = bank.analyse(scene.air.double())
        num_frames = bank.num_frames(scene.lengths)
        gains_db = speech.gains_db(bank.levels_db(air), num_frames)
        scale = drawn["residual"].double()[:, None, None]
        gains_db = speech.with_residual(gains_db, drawn["seed"].tolist(), scale)
        bone = air if scene.bone is scene.air else bank.analyse(scene.bone.double())
        filtered = bank.synthesise(bone, gains_db, scene.bone.shape[-1], self.minimum_phase)
        return scene.with_bone(filtered.to(scene.bone.dtype))
