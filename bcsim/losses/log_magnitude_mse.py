"""The distance of log-power spectra."""

import math

import torch
from torch import Tensor

from bcsim.losses import LOSSES
from bcsim.losses.base import Objective
from bcsim.losses.frames import both_spectra, check_frames


@LOSSES.register("log_magnitude_mse")
class LogMagnitudeMSE(Objective):
    r"""Mean squared error of log-power spectra, in nepers of power.

    .. math::
        \mathrm{mean}\,\big(\ln(\lvert \hat{S} \rvert^2 + m)
        - \ln(\lvert S \rvert^2 + m)\big)^2

    What networks that map log-power spectra are trained with (Xu, Du, Dai and Lee, doi
    10.1109/TASLP.2014.2364452). Soft bins count as much as loud ones, phases not at all.

    Args:
        fft_size: size of the FFT in samples.
        hop_size: hop in samples.
        win_length: length of the Hann window in samples.
        min_power: power m that is added to each bin's: far below it, nothing is learnt.

    Raises:
        ValueError: if the sizes do not fit together, or m is not above 0.
    """

    window: Tensor

    def __init__(
        self,
        fft_size: int = 256,
        hop_size: int = 64,
        win_length: int = 256,
        min_power: float = 1e-6,
    ) -> None:
        super().__init__()
        check_frames(fft_size, hop_size, win_length)
        if not 0 < min_power < math.inf:
            raise ValueError(f"min_power is {min_power:g}; it wants a number above 0")
        self.fft_size, self.hop_size, self.min_power = fft_size, hop_size, min_power
        self.register_buffer("window", torch.hann_window(win_length), persistent=False)

    def terms(self, estimate: Tensor, target: Tensor) -> dict[str, Tensor]:
        framing = (self.fft_size, self.hop_size, self.window)
        ours, wanted = both_spectra(estimate, target, *framing)
        levels = [(parts.square().sum(-1) + self.min_power).log() for parts in (ours, wanted)]
        return {"log_magnitude_mse": (levels[0] - levels[1]).square().mean()}
