"""MelGAN's discriminators of the waveform, at full, half and a quarter of the rate.

Kumar et al., "MelGAN: generative adversarial networks for conditional waveform synthesis",
NeurIPS 2019, arXiv 1910.06711.
"""

import itertools
from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn
from torch.nn.functional import avg_pool1d
from torch.nn.utils.parametrizations import weight_norm

from bcsim.discriminators import DISCRIMINATORS
from bcsim.discriminators.base import MAX_SCALES, Discriminator, Features

SLOPE = 0.2  # of the leaky ReLUs
STRIDE, NUM_STRIDED = 4, 4
GROUPS = (4, 16, 64, 256)


@DISCRIMINATORS.register("melgan")
class MelGAN(Discriminator):
    """MelGAN's multi-scale discriminator.

    Args:
        num_scales: number of networks; each sees the speech at half the rate of the one before.
        width: channels at the first level; 16 as published. They quadruple three times over.
        groups: number of groups in each of the four strided convolutions.

    Raises:
        ValueError: for sizes that make no network.

    Example:
        >>> sum(weights.numel() for weights in MelGAN(num_scales=1).parameters())
        5641362
    """

    def __init__(
        self, num_scales: int = 3, width: int = 16, groups: Sequence[int] = GROUPS
    ) -> None:
        super().__init__()
        if not 1 <= num_scales <= MAX_SCALES:
            raise ValueError(f"melgan: num_scales is {num_scales}; it wants 1 to {MAX_SCALES}")
        self.scales = nn.ModuleList(WaveNetwork(width, groups) for _ in range(num_scales))

    def features(self, speech: Tensor, bands: Tensor | None) -> Features:
        features = []
        for scale in self.scales:
            features.append(scale(speech))
            speech = avg_pool1d(speech, 4, stride=2, padding=1, count_include_pad=False)
        return features


class WaveNetwork(nn.Module):
    """One of MelGAN's networks: it scores about every 256th sample.

    Args:
        width: channels at the first level.
        groups: number of groups in each of the four strided convolutions.

    Raises:
        ValueError: if the channels do not divide into the groups.
    """

    def __init__(self, width: int, groups: Sequence[int]) -> None:
        super().__init__()
        if width < 1 or len(groups) != NUM_STRIDED or min(groups) < 1:
            raise ValueError(
                f"melgan: width {width}, groups {list(groups)}; it wants a positive width and "
                f"{NUM_STRIDED} positive groups"
            )
        widths = [width * ratio for ratio in (1, 4, 16, 64, 64)]
        for (narrow, wide), parts in zip(itertools.pairwise(widths), groups, strict=True):
            if narrow % parts or wide % parts:
                raise ValueError(
                    f"melgan: {narrow} and {wide} channels do not divide into {parts} groups; "
                    "use fewer groups or another width"
                )
        layers: list[nn.Module] = [
            nn.Sequential(
                nn.ReflectionPad1d(7), weight_norm(nn.Conv1d(1, width, 15)), nn.LeakyReLU(SLOPE)
            )
        ]
        for (narrow, wide), parts in zip(itertools.pairwise(widths), groups, strict=True):
            strided = nn.Conv1d(narrow, wide, 41, stride=STRIDE, padding=20, groups=parts)
            layers.append(nn.Sequential(weight_norm(strided), nn.LeakyReLU(SLOPE)))
        wide = widths[-1]
        layers += [
            nn.Sequential(weight_norm(nn.Conv1d(wide, wide, 5, padding=2)), nn.LeakyReLU(SLOPE)),
            weight_norm(nn.Conv1d(wide, 1, 3, padding=1)),
        ]
        self.discriminator = nn.ModuleList(layers)

    def forward(self, speech: Tensor) -> list[Tensor]:
        """Return six inner features and the score map, (B, 1, T / 256), for (B, 1, T)."""
        return run_layers(self.discriminator, speech)


def run_layers(layers: nn.ModuleList, signal: Tensor) -> list[Tensor]:
    """Return what every layer of a chain gives."""
    outputs = []
    for layer in layers:
        signal = cast(Tensor, layer(signal))
        outputs.append(signal)
    return outputs
