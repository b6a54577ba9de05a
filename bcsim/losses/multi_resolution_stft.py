"""The distance of magnitude spectra at several resolutions."""

from collections.abc import Sequence

import numpy as np
import scipy  # its parts are loaded when they are asked for
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import conv1d, l1_loss

from bcsim.losses import LOSSES
from bcsim.losses.base import Objective, sum_over_processes
from bcsim.losses.frames import check_frames, check_length, spectrum_parts

A_WEIGHTING_TAPS = 101
POWER_FLOOR = 1e-8


@LOSSES.register("multi_resolution_stft")
class MultiResolutionSTFT(Objective):
    r"""Spectral convergence plus log-magnitude distance, averaged over resolutions.

    .. math::
        \frac{1}{R} \sum_{r=1}^{R} \frac{\lVert S_r - \hat{S}_r \rVert_F}{\lVert S_r \rVert_F}
        + \frac{1}{K_r} \lVert \ln S_r - \ln \hat{S}_r \rVert_1

    with the magnitudes S of the whole batch, that of all processes where several train; their
    squares count as 1e-8 at least. Yamamoto, Song and Kim, arXiv 1910.11480.

    Args:
        fft_sizes: FFT size of each resolution, in samples.
        hop_sizes: hop of each resolution, in samples.
        win_lengths: length of each resolution's Hann window, in samples.
        a_weighting: whether both signals pass an A-weighting filter first, as in Vibravox.
        sample_rate: in Hz; only the A-weighting depends on it.

    Raises:
        ValueError: if the three lists do not fit together.
    """

    taps: Tensor

    def __init__(
        self,
        fft_sizes: Sequence[int] = (512, 1024, 2048),
        hop_sizes: Sequence[int] = (50, 120, 240),
        win_lengths: Sequence[int] = (240, 600, 1200),
        a_weighting: bool = False,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        if not len(fft_sizes) == len(hop_sizes) == len(win_lengths) > 0:
            raise ValueError(
                f"{len(fft_sizes)} fft_sizes, {len(hop_sizes)} hop_sizes, {len(win_lengths)} "
                "win_lengths; it wants the same number of each, at least one"
            )
        self.resolutions = nn.ModuleList(
            _Resolution(*sizes) for sizes in zip(fft_sizes, hop_sizes, win_lengths, strict=True)
        )
        self.longest = max(fft_sizes)
        taps = a_weighting_filter(sample_rate) if a_weighting else np.ones(1)
        self.register_buffer("taps", torch.from_numpy(taps).float(), persistent=False)

    def terms(self, estimate: Tensor, target: Tensor) -> dict[str, Tensor]:
        check_length(estimate, self.longest // 2 + 1, self.longest)
        if len(self.taps) > 1:
            estimate, target = (
                conv1d(signal, self.taps[None, None], padding=len(self.taps) // 2)
                for signal in (estimate, target)
            )
        costs = [resolution(estimate[:, 0], target[:, 0]) for resolution in self.resolutions]
        return {"multi_resolution_stft": torch.stack(costs).sum() / len(costs)}


class _Resolution(nn.Module):
    """Spectral convergence plus log-magnitude distance at one resolution."""

    window: Tensor

    def __init__(self, fft_size: int, hop_size: int, win_length: int) -> None:
        super().__init__()
        check_frames(fft_size, hop_size, win_length)
        self.fft_size, self.hop_size = fft_size, hop_size
        self.register_buffer("window", torch.hann_window(win_length), persistent=False)

    def forward(self, estimate: Tensor, target: Tensor) -> Tensor:
        ours, wanted = self._magnitude(estimate), self._magnitude(target)
        squares = torch.stack([(wanted - ours).square().sum(), wanted.square().sum()])
        error, energy = sum_over_processes(squares)
        # The root has no slope at 0; a least error gives it one of 0, as that of a norm is.
        convergence = error.clamp(min=torch.finfo(error.dtype).tiny).sqrt() / energy.sqrt()
        return convergence + l1_loss(ours.log(), wanted.log())

    def _magnitude(self, signal: Tensor) -> Tensor:
        """Return (B, F, frames) for (B, T)."""
        parts = spectrum_parts(signal, self.fft_size, self.hop_size, self.window)
        real, imaginary = parts.unbind(-1)
        power = real.square() + imaginary.square()
        return power.clamp(min=POWER_FLOOR).sqrt()


def a_weighting_filter(sample_rate: int) -> NDArray[np.float64]:
    r"""Return a linear-phase FIR filter of 101 taps with the A-weighting of IEC 61672.

    .. math:: A(f) = \frac{1.2589\, f_4^2 f^4}{(f^2 + f_1^2)
        \sqrt{(f^2 + f_2^2)(f^2 + f_3^2)}\,(f^2 + f_4^2)}

    at the frequencies of the bilinear transform, fitted by least squares.

    Args:
        sample_rate: in Hz.
    """
    grid_hz = np.arange(512) * sample_rate / 1024
    analog_hz = sample_rate / np.pi * np.tan(np.pi * grid_hz / sample_rate)
    squared = analog_hz**2
    f1, f2, f3, f4 = (corner_hz**2 for corner_hz in (20.598997, 107.65265, 737.86223, 12194.217))
    gain = 10 ** (1.9997 / 20) * f4 * squared**2
    gain /= (squared + f1) * np.sqrt((squared + f2) * (squared + f3)) * (squared + f4)
    return scipy.signal.firls(A_WEIGHTING_TAPS, grid_hz, gain, fs=sample_rate)
