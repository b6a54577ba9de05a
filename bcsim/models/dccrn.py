"""DCCRN: a deep complex convolution recurrent network that masks complex spectra.

Hu et al., "DCCRN: deep complex convolution recurrent network for phase-aware speech enhancement",
Interspeech 2020, arXiv 2008.00264; the batch norm of complex numbers is that of Trabelsi et al.,
"Deep complex networks", arXiv 1705.09792.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from bcsim.models import MODELS
from bcsim.models.base import check_channels
from bcsim.models.spectral import Frames, SpectralEnhancer, complex_of

HOP_S = 0.00625  # a window is four hops
NORM_EPSILON, NORM_MOMENTUM = 1e-5, 0.1  # of the complex batch norm, as torch has them
INITIAL_DEVIATION = 0.05  # of the convolutions' weights
_MIN_POWER = 1e-8  # added under the root, whose slope is then finite for a mask of zero

Mask = Literal["E", "C", "R"]
Variant = Literal["original", "asteroid"]


@MODELS.register("dccrn")
class DCCRN(SpectralEnhancer):
    r"""An encoder, a recurrent network and a decoder of complex numbers, which make a mask.

    Every layer has weights A + jB, as two real layers, and works on the real and imaginary parts of
    its input. The spectrum Y of the last channel is multiplied by the mask M: "C" is the complex
    product, "E" bounds its magnitude, :math:`Y \tanh\lvert M\rvert\, M / \lvert M\rvert`, "R"
    multiplies real parts and imaginary parts. Frames of 25 ms every 6.25 ms have Hann windows both
    ways, and an FFT of the next power of two. The lowest bin is not seen, and zero at the output.

    As published, each layer of the decoder drops its first frame, and so looks a frame ahead: 998
    samples with six layers. `causal` drops the last one.

    The published DCCRN-CL has widths 32, 64, 128, 256, 256, 256 and `complex_recurrent`. Other than
    there, samples beyond full scale are not clipped, which would end their gradient, and the
    inverse is that of the FFT.

    The variant "asteroid" is that of the weights `JorisCos/DCCRNet_Libri1Mix_enhsingle_16k`, whose
    tensors have the same names (behind "masker.") and shapes: `DCCRN(widths=(32, 64, 128, 256, 256,
    256), complex_recurrent=True, variant="asteroid")`. It wants mask "E"; its windows are square
    roots of Hann's, its convolutions have no bias and pad no frames, the projection behind the
    recurrent layers is complex, and the highest bin is left out in place of the lowest.

    Args:
        widths: channels of the encoder's layers, half of them real and half imaginary parts; each
            layer halves the bins.
        units: units of each recurrent layer, half of them for either part where it is complex.
        mask: how the mask is applied.
        complex_norm: whether batches are whitened as complex numbers, not normed part by part.
        complex_recurrent: whether the recurrent layers are complex.
        causal: whether the network looks ahead no further than its window.
        variant: layout of the layers.
        relative_level: whether the network sees its input relative to the level of loud speech,
            which the published ones do not.
        channels: input channels, `("bone",)`, or `("bone", "air")` for early fusion.
        sample_rate: sample rate in Hz.

    Raises:
        ValueError: for sizes, channels or a combination of settings that make no network.

    Example:
        >>> DCCRN().num_parameters
        3742349
    """

    small = MappingProxyType({"widths": (4, 8), "units": 4})

    def __init__(
        self,
        widths: Sequence[int] = (16, 32, 64, 128, 256, 256),
        units: int = 256,
        mask: Mask = "E",
        complex_norm: bool = False,
        complex_recurrent: bool = False,
        causal: bool = False,
        variant: Variant = "original",
        relative_level: bool = False,
        channels: Sequence[str] = ("bone",),
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        if min(units, sample_rate, len(widths), *widths) < 1 or any(
            size % 2 for size in (units, *widths)
        ):
            raise ValueError(
                "dccrn: widths and units have to be even numbers above 0, half of them for either "
                "part, and sample_rate positive"
            )
        _check_settings(mask, variant, complex_norm, complex_recurrent, causal)
        check_channels("dccrn", channels)
        self.config = {
            "widths": list(widths),
            "units": units,
            "mask": mask,
            "complex_norm": complex_norm,
            "complex_recurrent": complex_recurrent,
            "causal": causal,
            "variant": variant,
            "relative_level": relative_level,
            "channels": list(channels),
            "sample_rate": sample_rate,
        }
        self.sample_rate, self.channels = sample_rate, tuple(channels)
        self.mask, self.as_asteroid = mask, variant == "asteroid"
        frames = _frames(sample_rate, self.as_asteroid)
        look_ahead = 0 if causal else len(widths)
        self.set_frames(frames, look_ahead, relative_level=relative_level)
        num_bins = frames.fft_size // 2
        if num_bins % 2 ** len(widths):
            raise ValueError(
                f"dccrn: {len(widths)} layers do not halve {num_bins} bins evenly; use fewer widths"
            )
        bias = not self.as_asteroid
        inputs = [len(channels), *(width // 2 for width in widths)]
        features = inputs[-1] * (num_bins // 2 ** len(widths))
        encoders = [_Encoder(*pair, complex_norm, bias) for pair in pairwise(inputs)]
        if complex_recurrent:
            recurrent = _ComplexRecurrent(features, units, complex_product=self.as_asteroid)
        else:
            recurrent = _RealRecurrent(features, units)
        self.encoders = nn.ModuleList([*encoders, recurrent])
        decoders = [
            _Decoder(2 * wide, narrow, complex_norm, bias) for narrow, wide in pairwise(inputs[1:])
        ]
        # The first place is empty: so the public weights count.
        self.decoders = nn.ModuleList([nn.Identity(), *reversed(decoders)])
        self.output_layer = nn.Sequential(_Complex(lambda: _upsample(2 * inputs[1], 1, True)))
        self.apply(_draw)

    def valid_length(self, num_samples: int) -> int:
        if self.as_asteroid:  # each layer of the encoder takes a frame away, and some have to stay
            wanted, edge = len(self.encoders), self.frames.length // self.frames.hop_size - 1
            num_samples = max(num_samples, (wanted - edge) * self.frames.hop_size)
        return super().valid_length(num_samples)

    def enhance_spectra(self, spectra: Tensor) -> Tensor:
        seen = self._seen(spectra).transpose(-2, -1)
        hidden = torch.stack([seen.real, seen.imag])  # (2, B, C, bins, frames)
        *encoders, recurrent = self.encoders
        skips = []
        for encode in encoders:
            # The original sees silence before the first frame; asteroid's frames become fewer.
            hidden = encode(hidden if self.as_asteroid else pad(hidden, (1, 0)))
            skips.append(hidden)
        hidden = recurrent(hidden)
        for decode in [*list(self.decoders)[1:], self.output_layer]:
            hidden = decode(torch.cat([hidden, skips.pop()], dim=2))
            if not self.as_asteroid:
                hidden = hidden[..., :-1] if self.causal else hidden[..., 1:]
        # In mixed precision the layers give half of the precision that spectra have.
        mask = hidden[:, :, 0].transpose(-2, -1).to(seen.real.dtype)
        return self._masked(spectra[:, -1], *pad(mask, (0, 1) if self.as_asteroid else (1, 0)))

    def _seen(self, spectra: Tensor) -> Tensor:
        """Return the bins that the network sees, as large as those that its weights are made for.

        Args:
            spectra: (B, C, frames, F), complex.
        """
        if not self.as_asteroid:
            return spectra[..., 1:]
        fft_size, length, hop = self.frames.fft_size, self.frames.length, self.frames.hop_size
        # Its filters have the norm of a tight frame, the lowest bin half its power, and phases that
        # begin where a whole FFT around the window would.
        bins = torch.arange(fft_size // 2, device=spectra.device, dtype=spectra.real.dtype)
        turned = -2 * math.pi / fft_size * ((fft_size - length) // 2) * bins
        scale = torch.full_like(bins, 2 / math.sqrt(length * fft_size / hop))
        scale[0] /= math.sqrt(2)
        return spectra[..., :-1] * torch.polar(scale, turned)

    def _masked(self, spectrum: Tensor, real: Tensor, imaginary: Tensor) -> Tensor:
        if self.mask == "R":
            return complex_of(spectrum.real * real, spectrum.imag * imaginary)
        if self.mask == "E":
            magnitude = (real.square() + imaginary.square() + _MIN_POWER).sqrt()
            bound = magnitude.tanh() / magnitude
            real, imaginary = real * bound, imaginary * bound
        return spectrum * complex_of(real, imaginary)

    @property
    def last_layer(self) -> Tensor:
        last = self.output_layer[0]
        assert isinstance(last, _Complex)
        weight = last.re_module.weight
        assert isinstance(weight, Tensor)
        return weight


def _check_settings(
    mask: str, variant: str, complex_norm: bool, complex_recurrent: bool, causal: bool
) -> None:
    if mask not in ("E", "C", "R"):
        raise ValueError(f"dccrn: mask is {mask!r}; it wants E, C or R")
    if variant not in ("original", "asteroid"):
        raise ValueError(f"dccrn: variant is {variant!r}; it wants original or asteroid")
    if variant == "asteroid" and (mask != "E" or complex_norm or not complex_recurrent or causal):
        raise ValueError(
            "dccrn: the variant asteroid wants mask E, complex_recurrent, no complex_norm, and is "
            "not causal"
        )


def _frames(sample_rate: int, as_asteroid: bool) -> Frames:
    hop = max(1, round(HOP_S * sample_rate))
    window = np.sin(np.pi * np.arange(4 * hop) / (4 * hop))  # the root of a periodic Hann window
    if not as_asteroid:
        window = window**2
    return Frames(2 ** (4 * hop - 1).bit_length(), hop, window, window)


def _draw(layer: nn.Module) -> None:
    # Without memory there is nothing to draw, and PyTorch loads its compiler to say so.
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and not layer.weight.is_meta:
        nn.init.normal_(layer.weight, std=INITIAL_DEVIATION)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _downsample(inputs: int, outputs: int, bias: bool) -> nn.Module:
    return nn.Conv2d(inputs, outputs, (5, 2), (2, 1), (2, 0), bias=bias)


def _upsample(inputs: int, outputs: int, bias: bool) -> nn.Module:
    return nn.ConvTranspose2d(inputs, outputs, (5, 2), (2, 1), (2, 0), (1, 0), bias=bias)


class _Complex(nn.Module):
    """A layer with weights A + jB: real part A(x) - B(y), imaginary part A(y) + B(x).

    Args:
        make: function that makes a real layer, called for A and for B.
    """

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.re_module, self.im_module = make(), make()

    def forward(self, parts: Tensor) -> Tensor:
        """Return real and imaginary parts (2, B, ...) for the same."""
        both = parts.flatten(0, 1)
        a, b = (layer(both).unflatten(0, (2, -1)) for layer in (self.re_module, self.im_module))
        return torch.stack([a[0] - b[1], a[1] + b[0]])


class _PartByPart(nn.Module):
    """A real layer for the real parts, and one for the imaginary parts."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.re_module, self.im_module = make(), make()

    def forward(self, parts: Tensor) -> Tensor:
        """Return real and imaginary parts (2, B, ...) for the same."""
        return torch.stack([self.re_module(parts[0]), self.im_module(parts[1])])


class _Encoder(nn.Module):
    """A complex convolution that halves the bins, a norm and a slope for negative values."""

    def __init__(self, inputs: int, outputs: int, complex_norm: bool, bias: bool) -> None:
        super().__init__()
        self.conv = _Complex(lambda: _downsample(inputs, outputs, bias))
        self.norm, self.activation = _after_conv(outputs, complex_norm, bias)

    def forward(self, parts: Tensor) -> Tensor:
        return self.activation(self.norm(self.conv(parts)))


class _Decoder(nn.Module):
    """A complex transposed convolution that doubles the bins, a norm and a slope."""

    def __init__(self, inputs: int, outputs: int, complex_norm: bool, bias: bool) -> None:
        super().__init__()
        self.deconv = _Complex(lambda: _upsample(inputs, outputs, bias))
        self.norm, self.activation = _after_conv(outputs, complex_norm, bias)

    def forward(self, parts: Tensor) -> Tensor:
        return self.activation(self.norm(self.deconv(parts)))


def _after_conv(width: int, complex_norm: bool, one_slope: bool) -> tuple[nn.Module, nn.Module]:
    """Return the norm and the activation behind a convolution of `width` complex channels."""
    norm = ComplexBatchNorm(width) if complex_norm else _PartByPart(lambda: nn.BatchNorm2d(width))
    return norm, nn.PReLU() if one_slope else _PartByPart(nn.PReLU)


class ComplexBatchNorm(nn.Module):
    r"""Whitens complex channels over a batch, then applies a symmetric matrix and a shift.

    With the covariance V of the real and imaginary part, :math:`y = W V^{-1/2} (x - \mu) + b`. As
    it begins, W is the identity.

    Args:
        width: number of complex channels.
    """

    mean: Tensor
    covariance: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        # Entries (rr, ri, ii) of the symmetric matrices of each channel.
        identity = torch.tensor([1.0, 0.0, 1.0])[:, None].repeat(1, width)
        self.weight = nn.Parameter(identity)
        self.bias = nn.Parameter(torch.zeros(2, width))
        self.register_buffer("mean", torch.zeros(2, width))
        self.register_buffer("covariance", identity.clone())

    def forward(self, parts: Tensor) -> Tensor:
        """Return real and imaginary parts (2, B, width, bins, frames) for the same."""
        parts = parts.to(self.weight.dtype)  # of half precision, variances would be rough
        mean, covariance = self.mean, self.covariance
        if self.training:
            axes = (-4, -2, -1)  # all but the part and the channel
            mean = parts.mean(axes)
            real, imaginary = parts - _by_channel(mean)
            products = torch.stack([real.square(), real * imaginary, imaginary.square()])
            covariance = products.mean(axes)
            with torch.no_grad():
                self.mean.lerp_(mean, NORM_MOMENTUM)
                self.covariance.lerp_(covariance, NORM_MOMENTUM)
        rr, ri, ii = covariance
        rr, ii = rr + NORM_EPSILON, ii + NORM_EPSILON
        # By Cayley and Hamilton the root of V is (V + s I) / t, s^2 being its determinant and t^2
        # its trace plus 2 s. V + s I has the determinant s t^2: this is the inverse of the root.
        s = (rr * ii - ri.square()).clamp(min=NORM_EPSILON**2).sqrt()
        t = (rr + ii + 2 * s).sqrt()
        white = [(ii + s) / (s * t), -ri / (s * t), (rr + s) / (s * t)]
        wrr, wri, wii = self.weight
        matrix = torch.stack(
            [
                wrr * white[0] + wri * white[1],
                wrr * white[1] + wri * white[2],
                wri * white[0] + wii * white[1],
                wri * white[1] + wii * white[2],
            ]
        )
        a, b, c, d = _by_channel(matrix)
        real, imaginary = parts - _by_channel(mean)
        turned = torch.stack([a * real + b * imaginary, c * real + d * imaginary])
        return turned + _by_channel(self.bias)


def _by_channel(values: Tensor) -> Tensor:
    """Return (N, 1, width, 1, 1) for (N, width)."""
    return values[:, None, :, None, None]


class _LSTM(nn.Module):
    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(inputs, units, batch_first=True)

    def forward(self, sequence: Tensor) -> Tensor:
        return self.rnn(sequence)[0]


class _Stack(nn.Module):
    """Two recurrent layers of complex numbers, mixed after each of them."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.rnns = nn.ModuleList(
            _Complex(lambda size=size: _LSTM(size, units)) for size in (inputs, units)
        )

    def forward(self, parts: Tensor) -> Tensor:
        for layer in self.rnns:
            parts = layer(parts)
        return parts


class _ComplexRecurrent(nn.Module):
    """Two complex recurrent layers and a projection over time.

    Args:
        features: complex channels times bins.
        units: units of the layers, of both parts together.
        complex_product: whether the projection is complex, not one for either part.
    """

    def __init__(self, features: int, units: int, complex_product: bool) -> None:
        super().__init__()
        self.rnn = _Stack(features, units // 2)
        kind = _Complex if complex_product else _PartByPart
        self.linear = kind(lambda: nn.Linear(units // 2, features))

    def forward(self, parts: Tensor) -> Tensor:
        sequence = parts.permute(0, 1, 4, 2, 3).flatten(3)
        found = self.linear(self.rnn(sequence))
        return found.unflatten(3, parts.shape[2:4]).permute(0, 1, 3, 4, 2)


class _RealRecurrent(nn.Module):
    """Two recurrent layers and a projection over time, of all parts together."""

    def __init__(self, features: int, units: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(2 * features, units, 2, batch_first=True)
        self.linear = nn.Linear(units, 2 * features)

    def forward(self, parts: Tensor) -> Tensor:
        sequence = parts.permute(1, 4, 0, 2, 3).flatten(2)
        found = self.linear(self.rnn(sequence)[0])
        return found.unflatten(2, (2, *parts.shape[2:4])).permute(2, 0, 3, 4, 1)
