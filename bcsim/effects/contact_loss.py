"""Moments in which the sensor loses touch with the skin."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bcsim.dsp.events import poisson_events
from bcsim.dsp.levels import db_to_amplitude
from bcsim.dsp.lowpass import filter_without_delay, windowed_sinc
from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Effect, Limits, Scene
from bcsim.effects.distributions import Distribution, LogUniform, Parameter, Seed, Uniform

HALF_TAPS_S = 0.016  # of the high cut, on either side
LONGEST_S = 10.0


@EFFECTS.register("contact_loss")
@dataclass(frozen=True)
class ContactLoss(Effect):
    r"""Let the sensor come off the skin for a while: speech gets fainter and duller.

    .. math:: y = (1 - g)\,x + g\,10^{-a/20}\,\mathrm{lowpass}(x)

    where g rises from 0 to 1 and falls again as a raised cosine. It belongs before the effects
    that add noise: the noise of the sensor stays. A model, not a measurement; with the defaults
    about 30 % of clips of 7 s have such a moment, as public recordings of earbuds do.

    Args:
        rate_per_min: losses a minute, at random moments (a Poisson process).
        duration_s: mean length of a loss in the clip, in seconds, up to 10; each is 0.5 to 1.5
            times that.
        attenuation_db: attenuation a of the sensor's signal during a loss, in dB.
        cutoff_hz: cutoff of the low-pass during a loss, in Hz.
        seed: seed of the random moments.
        fade_s: length of either edge of a loss, in seconds.
    """

    limits: ClassVar[Limits] = {
        "rate_per_min": (0.0, 600.0),
        "duration_s": (0.0, LONGEST_S),
        "attenuation_db": (-200.0, 200.0),
        "cutoff_hz": (1.0, 192e3),
        "fade_s": (0.0, LONGEST_S),
    }

    rate_per_min: Parameter = Uniform(0.0, 6.0)
    duration_s: Parameter = LogUniform(0.2, 1.5)
    attenuation_db: Parameter = Uniform(10.0, 40.0)
    cutoff_hz: Parameter = LogUniform(200.0, 1000.0)
    seed: Distribution = Seed()
    fade_s: float = 0.03

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        lost = self._lost(scene, drawn).to(scene.bone.dtype)
        num_taps = 2 * round(HALF_TAPS_S * scene.sample_rate) + 1
        cutoff_hz = drawn["cutoff_hz"].clamp(min=0, max=scene.sample_rate / 2)
        taps = windowed_sinc(cutoff_hz, num_taps, scene.sample_rate)
        muffled = filter_without_delay(
            scene.bone, taps * db_to_amplitude(-drawn["attenuation_db"])[:, None]
        )
        return scene.with_bone(scene.bone + lost * (muffled - scene.bone))

    def _lost(self, scene: Scene, drawn: Drawn) -> Tensor:
        """Return g, (B, T)."""
        rate = scene.sample_rate
        duration_s = drawn["duration_s"].double().clamp(0, LONGEST_S)
        end_s = (scene.start + scene.bone.shape[-1]) / rate
        events = poisson_events(
            drawn["seed"], drawn["rate_per_min"] / 60, scene.start / rate - 1.5 * duration_s, end_s
        )
        lasts_s = duration_s[events.clip][:, None] * (0.5 + events.uniform(1))
        time_s = events.times_s(math.ceil(1.5 * float(duration_s.max()) * rate), rate)
        lost = self._ramp(time_s) * self._ramp(lasts_s - time_s)
        # Losses that overlap are one.
        return events.place(lost, scene.bone, scene.start, rate).clamp(max=1)

    def _ramp(self, time_s: Tensor) -> Tensor:
        part = (time_s / max(self.fade_s, 1e-9)).clamp(0, 1)
        return torch.sin(part * (math.pi / 2)).square()
