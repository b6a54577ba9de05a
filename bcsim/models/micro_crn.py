"""A causal network of some 25,000 parameters for microcontrollers, of grouped and separable layers.

After Rong, Sun, Zhang, Hu, Zhu and Lu, "GTCRN: a speech enhancement model requiring ultralow
computational resources", ICASSP 2024, doi 10.1109/ICASSP48485.2024.10448310.
"""

from collections.abc import Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bcsim.dsp.spectra import power_of
from bcsim.models import MODELS
from bcsim.models.base import check_channels
from bcsim.models.spectral import SpectralEnhancer, complex_of, sine_frames

LATENCIES_MS = (8, 16, 32, 64)
DILATIONS = (1, 2, 5)  # in frames, of the three taps of the convolutions over time
GROUPS = 2  # of recurrent layers
COMPRESSION = 0.3  # power of the magnitudes that the network sees: soft bands count, too
SCALE_DB = 20.0
MAX_GAIN_DB = 40.0
_HISTORIES = [2 * dilation for dilation in DILATIONS] * 2  # frames, of encoder and decoder
_MIN_POWER = 1e-12  # added under the root, whose slope is then finite in silence


class MicroState(NamedTuple):
    """What the network keeps from one frame to the next, for B signals.

    Args:
        convolved: last inputs of the convolutions over time, (B, width, frames, bands): the frames
            of one convolution after the other, those of the encoder first.
        attention: state of the attention over time, (2 len(DILATIONS), B, width).
        recurrent: state of the recurrent networks over time, (num_paths, B, bands, width).
    """

    convolved: Tensor
    attention: Tensor
    recurrent: Tensor


@MODELS.register("micro_crn")
class MicroCRN(SpectralEnhancer):
    """An encoder, recurrent networks over bands and time in turn, and a decoder of band gains.

    Frames have square-root Hann windows as long as `latency_ms`, of two hops. The lowest quarter of
    the bins are bands of their own; those above are merged, three into one on average, into bands
    that are equally wide on the scale of equivalent rectangular bandwidths (ERB). The network sees
    their compressed magnitudes, real and imaginary parts, halves the bands twice, and predicts
    for each band a complex factor near 1 and a gain within 40 dB. Interpolated over the bins, they
    multiply the spectrum of the last channel.

    Half of the channels pass a block untouched; the other half go through a separable convolution
    over the frames so far, and are weighed by a recurrent network that sees their energy. Whatever
    is kept from frame to frame is in a `MicroState`, the level of loud speech apart, which
    `relative_level=False` does without.

    Unlike the published network, it takes compressed spectra, has plain convolutions in place of
    transposed ones over time, and gains that may raise a band by far, as a sensor needs them.

    Args:
        latency_ms: length of the windows, and so the algorithmic latency, in ms: 8, 16, 32 or 64.
        width: channels, a multiple of 4.
        num_paths: number of recurrent networks over bands and time.
        relative_level: whether the network sees its input relative to the level of loud speech.
        channels: input channels, `("bone",)`, or `("bone", "air")` for early fusion.
        sample_rate: sample rate in Hz.

    Raises:
        ValueError: for sizes or channels that make no network.

    Example:
        >>> [MicroCRN(latency_ms).num_parameters for latency_ms in (8, 16, 32, 64)]
        [21474, 22498, 24546, 28642]
    """

    small = MappingProxyType({"latency_ms": 8, "width": 4, "num_paths": 1})

    merge: Tensor
    spread: Tensor

    def __init__(
        self,
        latency_ms: int = 32,
        width: int = 16,
        num_paths: int = 2,
        relative_level: bool = True,
        channels: Sequence[str] = ("bone",),
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        if latency_ms not in LATENCIES_MS:
            raise ValueError(f"micro_crn: latency_ms is {latency_ms}; it wants 8, 16, 32 or 64")
        if min(width, num_paths) < 1 or width % (2 * GROUPS) or sample_rate < 8000:
            raise ValueError(
                f"micro_crn: width {width}, num_paths {num_paths}, sample_rate {sample_rate}; it "
                f"wants a multiple of {2 * GROUPS}, 1 or more, and 8000 Hz or more"
            )
        check_channels("micro_crn", channels)
        self.config = {
            "latency_ms": latency_ms,
            "width": width,
            "num_paths": num_paths,
            "relative_level": relative_level,
            "channels": list(channels),
            "sample_rate": sample_rate,
        }
        self.sample_rate, self.channels = sample_rate, tuple(channels)
        length = 16 * round(latency_ms * sample_rate / 16_000)
        self.set_frames(sine_frames(length), relative_level=relative_level)
        spread = erb_interpolation(length, sample_rate)
        banks = {"spread": spread, "merge": (spread / spread.sum(1, keepdims=True)).T}
        for name, bank in banks.items():
            self.register_buffer(name, torch.from_numpy(bank).float(), persistent=False)
        self.width, self.num_bands = width, length // 16 + 1
        self.down = nn.ModuleList(
            _activated(nn.Conv2d(inputs, width, (1, 5), (1, 2), (0, 2)), width)
            for inputs in (3 * len(channels), width)
        )
        self.encoder = nn.ModuleList(_TimeBlock(width, dilation) for dilation in DILATIONS)
        self.paths = nn.ModuleList(_DualPath(width, self.num_bands) for _ in range(num_paths))
        self.decoder = nn.ModuleList(_TimeBlock(width, dilation) for dilation in DILATIONS)
        self.up = _activated(nn.ConvTranspose2d(width, width, (1, 5), (1, 2), (0, 2)), width)
        self.factors = nn.ConvTranspose2d(width, 3, (1, 5), (1, 2), (0, 2))

    def initial_state(self, batch: int) -> MicroState:
        """Return the state before the first frame of `batch` signals."""
        zeros = self.factors.weight.new_zeros
        return MicroState(
            zeros(batch, self.width, sum(_HISTORIES), self.num_bands),
            zeros(2 * len(DILATIONS), batch, self.width),
            zeros(len(self.paths), batch, self.num_bands, self.width),
        )

    def advance(self, spectra: Tensor, state: MicroState) -> tuple[Tensor, MicroState]:
        """Enhance the next frames of signals.

        Args:
            spectra: spectra of the next frames, (B, C, frames, F), complex.
            state: state after the frame before them.

        Returns:
            The spectra (B, frames, F) of speech, and the state after the last of the frames.
        """
        hidden, skips = self._features(spectra), []
        for down in self.down:
            hidden = down(hidden)
            skips.append(hidden)
        histories = state.convolved.split(_HISTORIES, dim=2)
        attended = state.attention.unbind()
        half = len(DILATIONS)
        kept, recurrent = [], []
        for block, *before in zip(self.encoder, histories[:half], attended[:half], strict=True):
            hidden, *after = block(hidden, *before)
            skips.append(hidden)
            kept.append(after)
        for path, before in zip(self.paths, state.recurrent, strict=True):
            hidden, after = path(hidden, before)
            recurrent.append(after)
        for block, *before in zip(self.decoder, histories[half:], attended[half:], strict=True):
            hidden, *after = block(hidden + skips.pop(), *before)
            kept.append(after)
        hidden = self.up(hidden + skips.pop())
        predicted = self.factors(hidden + skips.pop())
        convolved, attention = zip(*kept, strict=True)
        state = MicroState(torch.cat(convolved, 2), torch.stack(attention), torch.stack(recurrent))
        return spectra[:, -1] * self._factors(predicted), state

    def enhance_spectra(self, spectra: Tensor) -> Tensor:
        return self.advance(spectra, self.initial_state(len(spectra)))[0]

    def _features(self, spectra: Tensor) -> Tensor:
        power = power_of(spectra) @ self.merge + _MIN_POWER
        loudness = power ** ((COMPRESSION - 1) / 2)
        parts = [power.sqrt(), spectra.real @ self.merge, spectra.imag @ self.merge]
        return torch.cat([part * loudness for part in parts], dim=1)

    def _factors(self, predicted: Tensor) -> Tensor:
        """Return complex factors (B, frames, F) for what was predicted, (B, 3, frames, bands)."""
        gain_db = (SCALE_DB * predicted[:, 2]).clamp(-MAX_GAIN_DB, MAX_GAIN_DB)
        real, imaginary, gain_db = (
            part @ self.spread for part in (1 + predicted[:, 0], predicted[:, 1], gain_db)
        )
        return complex_of(real, imaginary) * 10 ** (gain_db / 20)

    @property
    def last_layer(self) -> Tensor:
        return self.factors.weight


class _TimeBlock(nn.Module):
    """A separable convolution over frames and bands for half of the channels, with attention."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        half = width // 2
        self.widen = _activated(nn.Conv2d(half, width, (1, 3), padding=(0, 1)), width)
        over_time = nn.Conv2d(
            width, width, (3, 3), padding=(0, 1), dilation=(dilation, 1), groups=width
        )
        self.over_time = _activated(over_time, width)
        self.narrow = nn.Sequential(nn.Conv2d(width, half, 1), nn.BatchNorm2d(half))
        self.attention = nn.GRU(half, width, batch_first=True)
        self.weights = nn.Linear(width, half)

    def forward(
        self, hidden: Tensor, history: Tensor, attended: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        kept, changed = hidden.chunk(2, dim=1)
        context = torch.cat([history, self.widen(changed)], dim=2)
        changed = self.narrow(self.over_time(context))
        energy = changed.square().mean(-1).transpose(1, 2)
        found, after = self.attention(energy, attended[None].contiguous())
        changed = changed * torch.sigmoid(self.weights(found)).transpose(1, 2)[..., None]
        # Interleaved, so that the next block changes half of what this one kept.
        mixed = torch.stack([kept, changed], dim=2).flatten(1, 2)
        return mixed, context[:, :, -history.shape[2] :], after[0]


class _DualPath(nn.Module):
    """Grouped recurrent networks over the bands of each frame, and over the frames of each band."""

    def __init__(self, width: int, bands: int) -> None:
        super().__init__()
        size = width // GROUPS
        self.over_bands = nn.ModuleList(
            nn.GRU(size, size // 2, batch_first=True, bidirectional=True) for _ in range(GROUPS)
        )
        self.over_frames = nn.ModuleList(
            nn.GRU(size, size, batch_first=True) for _ in range(GROUPS)
        )
        self.mixes = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm([bands, width]) for _ in range(2))

    def forward(self, hidden: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, width, frames, bands) for the same, and the state (B, bands, width)."""
        batch, _, frames, bands = hidden.shape
        hidden = hidden.permute(0, 2, 3, 1)
        parts = hidden.flatten(0, 1).chunk(GROUPS, dim=-1)
        found = [group(part)[0] for group, part in zip(self.over_bands, parts, strict=True)]
        added = self.mixes[0](torch.cat(found, dim=-1)).unflatten(0, (batch, frames))
        hidden = hidden + self.norms[0](added)
        parts = hidden.transpose(1, 2).flatten(0, 1).chunk(GROUPS, dim=-1)
        states = state.flatten(0, 1).chunk(GROUPS, dim=-1)
        found = [
            group(part, before[None].contiguous())
            for group, part, before in zip(self.over_frames, parts, states, strict=True)
        ]
        added = self.mixes[1](torch.cat([outputs for outputs, _ in found], dim=-1))
        hidden = hidden + self.norms[1](added.unflatten(0, (batch, bands)).transpose(1, 2))
        state = torch.cat([after[0] for _, after in found], dim=-1).unflatten(0, (batch, bands))
        return hidden.permute(0, 3, 1, 2), state


def erb_interpolation(fft_size: int, sample_rate: int) -> NDArray[np.float64]:
    """Return the weights that interpolate values of bands over the bins of an FFT.

    The lowest fft_size / 8 + 1 bands are bins; fft_size / 8 more are equally spaced on the scale of
    equivalent rectangular bandwidths from there to half the sample rate (Glasberg and Moore 1990,
    doi 10.1016/0378-5955(90)90170-T): 21.4 log10(1 + 0.00437 f).

    Args:
        fft_size: size of the FFT in samples, a multiple of 8.
        sample_rate: sample rate in Hz.

    Returns:
        (bands, F) with columns of sum 1; bands = fft_size / 4 + 1, F = fft_size / 2 + 1.
    """
    bins = 21.4 * np.log10(1 + 0.00437 * np.arange(fft_size // 2 + 1) * sample_rate / fft_size)
    count = fft_size // 8
    knots = np.concatenate([bins[:count], np.linspace(bins[count], bins[-1], count + 1)])
    return np.stack([np.interp(bins, knots, band) for band in np.eye(len(knots))])


def _activated(convolution: nn.Module, width: int) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.PReLU())
