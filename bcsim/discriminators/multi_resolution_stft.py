"""EnCodec's discriminators of the complex STFT at several resolutions.

Défossez, Copet, Synnaeve and Adi, "High fidelity neural audio compression", TMLR 2023, arXiv
2210.13438.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.parametrizations import weight_norm

from bcsim.discriminators import DISCRIMINATORS
from bcsim.discriminators.base import Discriminator, Features
from bcsim.discriminators.multi_period import features_and_score

MAX_FFT_SIZE = 1 << 16  # samples
SLOPE = 0.2  # of the leaky ReLUs
DILATIONS = (1, 2, 4)


@DISCRIMINATORS.register("multi_resolution_stft")
class MultiResolutionSTFT(Discriminator):
    """EnCodec's multi-scale STFT discriminator.

    As in the paper, every convolution has weight normalisation; the published code leaves it out
    of the first.

    Args:
        width: channels of every layer, 32 as published.
        fft_sizes: lengths of the Hann windows in samples, one network each; the hop is a quarter.

    Raises:
        ValueError: for sizes that make no network.

    Example:
        >>> sum(weights.numel() for weights in MultiResolutionSTFT(fft_sizes=[512]).parameters())
        94498
    """

    def __init__(self, width: int = 32, fft_sizes: Sequence[int] = (1024, 2048, 512)) -> None:
        super().__init__()
        if width < 1 or not fft_sizes or min(fft_sizes) < 4 or max(fft_sizes) > MAX_FFT_SIZE:
            raise ValueError(
                f"multi_resolution_stft: width {width}, fft_sizes {list(fft_sizes)}; it wants a "
                f"positive width and at least one size, all of 4 to {MAX_FFT_SIZE} samples"
            )
        self.discriminators = nn.ModuleList(_STFTNetwork(width, size) for size in fft_sizes)

    def features(self, speech: Tensor, bands: Tensor | None) -> Features:
        return [network(speech) for network in self.discriminators]


class _STFTNetwork(nn.Module):
    """2-D convolutions over frames and bins, strided along the bins and dilated along time."""

    window: Tensor

    def __init__(self, width: int, fft_size: int) -> None:
        super().__init__()
        # A window of unit energy gives white noise of power 1 bins of power 1 at any size.
        window = torch.hann_window(fft_size)
        self.register_buffer("window", window / window.norm(), persistent=False)

        def conv(
            inputs: int, outputs: int, kernel: tuple[int, int], stride: int = 1, dilation: int = 1
        ) -> nn.Module:
            padding = (kernel[0] // 2 * dilation, kernel[1] // 2)
            return weight_norm(
                nn.Conv2d(inputs, outputs, kernel, (1, stride), padding, (dilation, 1))
            )

        self.convs = nn.ModuleList(
            [
                conv(2, width, (3, 9)),
                *[conv(width, width, (3, 9), stride=2, dilation=d) for d in DILATIONS],
                conv(width, width, (3, 3)),
            ]
        )
        self.conv_post = conv(width, 1, (3, 3))

    def forward(self, speech: Tensor) -> list[Tensor]:
        """Return five inner features and the score map, (B, 1, L, K / 8), for (B, 1, T)."""
        return features_and_score(self.convs, self.conv_post, self.spectrum(speech), SLOPE)

    def spectrum(self, speech: Tensor) -> Tensor:
        """Return real and imaginary parts of L frames, (B, 2, L, K), where K = fft_size / 2 + 1.

        There are as many frames as fit into the speech; silence fills the first one up.
        """
        fft_size = len(self.window)
        speech = pad(speech.squeeze(1), (0, max(fft_size - speech.shape[-1], 0)))
        frames = torch.stft(
            speech, fft_size, fft_size // 4, window=self.window, center=False, return_complex=True
        )
        return torch.view_as_real(frames).permute(0, 3, 2, 1)
