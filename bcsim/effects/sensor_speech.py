"""What the sensor does to this speech sound, beyond its fixed response."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Effect, Limits, Scene
from bcsim.effects.distributions import Distribution, Parameter, Seed, WithinClipVariation
from bcsim.sensors.profile import SensorProfile
from bcsim.sensors.responses.base import relative_levels


@EFFECTS.register("sensor_speech")
@dataclass(frozen=True)
class SensorSpeech(Effect):
    """Apply the band gains that the sensor's speech-dependent part predicts from air.

    They come before the fixed response, through a filter bank of perfect reconstruction. A sensor
    without speech-dependent part leaves the scene as it is.

    Args:
        sensor: sensor with its speech-dependent part; given by the simulator.
        residual: scale of the random residual of the prediction, as a part of its measured
            deviation, and below 1 of the calibration of the prediction; 0 in the mean rendering.
        seed: seed of the residual.
        minimum_phase: whether the gains have minimum instead of zero phase.
    """

    limits: ClassVar[Limits] = {"residual": (0.0, 20.0)}

    sensor: SensorProfile
    residual: Parameter = WithinClipVariation(1.0)
    seed: Distribution = Seed()
    minimum_phase: bool = False

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        speech = self.sensor.speech
        if speech is None:
            return scene
        bank = speech.bank
        num_frames = bank.num_frames(scene.lengths)
        levels_db = bank.levels_db(scene.about_mean(scene.air))
        excess_db = _excess_db(scene)
        gains_db = speech.gains_db(levels_db, num_frames, excess_db)
        scale = drawn["residual"].to(gains_db)[:, None, None]
        relative_db = relative_levels(bank, levels_db, num_frames, excess_db)
        first = scene.start // bank.hop
        gains_db = speech.with_residual(gains_db, relative_db, drawn["seed"], scale, first)
        return scene.with_bone(bank.filter(scene.bone, gains_db, self.minimum_phase))


def _excess_db(scene: Scene) -> Tensor | float:
    """Return by how much speech in the whole clip is louder than in this segment of it, (B,)."""
    if scene.level is None:
        return 0.0
    here = replace(scene, level=None).speech_level()
    audible = (here > 0) & (scene.level > 0)
    ratio = torch.where(audible, scene.level, 1) / torch.where(audible, here, 1)
    return (20 * ratio.log10()).to(scene.air.dtype)
