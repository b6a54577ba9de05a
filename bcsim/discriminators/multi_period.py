"""HiFi-GAN's discriminators of every p-th sample.

Kong, Kim and Bae, "HiFi-GAN: generative adversarial networks for efficient and high fidelity speech
synthesis", NeurIPS 2020, arXiv 2010.05646. Tensors have the names of the published checkpoints,
once these name their normalisation as `torch.nn.utils.parametrizations` does.
"""

import itertools
from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad
from torch.nn.utils.parametrizations import weight_norm

from bcsim.discriminators import DISCRIMINATORS
from bcsim.discriminators.base import Discriminator, Features

SLOPE = 0.1  # of the leaky ReLUs
STRIDES = (3, 3, 3, 3, 1)


@DISCRIMINATORS.register("multi_period")
class MultiPeriod(Discriminator):
    """HiFi-GAN's multi-period discriminator.

    The network of period p sees speech as p columns, each of every p-th sample, and never mixes
    them: what repeats with that period stands out. The periods are prime, so that no two networks
    see the same.

    Args:
        width: channels at the first level, 32 as published; 4, 16, 32 and 32 times as many follow.
        periods: periods p in samples, one network each; the speech is at least as long as each.

    Raises:
        ValueError: for sizes that make no network.

    Example:
        >>> sum(weights.numel() for weights in MultiPeriod(periods=[7]).parameters())
        8221154
    """

    def __init__(self, width: int = 32, periods: Sequence[int] = (2, 3, 5, 7, 11)) -> None:
        super().__init__()
        if min(width, len(periods), *periods) < 1:
            raise ValueError(
                f"multi_period: width {width}, periods {list(periods)}; it wants a positive width "
                "and at least one period, all positive"
            )
        self.discriminators = nn.ModuleList(_PeriodNetwork(width, period) for period in periods)

    def features(self, speech: Tensor, bands: Tensor | None) -> Features:
        return [network(speech) for network in self.discriminators]


class _PeriodNetwork(nn.Module):
    def __init__(self, width: int, period: int) -> None:
        super().__init__()
        self.period = period
        widths = [1, *(width * ratio for ratio in (1, 4, 16, 32, 32))]
        self.convs = nn.ModuleList(
            weight_norm(nn.Conv2d(narrow, wide, (5, 1), (stride, 1), padding=(2, 0)))
            for (narrow, wide), stride in zip(itertools.pairwise(widths), STRIDES, strict=True)
        )
        self.conv_post = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, speech: Tensor) -> list[Tensor]:
        """Return five inner features and the score map, (B, 1, T / (81 p), p), for (B, 1, T)."""
        num_samples = speech.shape[-1]
        if num_samples < self.period:
            raise ValueError(
                f"multi_period was given {num_samples} samples, less than its period of "
                f"{self.period}; use longer crops or shorter periods"
            )
        speech = pad(speech, (0, -num_samples % self.period), "reflect")
        columns = speech.unflatten(-1, (-1, self.period))
        return features_and_score(self.convs, self.conv_post, columns, SLOPE)


def features_and_score(
    convs: nn.ModuleList, conv_post: nn.Module, signal: Tensor, slope: float
) -> list[Tensor]:
    """Return what every convolution gives after its leaky ReLU, and what the last makes of it."""
    features = []
    for conv in convs:
        signal = leaky_relu(cast(Tensor, conv(signal)), slope)
        features.append(signal)
    return [*features, conv_post(signal)]
