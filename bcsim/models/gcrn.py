"""GCRN: a gated convolutional recurrent network from complex spectra to complex spectra, causal.

Tan and Wang, "Learning complex spectral mapping with gated convolutional recurrent networks for
monaural speech enhancement", IEEE/ACM TASLP 28 (2020), doi 10.1109/TASLP.2019.2955276.
"""

from collections.abc import Sequence
from itertools import pairwise
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn.functional import elu

from bcsim.models import MODELS
from bcsim.models.base import check_channels
from bcsim.models.crn import halved_bins, short_frames
from bcsim.models.spectral import SpectralEnhancer, complex_of


@MODELS.register("gcrn")
class GCRN(SpectralEnhancer):
    """A gated encoder, a grouped recurrent network, and a decoder each for real and imaginary part.

    Convolutions look at one frame, halve the bins five times, and have a second convolution whose
    sigmoid is their gate. The recurrent layers are cut into groups; between the two layers the
    outputs of the groups are interleaved. Frames of 20 ms every 10 ms have Hamming windows; the
    inverse divides by their sum.

    As published, signals are scaled to a mean square of 1 over the whole recording; a network that
    is to run live cannot know it, so the level is that of `SpectralEnhancer`.

    Args:
        widths: channels of the encoder's layers.
        groups: groups of each recurrent layer.
        channels: input channels, `("bone",)`, or `("bone", "air")` for early fusion.
        sample_rate: sample rate in Hz.

    Raises:
        ValueError: for sizes or channels that make no network.

    Example:
        >>> GCRN().num_parameters, GCRN(groups=8).num_parameters
        (9771340, 3479884)
    """

    small = MappingProxyType({"widths": (2, 2, 2, 2, 4)})

    def __init__(
        self,
        widths: Sequence[int] = (16, 32, 64, 128, 256),
        groups: int = 2,
        channels: Sequence[str] = ("bone",),
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        if min(groups, sample_rate, len(widths), *widths) < 1:
            raise ValueError("gcrn: widths, groups and sample_rate have to be positive")
        check_channels("gcrn", channels)
        self.config = {
            "widths": list(widths),
            "groups": groups,
            "channels": list(channels),
            "sample_rate": sample_rate,
        }
        self.sample_rate, self.channels = sample_rate, tuple(channels)
        frames = short_frames(sample_rate)
        self.set_frames(frames)
        num_bins = frames.fft_size // 2 + 1
        bins = halved_bins(num_bins, len(widths))
        inputs = [2 * len(channels), *widths]
        self.encoder = nn.ModuleList(
            nn.Sequential(_GatedConv(*pair), nn.BatchNorm2d(pair[1])) for pair in pairwise(inputs)
        )
        self.recurrent = _GroupedLSTM(widths[-1] * bins[-1], groups)
        self.decoders = nn.ModuleList(
            nn.ModuleList(
                nn.Sequential(
                    _GatedUpsample(2 * wide, narrow, bins[level + 1], bins[level]),
                    nn.BatchNorm2d(narrow),
                )
                for level, (narrow, wide) in reversed(list(enumerate(pairwise([1, *widths]))))
            )
            for _ in range(2)
        )
        self.outputs = nn.ModuleList(nn.Linear(num_bins, num_bins) for _ in range(2))

    def enhance_spectra(self, spectra: Tensor) -> Tensor:
        hidden = torch.cat([spectra.real, spectra.imag], dim=1)
        skips = []
        for encode in self.encoder:
            hidden = elu(encode(hidden))
            skips.append(hidden)
        sequence = self.recurrent(hidden.transpose(1, 2).flatten(2))
        latent = sequence.unflatten(2, (hidden.shape[1], -1)).transpose(1, 2)
        parts = []
        for decoder, output in zip(self.decoders, self.outputs, strict=True):
            assert isinstance(decoder, nn.ModuleList)
            hidden = torch.cat([latent, skips[-1]], dim=1)
            for decode, skip in zip(decoder, [*skips[-2::-1], None], strict=True):
                hidden = decode(hidden)
                hidden = elu(hidden if skip is None else torch.cat([hidden, skip], dim=1))
            parts.append(output(hidden[:, 0]))
        return complex_of(*parts)

    @property
    def last_layer(self) -> Tensor:
        last = self.outputs[-1]
        assert isinstance(last, nn.Linear)
        return last.weight


class _GatedConv(nn.Module):
    """A convolution over the bins, times the sigmoid of another."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, (1, 3), (1, 2))
        self.gate = nn.Conv2d(inputs, outputs, (1, 3), (1, 2))

    def forward(self, hidden: Tensor) -> Tensor:
        return self.conv(hidden) * torch.sigmoid(self.gate(hidden))


class _GatedUpsample(nn.Module):
    """A transposed convolution over the bins, times the sigmoid of another."""

    def __init__(self, inputs: int, outputs: int, bins: int, wanted: int) -> None:
        super().__init__()
        missing = (0, wanted - (2 * bins + 1))
        self.conv, self.gate = (
            nn.ConvTranspose2d(inputs, outputs, (1, 3), (1, 2), output_padding=missing)
            for _ in range(2)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        return self.conv(hidden) * torch.sigmoid(self.gate(hidden))


class _GroupedLSTM(nn.Module):
    """Two recurrent layers of groups, whose outputs are interleaved between the layers."""

    def __init__(self, features: int, groups: int) -> None:
        super().__init__()
        if features % groups:
            raise ValueError(f"gcrn: {groups} groups do not divide {features} features evenly")
        size = features // groups
        self.layers = nn.ModuleList(
            nn.ModuleList(nn.LSTM(size, size, batch_first=True) for _ in range(groups))
            for _ in range(2)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(features) for _ in range(2))

    def forward(self, sequence: Tensor) -> Tensor:
        interleaved = torch.stack(self._outputs(0, sequence), dim=-1).flatten(-2)
        return self.norms[1](torch.cat(self._outputs(1, self.norms[0](interleaved)), dim=-1))

    def _outputs(self, layer: int, sequence: Tensor) -> list[Tensor]:
        groups = self.layers[layer]
        assert isinstance(groups, nn.ModuleList)
        parts = sequence.chunk(len(groups), dim=-1)
        return [group(part)[0] for group, part in zip(groups, parts, strict=True)]
