"""The distance of magnitude spectra at several resolutions."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bcsim.dsp.randomness import torch_stream
from bcsim.extras import optional_import
from bcsim.losses import LOSSES
from bcsim.losses.base import Objective, sum_over_processes
from bcsim.losses.frames import check_frames, check_length


@LOSSES.register("multi_resolution_stft")
class MultiResolutionSTFT(Objective):
    r"""Spectral convergence plus log-magnitude distance, averaged over resolutions.

    .. math::
        \frac{1}{R} \sum_{r=1}^{R} \frac{\lVert S_r - \hat{S}_r \rVert_F}{\lVert S_r \rVert_F}
        + \frac{1}{K_r} \lVert \ln S_r - \ln \hat{S}_r \rVert_1

    with the magnitudes S of the whole batch, that of all processes where several train; their
    squares count as 1e-8 at least. Yamamoto, Song and Kim, arXiv 1910.11480; computed by auraloss.

    Args:
        fft_sizes: in samples.
        hop_sizes: in samples, one for each of `fft_sizes`.
        win_lengths: of the Hann window, in samples, likewise.
        a_weighting: whether both signals pass an A-weighting filter first, as in Vibravox.
        sample_rate: in Hz; only the A-weighting depends on it.

    Raises:
        ValueError: if the three lists do not fit together.
        UsageError: if auraloss is not installed.
    """

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
        for sizes in zip(fft_sizes, hop_sizes, win_lengths, strict=True):
            check_frames(*sizes)
        self.longest = max(fft_sizes)
        # auraloss draws random taps for its weighting filter before it sets them
        with torch_stream(0, "losses", "multi_resolution_stft"):
            self.distance = optional_import("auraloss.freq", extra="train").MultiResolutionSTFTLoss(
                fft_sizes=list(fft_sizes),
                hop_sizes=list(hop_sizes),
                win_lengths=list(win_lengths),
                perceptual_weighting=a_weighting,
                sample_rate=sample_rate,
            )
        for resolution in self.distance.stft_losses:
            resolution.stft = partial(_magnitudes_without_phases, resolution)
            resolution.spectralconv = _SpectralConvergence()

    def terms(self, estimate: Tensor, target: Tensor) -> dict[str, Tensor]:
        check_length(estimate, self.longest // 2 + 1, self.longest)
        return {"multi_resolution_stft": self.distance(estimate, target)}


class _SpectralConvergence(nn.Module):
    """The ratio of norms, of the batches of all processes."""

    def forward(self, estimate: Tensor, target: Tensor) -> Tensor:
        squares = torch.stack([(target - estimate).square().sum(), target.square().sum()])
        error, energy = sum_over_processes(squares)
        # The root has no slope at 0; a least error gives it one of 0, as that of a norm is.
        return error.clamp(min=torch.finfo(error.dtype).tiny).sqrt() / energy.sqrt()


def _magnitudes_without_phases(resolution: Any, signal: Tensor) -> tuple[Tensor, None]:
    """Do what `stft` of auraloss does but for the phases: they take time, and are not used.

    Args:
        resolution: the `STFTLoss` with the sizes.
        signal: (B, T).
    """
    spectrum = torch.stft(
        signal,
        resolution.fft_size,
        resolution.hop_size,
        resolution.win_length,
        resolution.window,
        return_complex=True,
    )
    power = spectrum.real.square() + spectrum.imag.square()
    return power.clamp(min=resolution.eps).sqrt(), None
