"""One gain for both sides of a pair."""

from dataclasses import dataclass, replace
from typing import ClassVar

from bcsim.dsp.levels import db_to_amplitude
from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Effect, Limits, Scene
from bcsim.effects.distributions import Parameter, Uniform


@EFFECTS.register("pair_gain")
@dataclass(frozen=True)
class PairGain(Effect):
    """Make the whole pair louder or softer; the level of one side relative to the other stays.

    Args:
        gain_db: gain of every channel, in dB.
    """

    limits: ClassVar[Limits] = {"gain_db": (-200.0, 200.0)}

    gain_db: Parameter = Uniform(-12.0, 6.0)

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        gain = db_to_amplitude(drawn["gain_db"])
        factor = gain[:, None].to(scene.air.dtype)
        whole = {
            name: None if value is None else value * gain.to(value.dtype)
            for name, value in (("level", scene.level), ("offset", scene.offset))
        }
        return replace(scene.each(lambda signal: signal * factor), **whole)
