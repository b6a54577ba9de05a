"""EBEN's low-pass: a biquad run forward and backward, with random cutoff and Q."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from bcsim.dsp.lowpass import biquad_power, lowpass_coefficients
from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Limits
from bcsim.effects.distributions import Parameter, Uniform
from bcsim.effects.spectral import LinearEffect


@EFFECTS.register("zero_phase_lowpass")
@dataclass(frozen=True)
class ZeroPhaseLowpass(LinearEffect):
    """Low-pass with the power response of a cookbook biquad and no phase: fourth order in all.

    The clip is continued by reflection on either side, filtered and cut back, so the transients
    of the two passes fall outside (EBEN's "delay compensation"). No sample is clamped. The
    default draws are EBEN's: 600 Hz and Q 1, each times U(0.8, 1.2) (arXiv 2210.14090).

    Args:
        cutoff_hz: cutoff of the biquad in Hz, held below 0.49 of the sample rate; one pass has
            gain Q there, two have Q squared.
        q: quality factor Q of the biquad.
        padding: number of samples of reflection on either side.
    """

    reflects_edges: ClassVar[bool] = True
    limits: ClassVar[Limits] = {
        "cutoff_hz": (20.0, 192e3),
        "q": (0.05, 50.0),
        "padding": (0, 10**6),
    }

    cutoff_hz: Parameter = Uniform(480.0, 720.0)
    q: Parameter = Uniform(0.8, 1.2)
    padding: int = 10_000

    def half_length(self, sample_rate: int) -> int:
        return self.padding

    def response(self, frequencies_hz: Tensor, drawn: Drawn, sample_rate: int) -> Tensor:
        cutoff_hz = drawn["cutoff_hz"].clamp(max=0.49 * sample_rate)
        coefficients = lowpass_coefficients(cutoff_hz, drawn["q"], sample_rate)
        return biquad_power(coefficients, frequencies_hz, sample_rate)
