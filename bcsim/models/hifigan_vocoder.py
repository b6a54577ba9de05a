"""HiFi-GAN: a vocoder, here from the sensor's own log-mel spectrum.

Kong, Kim and Bae, "HiFi-GAN: generative adversarial networks for efficient and high fidelity speech
synthesis", NeurIPS 2020, arXiv 2010.05646.
"""

import math
from collections.abc import Sequence
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad
from torch.nn.utils.parametrizations import weight_norm

from bcsim.dsp.mel import mel_bank
from bcsim.dsp.spectra import power_of
from bcsim.models import MODELS
from bcsim.models.base import Enhancer
from bcsim.models.receptive_field import Layer, receptive_field

EDGE_KERNEL = 7  # of the first and the last convolution
SLOPE, LAST_SLOPE = 0.1, 0.01  # of the leaky rectifiers; the last one has torch's own
INITIAL_STD = 0.01  # of all weights but the first convolution's
POWER_FLOOR = 1e-9  # added under the root, whose slope is then finite in silence
MEL_FLOOR = 1e-5
MAX_HOP = 16_384
MAPPER_KERNEL, MAPPER_LAYERS = 5, 2


@MODELS.register("hifigan_vocoder")
class HiFiGANVocoder(Enhancer):
    """The generator of HiFi-GAN behind a log-mel spectrum, from waveform to waveform.

    Each level raises the rate of the spectrum's frames by a transposed convolution that halves the
    channels, and takes the mean of residual blocks with kernels of different lengths. The sensor's
    phase is not used. The output leaves through a hyperbolic tangent: targets should lie within
    [-1, 1]. Silence lies around the signal, where the published spectrum reflects it.

    With `mapper_units` there are two stages: a recurrent network first maps the log-mel spectrum of
    the sensor to that of air, to which it adds what it predicts. The generator may then learn from
    air alone, and be frozen while the mapper learns.

    The sizes of the paper are V1 `width=512`, V2 `width=128` and V3 `width=256, strides=(8, 8, 4),
    kernels=(3, 5, 7), dilations=((1, 2), (2, 6), (3, 12)), paired=False`.

    Args:
        width: channels of the first convolution; each level halves them.
        strides: factors by which the levels raise the rate, even numbers; their product is the hop
            of the spectrum in samples.
        kernels: lengths of the kernels of a level's residual blocks, odd numbers.
        dilations: dilations of the convolutions of each block, in the order of `kernels`.
        paired: whether an undilated convolution follows each dilated one.
        num_mels: number of mel bands.
        fft_size: size of the FFT and length of the window, in samples.
        mapper_units: units of each direction of the recurrent network; 0 for none.
        sample_rate: sample rate in Hz.

    Raises:
        ValueError: for sizes that make no network, or mel bands that are narrower than the bins.

    Example:
        >>> HiFiGANVocoder().num_parameters
        928514
    """

    channels = ("bone",)
    causal = False

    small = MappingProxyType(
        {"width": 8, "strides": (2, 4), "kernels": (3, 5), "dilations": ((1, 2), (1, 3)),
         "num_mels": 8, "fft_size": 256}
    )  # fmt: skip

    window: Tensor
    bank: Tensor

    def __init__(
        self,
        width: int = 128,
        strides: Sequence[int] = (8, 8, 2, 2),
        kernels: Sequence[int] = (3, 7, 11),
        dilations: Sequence[Sequence[int]] = ((1, 3, 5), (1, 3, 5), (1, 3, 5)),
        paired: bool = True,
        num_mels: int = 80,
        fft_size: int = 1024,
        mapper_units: int = 0,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        _check_sizes(width, strides, kernels, dilations, fft_size)
        if min(num_mels, sample_rate) < 1 or mapper_units < 0:
            raise ValueError(
                "hifigan_vocoder: num_mels and sample_rate have to be positive, mapper_units 0 or "
                "more"
            )
        self.config = {
            "width": width,
            "strides": list(strides),
            "kernels": list(kernels),
            "dilations": [list(block) for block in dilations],
            "paired": paired,
            "num_mels": num_mels,
            "fft_size": fft_size,
            "mapper_units": mapper_units,
            "sample_rate": sample_rate,
        }
        self.sample_rate, self.fft_size = sample_rate, fft_size
        self.frame_samples = math.prod(strides)
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(fft_size) / fft_size)
        self.register_buffer("window", torch.from_numpy(window).float(), persistent=False)
        bank = mel_bank(sample_rate, fft_size, num_mels).T.contiguous()
        self.register_buffer("bank", bank, persistent=False)
        self.mapper = _Mapper(num_mels, mapper_units) if mapper_units else None
        self.generator = _Generator(
            num_mels, width, strides, list(zip(kernels, dilations, strict=True)), paired
        )
        if mapper_units:
            self.history_samples = self.latency_samples = None
        else:
            self.history_samples, self.latency_samples = receptive_field(
                self._layers(), self.frame_samples
            )

    def log_mel(self, signal: Tensor) -> Tensor:
        """Return the natural logarithm of mel magnitudes, (..., M, T / hop), at least ln 1e-5.

        Args:
            signal: (..., T), T a valid length.
        """
        edge = (self.fft_size - self.frame_samples) // 2
        frames = pad(signal, (edge, edge)).unfold(-1, self.fft_size, self.frame_samples)
        magnitude = (power_of(torch.fft.rfft(frames * self.window)) + POWER_FLOOR).sqrt()
        return (magnitude @ self.bank).clamp(min=MEL_FLOOR).log().transpose(-1, -2)

    def enhance_valid(self, signal: Tensor) -> Tensor:
        mels = self.log_mel(signal[:, 0])
        if self.mapper is not None:
            mels = mels + self.mapper(mels)
        return self.generator(mels)

    @property
    def last_layer(self) -> Tensor:
        return dict(self.generator.last_conv.named_parameters())[
            "parametrizations.weight.original1"
        ]

    def _layers(self) -> list[Layer]:
        edge = (self.fft_size - self.frame_samples) // 2
        # The first sample of a Hann window is zero.
        spectrum = Layer(self.fft_size - 1, self.frame_samples, left=edge - 1)
        around = Layer(EDGE_KERNEL, left=EDGE_KERNEL // 2)
        # The widest of the blocks, of which the mean is taken.
        span = max(
            kernel // 2 * (sum(block) + self.config["paired"] * len(block))
            for kernel, block in zip(self.config["kernels"], self.config["dilations"], strict=True)
        )
        levels = []
        for stride in self.config["strides"]:
            levels.append(Layer(2 * stride, stride, left=stride // 2, transposed=True))
            levels.append(Layer(2 * span + 1, left=span))
        return [spectrum, around, *levels, around]


class _Mapper(nn.Module):
    """A convolution over five frames and a bidirectional recurrent network, as envelope_mapper."""

    def __init__(self, num_mels: int, units: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(num_mels, units, MAPPER_KERNEL, padding=MAPPER_KERNEL // 2)
        self.recurrent = nn.GRU(units, units, MAPPER_LAYERS, batch_first=True, bidirectional=True)
        self.levels = nn.Linear(2 * units, num_mels)

    def forward(self, mels: Tensor) -> Tensor:
        """Return what to add to log-mel spectra (B, M, frames), the same shape."""
        # From 0 in silence, which lies around the signal, to about 1 at full scale.
        relative = 1 - mels / math.log(MEL_FLOOR)
        hidden = torch.relu(self.convolution(relative)).transpose(1, 2)
        added = self.levels(self.recurrent(hidden)[0]).transpose(1, 2)
        return -math.log(MEL_FLOOR) * added


class _Generator(nn.Module):
    def __init__(
        self,
        num_mels: int,
        width: int,
        strides: Sequence[int],
        blocks: Sequence[tuple[int, Sequence[int]]],
        paired: bool,
    ) -> None:
        super().__init__()
        self.first_conv = weight_norm(nn.Conv1d(num_mels, width, EDGE_KERNEL))
        self.levels = nn.ModuleList(
            _Level(width // 2**number, stride, blocks, paired)
            for number, stride in enumerate(strides)
        )
        self.last_conv = _conv(width // 2 ** len(strides), 1, EDGE_KERNEL)

    def forward(self, mels: Tensor) -> Tensor:
        """Return the signal (B, 1, T) of log-mel spectra (B, M, frames)."""
        edge = EDGE_KERNEL // 2
        hidden = self.first_conv(pad(mels, (edge, edge), value=math.log(MEL_FLOOR)))
        for level in self.levels:
            hidden = level(leaky_relu(hidden, SLOPE))
        return torch.tanh(self.last_conv(leaky_relu(hidden, LAST_SLOPE)))


class _Level(nn.Module):
    """A transposed convolution, and the mean of residual blocks."""

    def __init__(
        self, inputs: int, stride: int, blocks: Sequence[tuple[int, Sequence[int]]], paired: bool
    ) -> None:
        super().__init__()
        width = inputs // 2
        # Twice the stride: every output gets the same number of taps.
        upsample = nn.ConvTranspose1d(inputs, width, 2 * stride, stride, padding=stride // 2)
        self.upsample = _with_small_weights(upsample)
        self.blocks = nn.ModuleList(_Block(width, *block, paired) for block in blocks)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = self.upsample(hidden)
        return torch.stack([block(hidden) for block in self.blocks]).mean(0)


class _Block(nn.Module):
    """Residual units: a dilated convolution each, and an undilated one behind it if `paired`."""

    def __init__(self, width: int, kernel: int, dilations: Sequence[int], paired: bool) -> None:
        super().__init__()
        pairs = [[dilation, 1] if paired else [dilation] for dilation in dilations]
        self.units = nn.ModuleList(
            nn.ModuleList(_conv(width, width, kernel, dilation) for dilation in unit)
            for unit in pairs
        )

    def forward(self, hidden: Tensor) -> Tensor:
        for unit in self.units:
            added = hidden
            assert isinstance(unit, nn.ModuleList)
            for conv in unit:
                added = conv(leaky_relu(added, SLOPE))
            hidden = hidden + added
        return hidden


def _conv(inputs: int, outputs: int, kernel: int, dilation: int = 1) -> nn.Module:
    conv = nn.Conv1d(inputs, outputs, kernel, dilation=dilation, padding=kernel // 2 * dilation)
    return _with_small_weights(conv)


def _with_small_weights(conv: nn.Conv1d | nn.ConvTranspose1d) -> nn.Module:
    nn.init.normal_(conv.weight, std=INITIAL_STD)
    return weight_norm(conv)


def _check_sizes(
    width: int,
    strides: Sequence[int],
    kernels: Sequence[int],
    dilations: Sequence[Sequence[int]],
    fft_size: int,
) -> None:
    """Raise a ValueError unless the sizes make a generator and a spectrum of its hop."""
    hop = math.prod(strides)
    problem = None
    if not strides or any(stride < 2 or stride % 2 for stride in strides) or hop > MAX_HOP:
        problem = f"strides {list(strides)}; they have to be even, their product {MAX_HOP} at most"
    elif width < 1 or width % 2 ** len(strides):
        problem = f"width {width}; {len(strides)} levels halve it to a whole number"
    elif not kernels or any(kernel < 1 or kernel % 2 == 0 for kernel in kernels):
        problem = f"kernels {list(kernels)}; they have to be odd"
    elif len(dilations) != len(kernels) or any(min(block, default=0) < 1 for block in dilations):
        problem = f"dilations of {len(dilations)} blocks; give some for each of {len(kernels)}"
    elif fft_size < hop or (fft_size - hop) % 2:
        problem = f"fft_size {fft_size}; it wants {hop} or more, and an even difference from it"
    if problem is not None:
        raise ValueError(f"hifigan_vocoder: {problem}")
