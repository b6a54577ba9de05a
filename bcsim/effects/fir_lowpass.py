"""A low-pass that is a windowed sinc."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from bcsim.dsp.lowpass import taps_response, windowed_sinc
from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Limits
from bcsim.effects.distributions import Parameter, Uniform
from bcsim.effects.spectral import LinearEffect


@EFFECTS.register("fir_lowpass")
@dataclass(frozen=True)
class FirLowpass(LinearEffect):
    """Low-pass with a windowed sinc (Blackman), its delay taken out.

    Passes what is below the cutoff by 3 sample rates over the taps, stops by 74 dB what is as far
    above it, with no phase: the steepest of the low-passes.

    Args:
        cutoff_hz: frequency with a gain of -6 dB, in Hz; at most half the sample rate.
        num_taps: odd number of taps; 255 at 16 kHz go from pass to stop in 380 Hz, more are
            steeper.
    """

    limits: ClassVar[Limits] = {"cutoff_hz": (1.0, 192e3), "num_taps": (3, 100_001)}

    cutoff_hz: Parameter = Uniform(480.0, 720.0)
    num_taps: int = 255

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_taps % 2 == 0:
            raise ValueError(f"num_taps is {self.num_taps}; it wants an odd number")

    def half_length(self, sample_rate: int) -> int:
        return self.num_taps // 2 + 1

    def response(self, frequencies_hz: Tensor, drawn: Drawn, sample_rate: int) -> Tensor:
        cutoff_hz = drawn["cutoff_hz"].clamp(min=0, max=sample_rate / 2)
        taps = windowed_sinc(cutoff_hz, self.num_taps, sample_rate)
        return taps_response(taps, len(frequencies_hz))
