"""White noise relative to the sensor's signal, as in EBEN's TemporalTransforms."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from bcsim.dsp.noise import white_noise
from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Effect, Limits, Scene
from bcsim.effects.distributions import Constant, Distribution, Parameter, Seed


@EFFECTS.register("white_noise")
@dataclass(frozen=True)
class WhiteNoise(Effect):
    """Add white Gaussian noise with a standard deviation relative to the whole clip's.

    Args:
        relative_std: standard deviation of the noise over that of the sensor's signal. EBEN has
            0.005, 46 dB below the filtered speech.
        seed: seed of the waveform.
    """

    needs_whole_clip: ClassVar[bool] = True
    limits: ClassVar[Limits] = {"relative_std": (0.0, 1e3)}

    relative_std: Parameter = Constant(0.005)
    seed: Distribution = Seed()

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        count = scene.lengths[:, None]
        mean = scene.bone.sum(dim=-1, keepdim=True) / count
        # Beyond its end a clip is zero, and adds the square of the mean each time.
        behind = scene.bone.shape[-1] - count
        variance = (scene.bone - mean).square().sum(dim=-1, keepdim=True) - behind * mean.square()
        variance = variance / (count - 1).clamp(min=1)
        # At zero the square root has no gradient, and silence gets no noise.
        audible = variance > 0
        std = torch.where(audible, torch.where(audible, variance, 1).sqrt(), 0)
        scale = (std * drawn["relative_std"][:, None]).to(scene.bone.dtype)
        noise = white_noise(drawn["seed"], scene.bone.shape[-1], dtype=scene.bone.dtype)
        return scene.with_bone(scene.bone + noise * scale)
