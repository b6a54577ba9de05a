"""CRN: a convolutional recurrent network that maps magnitudes, causal.

Tan and Wang, "A convolutional recurrent neural network for real-time speech enhancement",
Interspeech 2018, doi 10.21437/Interspeech.2018-1405.
"""

from collections.abc import Sequence
from itertools import pairwise
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import elu, pad, softplus

from bcsim.dsp.spectra import power_of
from bcsim.models import MODELS
from bcsim.models.base import check_channels
from bcsim.models.spectral import Frames, SpectralEnhancer, recurrent_outputs

WINDOW_S = 0.02
_MIN_POWER = 1e-12  # added under the root, whose slope is then finite in silence


@MODELS.register("crn")
class CRN(SpectralEnhancer):
    """An encoder of convolutions, a recurrent network and a decoder, from magnitudes to magnitudes.

    Convolutions look at a frame and the one before, and halve the bins five times; the decoder
    takes the encoder's outputs beside its own. The phase is that of the last channel. Frames of
    20 ms every 10 ms have Hamming windows; the inverse divides by their sum.

    As published, signals are scaled to a mean square of 1 over the whole recording; a network that
    is to run live cannot know it, so the level is that of `SpectralEnhancer`. The published decoder
    sets its first frame to zero at each layer, here it is what the convolution gives.

    Args:
        widths: channels of the encoder's layers.
        units: units of each recurrent layer.
        num_layers: number of recurrent layers.
        channels: input channels, `("bone",)`, or `("bone", "air")` for early fusion.
        sample_rate: sample rate in Hz.

    Raises:
        ValueError: for sizes or channels that make no network.

    Example:
        >>> CRN().num_parameters
        17579459
    """

    small = MappingProxyType({"widths": (2, 2, 2, 2, 4), "units": 6})

    def __init__(
        self,
        widths: Sequence[int] = (16, 32, 64, 128, 256),
        units: int = 1024,
        num_layers: int = 2,
        channels: Sequence[str] = ("bone",),
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        if min(units, num_layers, sample_rate, len(widths), *widths) < 1:
            raise ValueError("crn: widths, units, num_layers and sample_rate have to be positive")
        check_channels("crn", channels)
        self.config = {
            "widths": list(widths),
            "units": units,
            "num_layers": num_layers,
            "channels": list(channels),
            "sample_rate": sample_rate,
        }
        self.sample_rate, self.channels = sample_rate, tuple(channels)
        frames = short_frames(sample_rate)
        self.set_frames(frames)
        bins = halved_bins(frames.fft_size // 2 + 1, len(widths))
        inputs = [len(channels), *widths]
        self.encoder = nn.ModuleList(_down(*pair) for pair in pairwise(inputs))
        features = widths[-1] * bins[-1]
        self.recurrent = nn.LSTM(features, units, num_layers, batch_first=True)
        self.from_units = nn.Identity() if units == features else nn.Linear(units, features)
        self.decoder = nn.ModuleList(
            _Up(2 * wide, narrow, bins[level + 1], bins[level])
            for level, (narrow, wide) in reversed(list(enumerate(pairwise([1, *widths]))))
        )

    def enhance_spectra(self, spectra: Tensor) -> Tensor:
        magnitude = (power_of(spectra) + _MIN_POWER).sqrt()
        hidden, skips = magnitude, []
        for encode in self.encoder:
            hidden = elu(encode(pad(hidden, (0, 0, 1, 0))))
            skips.append(hidden)
        sequence = recurrent_outputs(self.recurrent, hidden.transpose(1, 2).flatten(2))
        hidden = self.from_units(sequence).unflatten(2, (hidden.shape[1], -1)).transpose(1, 2)
        for decode in self.decoder:
            hidden = decode(torch.cat([hidden, skips.pop()], dim=1))
            hidden = elu(hidden) if skips else softplus(hidden)
        return spectra[:, -1] * (hidden[:, 0] / magnitude[:, -1])

    @property
    def last_layer(self) -> Tensor:
        last = self.decoder[-1]
        assert isinstance(last, _Up)
        return last.conv.weight


def short_frames(sample_rate: int) -> Frames:
    """Return frames of 20 ms every 10 ms with Hamming windows, whose sum the inverse divides by."""
    length = 2 * round(WINDOW_S * sample_rate / 2)
    hamming = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(length) / length)
    return Frames(length, length // 2, hamming, np.ones(length))


def halved_bins(bins: int, num_layers: int) -> list[int]:
    """Return the bins before and behind each layer of kernel 3 and stride 2 without padding.

    Raises:
        ValueError: if there are too many layers.
    """
    found = [bins]
    for _ in range(num_layers):
        found.append((found[-1] - 3) // 2 + 1)
    if found[-1] < 1:
        raise ValueError(f"{num_layers} layers that halve {bins} bins leave none; use fewer widths")
    return found


def _down(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, (2, 3), (1, 2)), nn.BatchNorm2d(outputs))


class _Up(nn.Module):
    """A transposed convolution to twice the bins, normalised."""

    def __init__(self, inputs: int, outputs: int, bins: int, wanted: int) -> None:
        super().__init__()
        missing = wanted - (2 * bins + 1)
        self.conv = nn.ConvTranspose2d(inputs, outputs, (2, 3), (1, 2), output_padding=(0, missing))
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return as many frames; what it says of the one after the last would look ahead."""
        return self.norm(self.conv(hidden)[:, :, :-1])
