"""Wave-U-Net: a U-Net of the waveform that halves its rate at each level.

Macartney and Weyde, "Improved speech enhancement with the Wave-U-Net", arXiv 1811.11307, after
Stoller, Ewert and Dixon, "Wave-U-Net: a multi-scale neural network for end-to-end audio source
separation", ISMIR 2018, arXiv 1806.03185.
"""

import math
from types import MappingProxyType

import torch
from torch import Tensor, nn

from bcsim.models import MODELS
from bcsim.models.base import Enhancer
from bcsim.models.receptive_field import Layer, receptive_field

DOWN_KERNEL, UP_KERNEL = 15, 5
SLOPE = 0.1  # of the leaky rectifiers
MAX_LEVELS = 14  # of which each doubles the frame
MIN_FRAMES = 2  # a batch norm has no spread to learn from a single sample


@MODELS.register("wave_unet")
class WaveUNet(Enhancer):
    """Wave-U-Net with batch norms, in which each level has `width` channels more than the last.

    A level of the encoder convolves, and keeps every second sample. A level of the decoder doubles
    the rate by linear interpolation, takes the encoder's output of its rate beside it, and
    convolves. The last layer sees the input, too, and ends in a hyperbolic tangent: targets should
    lie within [-1, 1].

    Interpolated sample 2 i is sample i, as the decimation took it (Stoller et al.); the form with
    batch norms instead spreads n samples evenly over 2 n, which moves them by up to half a sample,
    and makes the output depend on the length of the input.

    Args:
        levels: number of levels.
        width: channels of the first level; level i has i times as many.
        sample_rate: sample rate in Hz.

    Raises:
        ValueError: for sizes that make no network.

    Example:
        >>> WaveUNet().num_parameters
        10132802
    """

    channels = ("bone",)
    causal = False

    small = MappingProxyType({"levels": 3, "width": 3})

    def __init__(self, levels: int = 12, width: int = 24, sample_rate: int = 16_000) -> None:
        super().__init__()
        if not 1 <= levels <= MAX_LEVELS or min(width, sample_rate) < 1:
            raise ValueError(
                f"wave_unet: levels {levels}, width {width}; it wants 1 to {MAX_LEVELS} levels, "
                "and a positive width and sample_rate"
            )
        self.config = {"levels": levels, "width": width, "sample_rate": sample_rate}
        self.sample_rate = sample_rate
        widths = [width * level for level in range(1, levels + 1)]
        self.encoder = nn.ModuleList(
            _block(inputs, outputs, DOWN_KERNEL)
            for inputs, outputs in zip([1, *widths], widths, strict=False)
        )
        self.middle = _block(widths[-1], widths[-1], DOWN_KERNEL)
        self.decoder = nn.ModuleList(
            _block(below + outputs, outputs, UP_KERNEL)
            for below, outputs in reversed(
                list(zip([*widths[1:], widths[-1]], widths, strict=True))
            )
        )
        self.last_conv = nn.Conv1d(width + 1, 1, 1)
        self.frame_samples = 2**levels
        self.history_samples, self.latency_samples = receptive_field(
            self._layers(), self.frame_samples
        )

    def enhance_valid(self, signal: Tensor) -> Tensor:
        hidden, skips = signal, []
        for encode in self.encoder:
            hidden = encode(hidden)
            skips.append(hidden)
            hidden = hidden[..., ::2]
        hidden = self.middle(hidden)
        for decode in self.decoder:
            hidden = decode(torch.cat([_interpolate(hidden), skips.pop()], dim=1))
        return torch.tanh(self.last_conv(torch.cat([hidden, signal], dim=1)))

    @property
    def last_layer(self) -> Tensor:
        return self.last_conv.weight

    def valid_length(self, num_samples: int) -> int:
        return max(MIN_FRAMES, math.ceil(num_samples / self.frame_samples)) * self.frame_samples

    def _layers(self) -> list[Layer]:
        # The deepest path; those through the skips stay within its receptive field.
        down, up = (Layer(kernel, left=kernel // 2) for kernel in (DOWN_KERNEL, UP_KERNEL))
        interpolation = Layer(3, stride=2, left=1, transposed=True)
        levels = len(self.encoder)
        return [*[down, Layer(1, stride=2)] * levels, down, *[interpolation, up] * levels]


def _block(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2)
    return nn.Sequential(conv, nn.BatchNorm1d(outputs), nn.LeakyReLU(SLOPE))


def _interpolate(hidden: Tensor) -> Tensor:
    """Return (..., 2 T) with the means of neighbours between the samples of (..., T)."""
    following = torch.cat([hidden[..., 1:], hidden[..., -1:]], dim=-1)
    return torch.stack([hidden, (hidden + following) / 2], dim=-1).flatten(-2)
