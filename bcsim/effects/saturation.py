"""A sensor, or its amplifier, that is driven too hard."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from bcsim.dsp.levels import db_to_amplitude
from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Effect, Limits, Scene
from bcsim.effects.distributions import Parameter, Uniform
from bcsim.sensors.profile import SensorProfile


@EFFECTS.register("saturation")
@dataclass(frozen=True)
class Saturation(Effect):
    r"""Clip the sensor's signal, softly or hard; what is small keeps its gain of 1.

    With the limit L, which the output never exceeds,

    .. math::
        y_\mathrm{tanh} = L\tanh(x/L),\quad y_\mathrm{hard} = \min(\max(x, -L), L),\quad
        y_\mathrm{cubic} = x - \tfrac{4}{27} x^3/L^2 \text{ up to } |x| = 3L/2

    Harmonics beyond half the sample rate fold back, as they do where samples are clipped.

    Args:
        sensor: sensor at whose mean level speech is expected; given by the simulator. A clip in
            which the sensor is louder than usual (`sensor_level`) is clipped more.
        limit_db: level L in dB over the RMS of active speech at the sensor, or over full scale.
            Speech has its peaks 12 to 20 dB above its RMS.
        curve: curve of the clipping: "tanh" (soft everywhere), "cubic" (soft, then flat) or "hard".
        relative_to: reference of L: "speech", or "full_scale", where L is 0 dB or a few less.
    """

    limits: ClassVar[Limits] = {"limit_db": (-200.0, 200.0)}

    sensor: SensorProfile
    limit_db: Parameter = Uniform(3.0, 15.0)
    curve: Literal["tanh", "cubic", "hard"] = "tanh"
    relative_to: Literal["speech", "full_scale"] = "speech"

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        limit = db_to_amplitude(drawn["limit_db"])
        if self.relative_to == "speech":
            limit = limit * scene.speech_level().detach() * 10 ** (self.sensor.level_db / 20)
        limit = limit[:, None].to(scene.bone.dtype)
        audible = limit > 0  # silence has no level to be clipped at
        ratio = scene.bone / torch.where(audible, limit, 1)
        return scene.with_bone(torch.where(audible, limit * self._bend(ratio), scene.bone))

    def _bend(self, ratio: Tensor) -> Tensor:
        if self.curve == "tanh":
            return ratio.tanh()
        if self.curve == "hard":
            return ratio.clamp(-1, 1)
        ratio = ratio.clamp(-1.5, 1.5)
        return ratio - 4 / 27 * ratio**3
