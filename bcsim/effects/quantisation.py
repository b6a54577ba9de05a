"""The sensor's converter, whose steps are coarse for what speech makes of its range."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from bcsim.dsp.levels import db_to_amplitude
from bcsim.dsp.noise import white_noise
from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Effect, Limits, Scene
from bcsim.effects.distributions import Choice, Distribution, Parameter, Seed, Uniform
from bcsim.sensors.profile import SensorProfile


@EFFECTS.register("quantisation")
@dataclass(frozen=True)
class Quantisation(Effect):
    r"""Round the sensor's signal to the steps of its converter, and clip it at the full scale.

    .. math:: y = \Delta\,\mathrm{round}(x/\Delta + d),\quad \Delta = 2F/2^{b}

    One of the steps is at zero. Without dither the error of a busy signal has the variance
    :math:`\Delta^2/12`; triangular dither d makes it :math:`\Delta^2/4`, independent of the signal.
    Gradients pass as if nothing had been rounded.

    Args:
        sensor: sensor at whose mean level speech is expected; given by the simulator.
        bits: number of bits b of the converter. An accelerometer has 8 to 16; range that speech
            does not use comes off that (`headroom_db`).
        headroom_db: level of the converter's full scale F over the RMS of active speech at the
            sensor, in dB.
        dither: whether triangular noise of two steps' width is added before rounding.
        seed: seed of the dither.
    """

    limits: ClassVar[Limits] = {"bits": (1.0, 32.0), "headroom_db": (-200.0, 200.0)}

    sensor: SensorProfile
    bits: Parameter = Choice((12.0, 10.0, 8.0))
    headroom_db: Parameter = Uniform(20.0, 30.0)
    dither: bool = False
    seed: Distribution = Seed()

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        level = scene.speech_level().detach() * 10 ** (self.sensor.level_db / 20)
        full_scale = (level * db_to_amplitude(drawn["headroom_db"]))[:, None]
        step = 2 * full_scale / 2 ** drawn["bits"].round()[:, None]
        audible = step > 0
        step = torch.where(audible, step, 1)
        # float64: a rounding must not depend on the dtype's own.
        dithered = steps = scene.bone.double() / step
        if self.dither:
            num_samples = scene.bone.shape[-1]
            noise = white_noise(drawn["seed"], 2 * num_samples, 2 * scene.start)
            uniform = torch.special.ndtr(noise).unflatten(-1, (num_samples, 2))
            dithered = steps + uniform[..., 0] - uniform[..., 1]
        highest = full_scale / step
        within = steps.clamp(-highest, highest - 1)
        rounded = dithered.round().clamp(-highest, highest - 1)
        quantised = step * (within + (rounded - within).detach())
        return scene.with_bone(torch.where(audible, quantised.to(scene.bone.dtype), scene.bone))
