"""A sensor whose recorder has a clock of its own."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from bcsim.dsp.interpolation import interpolate
from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Effect, Limits, Scene
from bcsim.effects.distributions import Normal, Parameter


@EFFECTS.register("clock_drift")
@dataclass(frozen=True)
class ClockDrift(Effect):
    r"""Let the sensor's clock run faster or slower than the air microphone's.

    .. math:: y(t) = x(t/(1 + d)),\quad d = 10^{-6}\,\mathrm{drift\_ppm}

    Both start together; after t seconds the sensor's signal is d t late. The clip keeps its
    length: what comes too late is lost, and where the clock is slow silence follows.

    Args:
        drift_ppm: surplus samples of the sensor's recorder in a million. -188 was measured
            between two recorders; crystals are good to 20 to 100.
    """

    needs_whole_clip: ClassVar[bool] = True
    limits: ClassVar[Limits] = {"drift_ppm": (-1e5, 1e5)}

    drift_ppm: Parameter = Normal(0.0, 100.0)

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        numbers = torch.arange(scene.bone.shape[-1], device=scene.bone.device).double()
        positions = numbers / (1 + 1e-6 * drawn["drift_ppm"].double()[:, None])
        return scene.with_bone(interpolate(scene.bone, positions))
