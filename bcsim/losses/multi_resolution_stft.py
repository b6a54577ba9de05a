"""The distance of magnitude spectra at several resolutions."""

from collections.abc import Sequence

from torch import Tensor

from bcsim.dsp.randomness import torch_stream
from bcsim.extras import require
from bcsim.losses import LOSSES
from bcsim.losses.base import Objective


@LOSSES.register("multi_resolution_stft")
class MultiResolutionSTFT(Objective):
    r"""Spectral convergence plus log-magnitude distance, averaged over resolutions.

    .. math::
        \frac{1}{R} \sum_{r=1}^{R} \frac{\lVert S_r - \hat{S}_r \rVert_F}{\lVert S_r \rVert_F}
        + \frac{1}{K_r} \lVert \ln S_r - \ln \hat{S}_r \rVert_1

    with the magnitudes S of the whole batch, whose squares count as 1e-8 at least. Yamamoto, Song
    and Kim, arXiv 1910.11480; computed by auraloss.

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
        for fft_size, hop, window in zip(fft_sizes, hop_sizes, win_lengths, strict=True):
            if not 0 < hop <= window <= fft_size:
                raise ValueError(
                    f"fft size {fft_size}, hop {hop}, window {window}; "
                    "it wants 0 < hop <= window <= fft size"
                )
        self.min_samples = max(fft_sizes) // 2 + 1  # the STFT reflects half a frame at the ends
        # auraloss draws random taps for its weighting filter before it sets them
        with torch_stream(0, "losses", "multi_resolution_stft"):
            self.distance = require("auraloss.freq", extra="train").MultiResolutionSTFTLoss(
                fft_sizes=list(fft_sizes),
                hop_sizes=list(hop_sizes),
                win_lengths=list(win_lengths),
                perceptual_weighting=a_weighting,
                sample_rate=sample_rate,
            )

    def terms(self, estimate: Tensor, target: Tensor) -> dict[str, Tensor]:
        if estimate.shape[-1] < self.min_samples:
            raise ValueError(
                f"{estimate.shape[-1]} samples are too few for an STFT of "
                f"{2 * (self.min_samples - 1)}; use longer crops or smaller fft_sizes"
            )
        return {"multi_resolution_stft": self.distance(estimate, target)}
