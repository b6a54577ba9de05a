"""The distance of magnitude spectra, weighted by band."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from bcsim.losses import LOSSES
from bcsim.losses.base import Objective
from bcsim.losses.frames import both_spectra, check_frames, magnitude_of


@LOSSES.register("band_weighted_stft")
class BandWeightedSTFT(Objective):
    r"""Weighted sum of the mean squared errors of magnitudes in bands of frequency.

    .. math::
        \sum_b w_b\, \mathrm{mean}_{k \in b}
        (\lvert \hat{S}_k \rvert - \lvert S_k \rvert)^2, \quad
        \lvert S \rvert = \sqrt{\Re^2 S + \Im^2 S + 10^{-8}}

    High bands are soft, and hardly seen by a plain mean; the weights 2, 3, 5, 5 over bands of 2 kHz
    are those of networks that extend the band of body-conducted speech by moved copies of it.

    Args:
        edges_hz: ends of the bands in Hz, one more than there are bands, ascending. A bin at an
            edge belongs to the band above; one at the last edge, to the last band.
        weights: weight of each band, 0 or more.
        fft_size: size of the FFT in samples.
        hop_size: hop in samples.
        win_length: length of the Hann window in samples.
        sample_rate: sample rate in Hz.

    Raises:
        ValueError: if the sizes, edges or weights do not fit together, or a band has no bin.
    """

    window: Tensor
    bin_weights: Tensor

    def __init__(
        self,
        edges_hz: Sequence[float] = (0.0, 2000.0, 4000.0, 6000.0, 8000.0),
        weights: Sequence[float] = (2.0, 3.0, 5.0, 5.0),
        fft_size: int = 512,
        hop_size: int = 128,
        win_length: int = 512,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        check_frames(fft_size, hop_size, win_length)
        ascending = all(low < high for low, high in pairwise(edges_hz))
        if len(edges_hz) < 2 or not ascending or edges_hz[0] < 0 or edges_hz[-1] > sample_rate / 2:
            raise ValueError(
                f"edges_hz {list(edges_hz)} at {sample_rate} Hz; it wants two or more, ascending "
                f"from 0 to {sample_rate / 2:g}"
            )
        if len(weights) != len(edges_hz) - 1 or not (min(weights) >= 0 and max(weights) > 0):
            raise ValueError(
                f"weights {list(weights)} for {len(edges_hz) - 1} bands; it wants one each, 0 or "
                "more, and some above 0"
            )
        bin_weights = torch.zeros(fft_size // 2 + 1)
        # Edges in bins; the last band ends with the bin of its upper edge, not before it.
        edges = [-(-hz * fft_size // sample_rate) for hz in edges_hz]
        edges[-1] = edges_hz[-1] * fft_size // sample_rate + 1
        for (low, high), weight in zip(pairwise(edges), weights, strict=True):
            if high <= low:
                raise ValueError(
                    f"edges_hz {list(edges_hz)}: a band without a bin of the FFT of {fft_size}; "
                    "use wider bands or a larger fft_size"
                )
            bin_weights[int(low) : int(high)] = weight / (high - low)
        self.fft_size, self.hop_size = fft_size, hop_size
        self.register_buffer("bin_weights", bin_weights, persistent=False)
        self.register_buffer("window", torch.hann_window(win_length), persistent=False)

    def terms(self, estimate: Tensor, target: Tensor) -> dict[str, Tensor]:
        framing = (self.fft_size, self.hop_size, self.window)
        ours, wanted = map(magnitude_of, both_spectra(estimate, target, *framing))
        squares = (ours - wanted).square().mean((0, 2))  # of each bin
        return {"band_weighted_stft": squares @ self.bin_weights}
