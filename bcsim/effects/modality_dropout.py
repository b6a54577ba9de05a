"""Clips in which one of the two microphones is of no use, for networks that take both."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Effect, Limits, Scene
from bcsim.effects.distributions import Parameter, Uniform


@EFFECTS.register("modality_dropout")
@dataclass(frozen=True)
class ModalityDropout(Effect):
    """Silence the sensor in some clips, and leave the air microphone nothing but noise in others.

    A network that fuses the two then learns to do with either. It belongs after all effects but
    gains: what the sensor adds by itself is silenced as well. Without noise at the air microphone,
    silence is what is left of it. The clean speech stays the target.

    Args:
        chance: number that decides, uniform from 0 to 1: the sensor is silent below
            `bone_probability`, the microphone picks up noise alone above 1 - `air_probability`.
        bone_probability: part of the clips without the sensor.
        air_probability: part of the clips without speech at the air microphone.
    """

    limits: ClassVar[Limits] = {
        "chance": (0.0, 1.0),
        "bone_probability": (0.0, 0.5),
        "air_probability": (0.0, 0.5),
    }

    chance: Parameter = Uniform(0.0, 1.0)
    bone_probability: float = 0.2
    air_probability: float = 0.2

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        chance = drawn["chance"][:, None]
        without_bone = chance < self.bone_probability
        without_air = chance > 1 - self.air_probability
        noise = torch.zeros_like(scene.air) if scene.ambient is None else scene.ambient
        microphone = torch.where(without_air, noise, scene.microphone)
        bone = torch.where(without_bone, 0, scene.bone)
        return replace(scene.with_bone(bone), noisy_air=microphone)
