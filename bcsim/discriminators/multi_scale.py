"""HiFi-GAN's discriminators of the waveform, at full, half and a quarter of the rate.

Kong, Kim and Bae, "HiFi-GAN: generative adversarial networks for efficient and high fidelity speech
synthesis", NeurIPS 2020, arXiv 2010.05646. Tensors have the names of the published checkpoints,
once these name their normalisation as `torch.nn.utils.parametrizations` does.
"""

import itertools
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import avg_pool1d
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from bcsim.discriminators import DISCRIMINATORS
from bcsim.discriminators.base import MAX_SCALES, Discriminator, Features
from bcsim.discriminators.multi_period import features_and_score

SLOPE = 0.1  # of the leaky ReLUs
KERNELS = (15, 41, 41, 41, 41, 41, 5)
STRIDES = (1, 2, 2, 4, 4, 1, 1)
GROUPS = (1, 4, 16, 16, 16, 16, 1)


@DISCRIMINATORS.register("multi_scale")
class MultiScale(Discriminator):
    """HiFi-GAN's multi-scale discriminator: MelGAN's idea with more, wider layers.

    The network at the full rate has spectral normalisation, whose power iteration takes a step at
    every call in training mode; the others have weight normalisation.

    Args:
        width: channels at the first level, 128 as published; 1, 2, 4, 8, 8 and 8 times as many
            follow.
        num_scales: number of networks; each sees the speech at half the rate of the one before.

    Raises:
        ValueError: for sizes that make no network.

    Example:
        >>> sum(weights.numel() for weights in MultiScale(width=16).parameters())
        466677
    """

    def __init__(self, width: int = 128, num_scales: int = 3) -> None:
        super().__init__()
        if width < 1 or width % max(GROUPS):
            raise ValueError(
                f"multi_scale: width is {width}; it wants a multiple of {max(GROUPS)}, the groups "
                "that the channels are divided into"
            )
        if not 1 <= num_scales <= MAX_SCALES:
            raise ValueError(f"multi_scale: num_scales is {num_scales}; it wants 1 to {MAX_SCALES}")
        self.discriminators = nn.ModuleList(
            _ScaleNetwork(width, weight_norm if scale else spectral_norm)
            for scale in range(num_scales)
        )

    def features(self, speech: Tensor, bands: Tensor | None) -> Features:
        features = []
        for network in self.discriminators:
            features.append(network(speech))
            speech = avg_pool1d(speech, 4, stride=2, padding=2)
        return features


class _ScaleNetwork(nn.Module):
    def __init__(self, width: int, normalise: Callable[[nn.Module], nn.Module]) -> None:
        super().__init__()
        widths = [1, *(width * ratio for ratio in (1, 1, 2, 4, 8, 8, 8))]
        self.convs = nn.ModuleList(
            normalise(nn.Conv1d(narrow, wide, kernel, stride, padding=kernel // 2, groups=groups))
            for (narrow, wide), kernel, stride, groups in zip(
                itertools.pairwise(widths), KERNELS, STRIDES, GROUPS, strict=True
            )
        )
        self.conv_post = normalise(nn.Conv1d(widths[-1], 1, 3, padding=1))

    def forward(self, speech: Tensor) -> list[Tensor]:
        """Return seven inner features and the score map, (B, 1, T / 64), for (B, 1, T)."""
        return features_and_score(self.convs, self.conv_post, speech, SLOPE)
