"""The logarithm of the distance of complex spectra."""

import math

import torch
from torch import Tensor

from bcsim.losses import LOSSES
from bcsim.losses.base import Objective
from bcsim.losses.frames import both_spectra, check_frames, magnitude_of


@LOSSES.register("log_complex_stft")
class LogComplexSTFT(Objective):
    r"""Logarithm of the mean squared errors of real parts, imaginary parts and magnitudes.

    .. math::
        \ln\Big(1 + \frac{1}{m} \big(\mathrm{mean}\,(\Re \hat{S} - \Re S)^2
        + \mathrm{mean}\,(\Im \hat{S} - \Im S)^2
        + \mathrm{mean}\,(\lvert \hat{S} \rvert - \lvert S \rvert)^2\big)\Big)

    of each item; then the mean over items. It is the logarithm of the sum, less ln m, while the sum
    is large, and tends to 0 instead of minus infinity. Le et al., arXiv 2107.05429 (DPCRN), who add
    it to `snr`: loud and soft items then count alike.

    Args:
        fft_size: size of the FFT in samples.
        hop_size: hop in samples.
        win_length: length of the Hann window in samples.
        min_mse: sum m of the squared errors below which the loss hardly falls.

    Raises:
        ValueError: if the sizes do not fit together, or m is not above 0.
    """

    window: Tensor

    def __init__(
        self,
        fft_size: int = 400,
        hop_size: int = 200,
        win_length: int = 400,
        min_mse: float = 1e-4,
    ) -> None:
        super().__init__()
        check_frames(fft_size, hop_size, win_length)
        if not 0 < min_mse < math.inf:
            raise ValueError(f"min_mse is {min_mse:g}; it wants a number above 0")
        self.fft_size, self.hop_size, self.min_mse = fft_size, hop_size, min_mse
        self.register_buffer("window", torch.hann_window(win_length), persistent=False)

    def terms(self, estimate: Tensor, target: Tensor) -> dict[str, Tensor]:
        framing = (self.fft_size, self.hop_size, self.window)
        ours, wanted = both_spectra(estimate, target, *framing)
        magnitudes = magnitude_of(ours) - magnitude_of(wanted)
        squares = (ours - wanted).square().sum(-1) + magnitudes.square()
        return {"log_complex_stft": (squares.mean((-2, -1)) / self.min_mse).log1p().mean()}
