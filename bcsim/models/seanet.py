"""SEANet: a wave-to-wave U-Net, offline or causal.

Tagliasacchi, Li, Misiunas and Roblek, "SEANet: a multi-modal speech enhancement network",
Interspeech 2020, arXiv 2009.02095; the small streaming form after Li, Tagliasacchi, Rybakov,
Ungureanu and Roblek, "Real-time speech frequency bandwidth extension", arXiv 2010.10677.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn.functional import elu, pad
from torch.nn.utils.parametrizations import weight_norm as normalise_weight

from bcsim.models import MODELS
from bcsim.models.base import Enhancer, check_channels
from bcsim.models.receptive_field import Layer, receptive_field

DILATIONS = (1, 3, 9)
MAX_FRAME_SAMPLES = 16_384
MAX_LEVELS = 14  # of which each halves the rate at least, in a frame of so many samples


@MODELS.register("seanet")
class SEANet(Enhancer):
    """SEANet, whose output is its input plus what the U-Net makes of it.

    With a second channel `air` the sensor conditions the enhancement of a noisy microphone, and it
    is the microphone's signal that the output is added to.

    The causal form pads every convolution on the past side only and drops what a transposed one
    says about the future. What is left of a look-ahead is the frame of `prod(strides)` samples
    that the strided convolutions see at once.

    Args:
        width: channels at the first level; they double at each stride. 32 as published, 8 in
            the streaming form.
        latent: channels at the bottleneck.
        strides: strides of the encoder's levels, outermost first.
        weight_norm: whether the weights are normalised; the streaming form does without.
        causal: whether the network looks ahead no further than its frame.
        channels: input channels, `("bone",)` or `("bone", "air")`.
        sample_rate: sample rate in Hz.

    Raises:
        ValueError: for sizes or channels that make no network.

    Example:
        >>> SEANet().num_parameters, SEANet(channels=("bone", "air")).num_parameters
        (8340033, 8340257)
        >>> streaming = SEANet(width=8, weight_norm=False, causal=True)
        >>> streaming.num_parameters, streaming.latency_samples
        (692848, 255)
    """

    small = MappingProxyType({"width": 4, "latent": 4})

    def __init__(
        self,
        width: int = 32,
        latent: int = 128,
        strides: Sequence[int] = (2, 2, 8, 8),
        weight_norm: bool = True,
        causal: bool = False,
        channels: Sequence[str] = ("bone",),
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        if min(width, latent, sample_rate, len(strides), *strides) < 1:
            raise ValueError("seanet: width, latent, strides and sample_rate have to be positive")
        if len(strides) > MAX_LEVELS:
            raise ValueError(f"seanet: {len(strides)} strides; it takes {MAX_LEVELS} at most")
        if math.prod(strides) > MAX_FRAME_SAMPLES:
            raise ValueError(
                f"seanet: the strides make a frame of {math.prod(strides)} samples; "
                f"it takes {MAX_FRAME_SAMPLES} at most"
            )
        check_channels("seanet", channels)
        self.config = {
            "width": width,
            "latent": latent,
            "strides": list(strides),
            "weight_norm": weight_norm,
            "causal": causal,
            "channels": list(channels),
            "sample_rate": sample_rate,
        }
        self.sample_rate = sample_rate
        self.channels = tuple(channels)
        self.causal = causal
        self.strides = tuple(strides)
        widths = [width * 2**level for level in range(len(strides) + 1)]
        levels = list(zip(pairwise(widths), strides, strict=True))
        self.first_conv = PaddedConv(len(channels), width, kernel=7, causal=causal)
        self.encoder_blocks = nn.ModuleList(
            nn.Sequential(
                *_residual_units(narrow, causal),
                nn.ELU(),
                PaddedConv(narrow, wide, kernel=2 * stride, stride=stride, causal=causal),
            )
            for (narrow, wide), stride in levels
        )
        self.latent_convs = nn.Sequential(
            nn.ELU(),
            PaddedConv(widths[-1], latent, kernel=7, causal=causal),
            nn.ELU(),
            PaddedConv(latent, widths[-1], kernel=7, causal=causal),
        )
        self.decoder_blocks = nn.ModuleList(
            nn.Sequential(
                nn.ELU(),
                Upsample(wide, narrow, stride, causal=causal),
                *_residual_units(narrow, causal),
            )
            for (narrow, wide), stride in reversed(levels)
        )
        self.last_conv = PaddedConv(width, 1, kernel=7, causal=causal)
        with torch.no_grad():  # begin near the input, rather than bury it in noise
            self.last_conv.weight.mul_(0.1)
        if weight_norm:  # of all but the first convolution, as in the 8,340,033 parameters
            for module in list(self.modules()):
                if isinstance(module, PaddedConv | Upsample) and module is not self.first_conv:
                    normalise_weight(module)
        self.frame_samples = math.prod(strides)
        self.history_samples, self.latency_samples = receptive_field(
            self._layers(), self.frame_samples
        )

    def enhance_valid(self, signal: Tensor) -> Tensor:
        hidden = self.first_conv(signal)
        skips = [hidden]
        for encode in self.encoder_blocks:
            hidden = encode(hidden)
            skips.append(hidden)
        hidden = self.latent_convs(hidden) + skips.pop()
        for decode in self.decoder_blocks:
            hidden = decode(hidden) + skips.pop()
        return signal[:, -1:] + self.last_conv(elu(hidden))

    @property
    def last_layer(self) -> Tensor:
        weights = dict(self.last_conv.named_parameters())
        # Under a weight norm there are two: the length of every filter, and its direction.
        return weights.get("parametrizations.weight.original1", self.last_conv.weight)

    def _layers(self) -> list[Layer]:
        def conv(kernel: int, stride: int = 1, dilation: int = 1) -> Layer:
            left, _ = _padding(kernel, stride, dilation, self.causal)
            return Layer(kernel, stride, dilation, left)

        def upsample(stride: int) -> Layer:
            return Layer(2 * stride, stride, left=overhang(stride, self.causal), transposed=True)

        units = [conv(3, dilation=d) for d in DILATIONS]
        down = [layer for s in self.strides for layer in (*units, conv(2 * s, s))]
        up = [layer for s in reversed(self.strides) for layer in (upsample(s), *units)]
        return [conv(7), *down, conv(7), conv(7), *up, conv(7)]


class PaddedConv(nn.Conv1d):
    """A convolution without bias that gives T / stride outputs for T inputs."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        causal: bool,
        stride: int = 1,
        dilation: int = 1,
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, dilation=dilation, bias=False)
        self.edges = _padding(kernel, stride, dilation, causal)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(pad(input, self.edges))


class Upsample(nn.ConvTranspose1d):
    """A transposed convolution without bias that gives T * stride outputs for T inputs."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, causal: bool) -> None:
        super().__init__(inputs, outputs, 2 * stride, stride, bias=False)
        self.overhang = overhang(stride, causal)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        num_outputs = input.shape[-1] * self.stride[0]
        return super().forward(input, output_size).narrow(-1, self.overhang, num_outputs)


class _ResidualUnit(nn.Module):
    def __init__(self, width: int, dilation: int, causal: bool) -> None:
        super().__init__()
        self.dilated_conv = PaddedConv(width, width, kernel=3, dilation=dilation, causal=causal)
        self.pointwise_conv = PaddedConv(width, width, kernel=1, causal=causal)

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + elu(self.pointwise_conv(elu(self.dilated_conv(hidden))))


def _residual_units(width: int, causal: bool) -> list[_ResidualUnit]:
    return [_ResidualUnit(width, dilation, causal) for dilation in DILATIONS]


def _padding(kernel: int, stride: int, dilation: int, causal: bool) -> tuple[int, int]:
    """Return the samples of silence before and after the input of a convolution.

    Together they are the taps less the stride, so that a stride's worth of input gives one
    output. With all of them before, output i sees inputs up to stride (i + 1) - 1: its own frame.
    """
    total = (kernel - 1) * dilation + 1 - stride
    left = total if causal else total - total // 2
    return left, total - left


def overhang(stride: int, causal: bool) -> int:
    """Return how much to drop at the start of a transposed convolution of 2 * stride taps.

    Input i gives outputs stride i to stride (i + 2) - 1. Dropping nothing at the start (and
    `stride` samples at the end) keeps an output from depending on inputs after its own.
    """
    return 0 if causal else stride // 2
