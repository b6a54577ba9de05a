"""EBEN: a multi-band U-Net that rebuilds the bands which a body-conduction sensor misses.

Hauret, Joubaud, Zimpfer and Bavu, "Configurable EBEN: extreme bandwidth extension network to
enhance body-conducted speech capture", IEEE/ACM TASLP 2023, doi 10.1109/TASLP.2023.3313433
(first: arXiv 2210.14090). State dict and outputs are those of the published checkpoints.
"""

import math
from itertools import pairwise
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad
from torch.nn.utils.parametrizations import weight_norm

from bcsim.dsp.pqmf import PQMF
from bcsim.models import MODELS
from bcsim.models.base import Enhancer
from bcsim.models.receptive_field import Layer, receptive_field
from bcsim.models.seanet import PaddedConv, Upsample, overhang

STRIDES = (2, 4, 8)
DILATIONS = (1, 3, 9)
MAX_TAPS = 257  # of the equalizer: as many as reflect at the ends of the shortest input
EQUALIZER_PACE = 5.0  # Adam moves every weight alike; gains have further to go than weights


@MODELS.register("eben")
class EBENGenerator(Enhancer):
    """The generator of EBEN.

    The lowest `p` bands of a PQMF go through a U-Net that gives all `m` bands; the input bands
    are added to its output, so that the network only has to supply what is missing. The input
    should lie within [-1, 1], since each band leaves through a hyperbolic tangent.

    Args:
        m: number of bands of the PQMF.
        n: number of taps of the PQMF, a multiple of `4 * m`.
        p: number of lowest bands that the sensor conveys and the network gets.
        width: channels at the first level; they double at each of three more. 32 as published.
        latent: channels at the bottleneck. 64 as published.
        equalizer_taps: length, at the rate of the bands, of a learnt linear path from the input
            bands to all bands, in place of the published identity (0). It undoes an inversion or
            spectral tilt of the sensor in a few hundred steps.
        initial_gain: factor of the initial weights outside the residual units. As torch draws them
            (1, as published) signals shrink from layer to layer; 2.2 keeps their size.
        causal: whether every convolution of the bands is padded with silence on the past side
            only, and what a transposed one says about the future is dropped; published is false,
            which reflects at both ends. Weights of one form do not fit the other.
        sample_rate: sample rate in Hz.

    Raises:
        ValueError: for sizes that make no network.

    Example:
        >>> EBENGenerator(m=4, n=32, p=2).num_parameters
        1946240
        >>> [EBENGenerator(width=2, causal=causal).latency_samples for causal in (False, True)]
        [3163, 283]
    """

    channels = ("bone",)

    small = MappingProxyType({"width": 4, "latent": 4})

    def __init__(
        self,
        m: int = 4,
        n: int = 32,
        p: int = 1,
        width: int = 32,
        latent: int = 64,
        equalizer_taps: int = 0,
        initial_gain: float = 1.0,
        causal: bool = False,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        if not 1 <= p <= m:
            raise ValueError(f"eben: p is {p}; it wants 1 to m = {m} input bands")
        if min(width, latent, sample_rate) < 1 or not initial_gain > 0:
            raise ValueError(
                "eben: width, latent, initial_gain and sample_rate have to be positive"
            )
        if equalizer_taps != 0 and not (equalizer_taps % 2 and 0 < equalizer_taps <= MAX_TAPS):
            raise ValueError(
                f"eben: equalizer_taps is {equalizer_taps}; it wants 0 or an odd number up to "
                f"{MAX_TAPS}"
            )
        self.config = {
            "m": m,
            "n": n,
            "p": p,
            "width": width,
            "latent": latent,
            "equalizer_taps": equalizer_taps,
            "initial_gain": initial_gain,
            "causal": causal,
            "sample_rate": sample_rate,
        }
        self.sample_rate, self.causal = sample_rate, causal
        self.p = p
        self.pqmf = PQMF(m, n)
        widths = [width * 2**level for level in range(len(STRIDES) + 1)]
        self.first_conv = _conv(p, width, kernel=3, causal=causal)
        self.encoder_blocks = nn.ModuleList(
            _EncoderBlock(narrow, wide, stride, causal)
            for (narrow, wide), stride in zip(pairwise(widths), STRIDES, strict=True)
        )
        self.latent_conv = nn.Sequential(
            nn.LeakyReLU(),
            weight_norm(_conv(widths[-1], latent, kernel=7, causal=causal)),
            nn.LeakyReLU(),
            weight_norm(_conv(latent, widths[-1], kernel=7, causal=causal)),
            nn.LeakyReLU(),
        )
        self.decoder_blocks = nn.ModuleList(
            _DecoderBlock(wide, narrow, stride, causal)
            for (wide, narrow), stride in zip(pairwise(widths[::-1]), STRIDES[::-1], strict=True)
        )
        self.last_conv = _conv(width, m, kernel=3, causal=causal)
        with torch.no_grad():  # begin near the input bands, rather than bury them in noise
            self.last_conv.weight.mul_(0.01)
            self.first_conv.weight.mul_(initial_gain)
            for name, weights in self.named_parameters():
                if name.endswith("original0") and "residuals" not in name:
                    weights.mul_(initial_gain)
        self.equalizer = _conv(p, m, equalizer_taps, causal=causal) if equalizer_taps else None
        if self.equalizer is not None:
            nn.init.zeros_(self.equalizer.weight)
        self.frame_samples = m * math.prod(STRIDES)
        self.history_samples, self.latency_samples = receptive_field(
            self._layers(), self.frame_samples
        )

    def forward_with_bands(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Return the enhanced speech and its bands, as the published model does.

        Args:
            signal: (B, 1, T), T a valid length.

        Returns:
            speech (B, 1, T) and bands (B, m, (T + n) / m), each within [-1, 1].

        Raises:
            ValueError: if T is not a valid length.
        """
        num_samples = signal.shape[-1]
        if num_samples != self.valid_length(num_samples):
            raise ValueError(
                f"{num_samples} samples do not fill EBEN's frames; "
                f"the next length that does is {self.valid_length(num_samples)}"
            )
        input_bands = self.pqmf.analysis(signal, self.p)
        hidden = self.first_conv(input_bands)
        skips = []
        for encode in self.encoder_blocks:
            hidden = encode(leaky_relu(hidden))
            skips.append(hidden)
        hidden = self.latent_conv(hidden)
        for decode in self.decoder_blocks:
            hidden = decode(hidden + skips.pop())
        hidden = self.last_conv(hidden)
        if self.equalizer is None:
            missing_bands = hidden.shape[1] - self.p
            linear = pad(input_bands, (0, 0, 0, missing_bands))
        else:
            linear = EQUALIZER_PACE * self.equalizer(input_bands)
        bands = torch.tanh(hidden.to(linear) + linear)  # float32, in mixed precision too
        return self.pqmf.synthesis(bands), bands

    def enhance_valid(self, signal: Tensor) -> Tensor:
        return self.forward_with_bands(signal)[0]

    @property
    def last_layer(self) -> Tensor:
        return self.last_conv.weight

    def valid_length(self, num_samples: int) -> int:
        # The bands, (T + n) / m of them, have to divide by all strides, and leave the kernels of
        # 7 at the bottleneck more samples than the 3 that reflect there.
        frames = -(-(num_samples + self.pqmf.num_taps) // self.frame_samples)
        return max(frames, 4) * self.frame_samples - self.pqmf.num_taps

    def _layers(self) -> list[Layer]:
        # The deepest path; the skips and the equalizer stay within its receptive field.
        taps = self.pqmf.num_taps

        def conv(kernel: int, stride: int = 1, dilation: int = 1) -> Layer:
            total = (kernel - 1) * dilation + 1 - stride
            published = stride - 1 if stride > 1 else total // 2
            return Layer(kernel, stride, dilation, left=total if self.causal else published)

        def upsample(stride: int) -> Layer:
            return Layer(2 * stride, stride, left=overhang(stride, self.causal), transposed=True)

        units = [conv(3, dilation=d) for d in DILATIONS]
        return [
            Layer(taps, self.pqmf.num_bands, left=taps - 1),
            conv(3),
            *[layer for s in STRIDES for layer in (*units, conv(2 * s, s))],
            *[conv(7), conv(7)],
            *[layer for s in reversed(STRIDES) for layer in (upsample(s), *units)],
            conv(3),
            Layer(taps, self.pqmf.num_bands, left=taps - 1, transposed=True),
        ]


class _ResidualUnit(nn.Module):
    """x + act(pointwise(dilated(x))): there is no activation between the two."""

    def __init__(self, width: int, dilation: int, causal: bool) -> None:
        super().__init__()
        dilated = _conv(width, width, kernel=3, dilation=dilation, causal=causal)
        self.dilated_conv = weight_norm(dilated)
        self.pointwise_conv = weight_norm(_conv(width, width, kernel=1, causal=causal))

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + leaky_relu(self.pointwise_conv(self.dilated_conv(hidden)))


class _EncoderBlock(nn.Module):
    def __init__(self, narrow: int, wide: int, stride: int, causal: bool) -> None:
        super().__init__()
        self.residuals = nn.Sequential(*[_ResidualUnit(narrow, d, causal) for d in DILATIONS])
        self.conv = weight_norm(_conv(narrow, wide, 2 * stride, stride=stride, causal=causal))

    def forward(self, hidden: Tensor) -> Tensor:
        return self.conv(self.residuals(hidden))


class _DecoderBlock(nn.Module):
    def __init__(self, wide: int, narrow: int, stride: int, causal: bool) -> None:
        super().__init__()
        self.residuals = nn.Sequential(*[_ResidualUnit(narrow, d, causal) for d in DILATIONS])
        self.conv_trans = weight_norm(Upsample(wide, narrow, stride, causal=causal))

    def forward(self, hidden: Tensor) -> Tensor:
        return self.residuals(leaky_relu(self.conv_trans(hidden)))


def _conv(
    inputs: int, outputs: int, kernel: int, *, causal: bool, stride: int = 1, dilation: int = 1
) -> nn.Conv1d:
    if causal:
        return PaddedConv(inputs, outputs, kernel, causal=True, stride=stride, dilation=dilation)
    return nn.Conv1d(
        inputs,
        outputs,
        kernel,
        stride,
        padding="same" if stride == 1 else stride - 1,
        dilation=dilation,
        padding_mode="reflect",
        bias=False,
    )
