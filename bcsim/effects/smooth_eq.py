"""A random, smooth equaliser on the sensor's signal."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bcsim.dsp.fir import interpolate_response
from bcsim.dsp.levels import db_to_amplitude
from bcsim.dsp.mel import hz_to_mel
from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Limits
from bcsim.effects.distributions import Normal, Parameter
from bcsim.effects.spectral import LinearEffect

HALF_LENGTH_S = 0.016


@EFFECTS.register("smooth_eq")
@dataclass(frozen=True)
class SmoothEq(LinearEffect):
    r"""Filter with gains at points that are equally spaced in mels, and linear between them.

    .. math:: G(f) = g_k + (m(f) / \Delta - k)\,(g_{k+1} - g_k)\ \mathrm{dB}

    where :math:`m(f)` is the frequency in mels, :math:`\Delta` the distance of the points, and
    :math:`k` the number of the point below. The filter has no phase, and 16 ms to either side of
    its centre, which rounds what is narrower than some 60 Hz. On recorded pairs it stands for
    another place or pressure of the sensor.

    Args:
        gains_db: gains at the points from 0 Hz to half the sample rate, in dB; one number is the
            gain everywhere.
    """

    limits: ClassVar[Limits] = {"gains_db": (-60.0, 60.0)}

    gains_db: Parameter = Normal(0.0, 2.0, size=8)

    def half_length(self, sample_rate: int) -> int:
        return round(HALF_LENGTH_S * sample_rate)

    def response(self, frequencies_hz: Tensor, drawn: Drawn, sample_rate: int) -> Tensor:
        gains_db = drawn["gains_db"]
        gains_db = gains_db[:, None] if gains_db.ndim == 1 else gains_db
        num_bins = min(self.half_length(sample_rate) + 1, len(frequencies_hz))
        hz = torch.linspace(0, sample_rate / 2, num_bins, dtype=torch.float64)
        mels = hz_to_mel(hz.to(frequencies_hz.device))
        place = mels / mels[-1] * (gains_db.shape[1] - 1)
        below = place.floor().long().clamp(max=max(gains_db.shape[1] - 2, 0))
        above = (below + 1).clamp(max=gains_db.shape[1] - 1)
        between = (place - below) * (gains_db[:, above] - gains_db[:, below])
        response = db_to_amplitude(gains_db[:, below] + between)
        return interpolate_response(response.to(torch.complex128), len(frequencies_hz))
