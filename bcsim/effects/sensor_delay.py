"""The sensor's own delay against the air microphone, off by default."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from bcsim.dsp.delay import delay_response
from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Limits
from bcsim.effects.distributions import Constant, Normal, Parameter
from bcsim.effects.spectral import LinearEffect
from bcsim.sensors.profile import SensorProfile

HALF_WIDTH = 64  # samples of windowed sinc on either side
KAISER_BETA = 8.0  # ripple below -80 dB up to 0.96 of half the sample rate
MAX_EXTRA_S = 0.05


@EFFECTS.register("sensor_delay")
@dataclass(frozen=True)
class SensorDelay(LinearEffect):
    """Delay the sensor by what the fit found; a negative delay means that bone leads air.

    Args:
        sensor: sensor with its delay; given by the simulator.
        deviation: deviation from that delay, in standard deviations over the recordings.
        extra_s: additional delay in seconds. Deviation and extra together stay within +-50 ms.
    """

    limits: ClassVar[Limits] = {
        "deviation": (-100.0, 100.0),
        "extra_s": (-MAX_EXTRA_S, MAX_EXTRA_S),
    }

    sensor: SensorProfile
    deviation: Parameter = Normal(0.0, 1.0)
    extra_s: Parameter = Constant(0.0)

    def half_length(self, sample_rate: int) -> int:
        longest_s = abs(self.sensor.delay_s) + MAX_EXTRA_S
        return math.ceil(longest_s * sample_rate) + HALF_WIDTH

    def response(self, frequencies_hz: Tensor, drawn: Drawn, sample_rate: int) -> Tensor:
        extra_s = drawn["extra_s"] + drawn["deviation"] * self.sensor.delay_std_s
        extra_s = extra_s.clamp(-MAX_EXTRA_S, MAX_EXTRA_S)
        delay = (self.sensor.delay_s + extra_s)[:, None] * sample_rate
        # A pure phase ramp would ring over the whole clip, so that its result would depend on the
        # transform's length; a windowed sinc ends.
        whole = delay.round()
        position = torch.arange(-HALF_WIDTH, HALF_WIDTH, device=delay.device)
        window = torch.kaiser_window(
            2 * HALF_WIDTH, True, KAISER_BETA, dtype=delay.dtype, device=delay.device
        )
        taps = torch.sinc(position - (delay - whole)) * window
        size = 2 * (len(frequencies_hz) - 1)
        sinc = torch.fft.rfft(pad(taps, (0, size - 2 * HALF_WIDTH)).roll(-HALF_WIDTH, -1))
        return sinc * delay_response(frequencies_hz, whole[:, 0] / sample_rate)
