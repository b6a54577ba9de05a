"""DPCRN: a dual-path convolutional recurrent network that masks complex spectra, causal.

Le, Chen, Chen and Lu, "DPCRN: dual-path convolution recurrent network for single channel speech
enhancement", Interspeech 2021, arXiv 2107.05429.
"""

from collections.abc import Sequence
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from bcsim.models import MODELS
from bcsim.models.base import check_channels
from bcsim.models.spectral import SpectralEnhancer, complex_of, sine_frames

WINDOW_S = 0.025
EPSILON = 1e-3  # of the norms, as the published weights have it
BATCH_MOMENTUM = 0.01


@MODELS.register("dpcrn")
class DPCRN(SpectralEnhancer):
    """An encoder, recurrent networks over the bins and over time in turn, and a decoder of a mask.

    The spectrum of the last channel is multiplied by a complex mask. Convolutions look at a frame
    and the one before; the first two halve the bins. Each of the dual paths runs both ways over the
    bins of a frame, then forward over the frames of a bin; what each adds to its input is normed
    over bins and features of a frame. Frames of 25 ms every 12.5 ms have sine windows both ways.

    The published weights were trained with gates of `clip(x / 5 + 1 / 2, 0, 1)` in place of a
    sigmoid, which take a step of Python for every step of the recurrence.

    Args:
        widths: channels of the encoder's layers, of which the first two halve the bins.
        num_paths: number of dual paths.
        hard_gates: whether the gates are piecewise linear, as in the published weights.
        relative_level: whether the network sees its input relative to the level of loud speech,
            which the published one does not.
        channels: input channels, `("bone",)`, or `("bone", "air")` for early fusion.
        sample_rate: sample rate in Hz.

    Raises:
        ValueError: for sizes or channels that make no network.

    Example:
        >>> sum(weights.numel() for weights in DPCRN().parameters() if weights.requires_grad)
        803750
    """

    small = MappingProxyType({"widths": (2, 2, 4), "num_paths": 1})

    def __init__(
        self,
        widths: Sequence[int] = (32, 32, 32, 64, 128),
        num_paths: int = 2,
        hard_gates: bool = True,
        relative_level: bool = False,
        channels: Sequence[str] = ("bone",),
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        if min(num_paths, sample_rate, *widths) < 1 or len(widths) < 2 or widths[-1] % 2:
            raise ValueError(
                "dpcrn: num_paths and sample_rate have to be positive, and widths two or more "
                "positive numbers, the last of them even"
            )
        check_channels("dpcrn", channels)
        self.config = {
            "widths": list(widths),
            "num_paths": num_paths,
            "hard_gates": hard_gates,
            "relative_level": relative_level,
            "channels": list(channels),
            "sample_rate": sample_rate,
        }
        self.sample_rate, self.channels = sample_rate, tuple(channels)
        length = 2 * round(WINDOW_S * sample_rate / 2)
        self.set_frames(sine_frames(length), relative_level=relative_level)
        bins = [length // 2 + 1]
        bins += [bins[0] // 2, bins[0] // 4]
        if bins[-1] < 1:
            raise ValueError(f"dpcrn: {sample_rate} Hz leave no bins; use a higher sample_rate")
        inputs = 2 * len(channels)
        self.norm = nn.LayerNorm([bins[0], inputs], EPSILON)
        kernels = [5, 3] + [3] * (len(widths) - 2)
        strides = [2, 2] + [1] * (len(widths) - 2)
        self.encoder = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, (2, kernel), (1, stride)), *_activation(b))
            for a, b, kernel, stride in zip(
                [inputs, *widths], widths, kernels, strides, strict=False
            )
        )
        self.paths = nn.ModuleList(
            _DualPath(widths[-1], bins[-1], hard_gates) for _ in range(num_paths)
        )
        outputs = [2, *widths]
        self.decoder = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(
                    2 * widths[level], outputs[level], (2, kernels[level]), (1, strides[level])
                ),
                *(_activation(outputs[level]) if level else ()),
            )
            for level in reversed(range(len(widths)))
        )
        self._bins = [bins[0], bins[1], *[bins[2]] * (len(widths) - 1)]

    def enhance_spectra(self, spectra: Tensor) -> Tensor:
        parts = torch.cat([spectra.real, spectra.imag], dim=1)
        hidden = self.norm(parts.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        skips = []
        for level, encode in enumerate(self.encoder):
            edge = [(0, 2), (0, 1)][level] if level < 2 else (1, 1)  # of the bins
            hidden = encode(pad(hidden, (*edge, 1, 0)))
            skips.append(hidden)
        hidden = hidden.permute(0, 2, 3, 1)
        for path in self.paths:
            hidden = path(hidden)
        hidden = hidden.permute(0, 3, 1, 2)
        for level, decode in zip(reversed(range(len(skips))), self.decoder, strict=True):
            hidden = torch.cat([hidden, skips.pop()], dim=1)
            assert isinstance(decode, nn.Sequential)
            conv, *activation = decode
            first = 0 if level < 2 else 1
            # What it says of the frame after the last is dropped: nothing looks ahead.
            hidden = conv(hidden)[:, :, :-1, first : first + self._bins[level]]
            for layer in activation:
                hidden = layer(hidden)
        return spectra[:, -1] * complex_of(hidden[:, 0], hidden[:, 1])

    @property
    def last_layer(self) -> Tensor:
        last = self.decoder[-1]
        assert isinstance(last, nn.Sequential)
        weight = last[0].weight
        assert isinstance(weight, Tensor)
        return weight


class _DualPath(nn.Module):
    """A recurrent network over the bins of each frame, and one over the frames of each bin."""

    def __init__(self, width: int, bins: int, hard_gates: bool) -> None:
        super().__init__()
        self.over_bins = _LSTM(width, width // 2, bidirectional=True, hard_gates=hard_gates)
        self.over_frames = _LSTM(width, width, bidirectional=False, hard_gates=hard_gates)
        self.mixes = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm([bins, width], EPSILON) for _ in range(2))

    def forward(self, hidden: Tensor) -> Tensor:
        """Return (B, frames, bins, width) for the same."""
        batch, frames = hidden.shape[:2]
        added = self.over_bins(hidden.flatten(0, 1)).unflatten(0, (batch, frames))
        hidden = hidden + self.norms[0](self.mixes[0](added))
        added = self.over_frames(hidden.transpose(1, 2).flatten(0, 1))
        added = added.unflatten(0, (batch, -1)).transpose(1, 2)
        return hidden + self.norms[1](self.mixes[1](added))


class _LSTM(nn.LSTM):
    """A recurrent layer with one bias a gate, whose gates may be piecewise linear."""

    def __init__(self, inputs: int, units: int, bidirectional: bool, hard_gates: bool) -> None:
        super().__init__(inputs, units, batch_first=True, bidirectional=bidirectional)
        self.hard_gates = hard_gates
        for name, weights in self.named_parameters():
            if name.startswith("bias_hh"):  # the other one is enough
                weights.requires_grad_(False).zero_()

    def forward(self, sequence: Tensor) -> Tensor:  # type: ignore[override]
        """Return the outputs (B, steps, units or twice as many) for (B, steps, inputs)."""
        if not self.hard_gates:
            return super().forward(sequence)[0]
        found = [self._run(sequence, "")]
        if self.bidirectional:
            found.append(self._run(sequence.flip(1), "_reverse").flip(1))
        return torch.cat(found, dim=-1)

    def _run(self, sequence: Tensor, direction: str) -> Tensor:
        weights, recurrent, bias = (
            getattr(self, f"{name}_l0{direction}") for name in ("weight_ih", "weight_hh", "bias_ih")
        )
        inputs = sequence @ weights.T + bias
        state = cell = inputs.new_zeros(len(inputs), self.hidden_size)
        outputs = []
        for step in inputs.unbind(1):
            gates = (step + state @ recurrent.T).chunk(4, dim=-1)
            write, forget, read = ((0.2 * gates[k] + 0.5).clamp(0, 1) for k in (0, 1, 3))
            cell = forget * cell + write * gates[2].tanh()
            state = read * cell.tanh()
            outputs.append(state)
        return torch.stack(outputs, dim=1)


def _activation(width: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm2d(width, EPSILON, BATCH_MOMENTUM), nn.PReLU(width)
