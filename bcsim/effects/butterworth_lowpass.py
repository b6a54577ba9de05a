"""A Butterworth low-pass of any order, with or without its phase."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Limits
from bcsim.effects.distributions import Parameter, Uniform
from bcsim.effects.spectral import LinearEffect

LOWEST_HZ = 100.0
TAIL_NEPERS = 28.0  # -243 dB, less what double poles and their residues add


@EFFECTS.register("butterworth_lowpass")
@dataclass(frozen=True)
class ButterworthLowpass(LinearEffect):
    r"""Low-pass with the flattest possible pass band.

    By the bilinear transform, with :math:`\Omega = \tan(\pi f/f_s)/\tan(\pi f_c/f_s)` and the
    Butterworth polynomial :math:`B_N`,

    .. math:: H(f) = 1/B_N(j\Omega),\quad |H(f)|^2 = 1/(1 + \Omega^{2N})

    Run once it is causal and of minimum phase; forward and backward it has the gain
    :math:`|H|^2` and no phase, as `scipy.signal.filtfilt` gives.

    Args:
        cutoff_hz: cutoff in Hz, -3 dB in one pass, -6 dB in two; held within 100 Hz and 0.49 of
            the sample rate.
        order: order of one pass, 1 to 8, with 6 dB an octave each.
        zero_phase: whether the filter runs forward and backward.
    """

    limits: ClassVar[Limits] = {"cutoff_hz": (1.0, 192e3), "order": (1, 8)}

    cutoff_hz: Parameter = Uniform(480.0, 720.0)
    order: int = 4
    zero_phase: bool = True

    def half_length(self, sample_rate: int) -> int:
        # The pole that decays slowest lies at the angle pi/2N from the imaginary axis.
        decay = 2 * math.pi * LOWEST_HZ * math.sin(math.pi / (2 * self.order))
        return math.ceil(TAIL_NEPERS / decay * sample_rate)

    def response(self, frequencies_hz: Tensor, drawn: Drawn, sample_rate: int) -> Tensor:
        cutoff_hz = drawn["cutoff_hz"].clamp(LOWEST_HZ, 0.49 * sample_rate)[:, None]
        # Omega as a fraction, for at half the sample rate it is infinite.
        f, fc = math.pi * frequencies_hz / sample_rate, math.pi * cutoff_hz / sample_rate
        above, below = f.sin() * fc.cos(), f.cos() * fc.sin()
        if self.zero_phase:
            power = below ** (2 * self.order)
            return power / (power + above ** (2 * self.order))
        response = torch.ones_like(above, dtype=torch.complex128)
        if self.order % 2:
            response = below / torch.complex(below, above)
        for k in range(self.order // 2):
            damping = math.sin(math.pi * (2 * k + 1) / (2 * self.order))
            square = below.square()
            section = torch.complex(square - above.square(), 2 * damping * below * above)
            response = response * (square / section)
        return response
