"""The sensor's own sample rate."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from bcsim.dsp.interpolation import HALF_WIDTH, interpolate
from bcsim.dsp.lowpass import STEEPNESS, filter_without_delay, windowed_sinc
from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Effect, Limits, Scene
from bcsim.effects.distributions import Choice, Parameter

HALF_TAPS_S = 0.02  # of the low-pass on either side: from pass to stop in 150 Hz
LOWEST_HZ = 500.0


@EFFECTS.register("band_limit")
@dataclass(frozen=True)
class BandLimit(Effect):
    """Sample the sensor's signal at a lower rate, and bring it back without delay.

    With a good anti-alias filter that is a low-pass to half the sensor's rate. Without one, as in
    accelerometers that are read out as they are, what lies above folds down: a tone at f comes
    out at |f - k rate|.

    Args:
        rate_hz: sample rate of the sensor in Hz, in any ratio to the pair's rate, held within
            500 Hz and the pair's. Accelerometers have 1600 to 8000.
        aliasing: whether the sensor samples without anti-alias filter.
    """

    limits: ClassVar[Limits] = {"rate_hz": (LOWEST_HZ, 384e3)}

    rate_hz: Parameter = Choice((3200.0, 1600.0, 4000.0, 6400.0, 8000.0))
    aliasing: bool = False

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        rate_hz = drawn["rate_hz"].double().clamp(LOWEST_HZ, scene.sample_rate)
        if not self.aliasing:
            num_taps = 2 * round(HALF_TAPS_S * scene.sample_rate) + 1
            # The stop band starts at half the sensor's rate, the pass band as far below.
            cutoff_hz = rate_hz / 2 - STEEPNESS * scene.sample_rate / num_taps
            # At the pair's own rate nothing is left out.
            cutoff_hz = torch.where(rate_hz < scene.sample_rate, cutoff_hz, rate_hz / 2)
            taps = windowed_sinc(cutoff_hz, num_taps, scene.sample_rate)
            return scene.with_bone(filter_without_delay(scene.bone, taps))
        num_samples = scene.bone.shape[-1]
        ratio = (rate_hz / scene.sample_rate)[:, None]
        # The sensor's samples are counted from the clip's start, wherever this segment begins.
        first = (scene.start * ratio).floor() - HALF_WIDTH
        count = int((num_samples * ratio).max()) + 2 * HALF_WIDTH + 2
        device = scene.bone.device
        numbers = first + torch.arange(count, device=device)
        sampled = interpolate(scene.bone, numbers / ratio - scene.start)
        positions = scene.start + torch.arange(num_samples, device=device)
        return scene.with_bone(interpolate(sampled, positions * ratio - first))
