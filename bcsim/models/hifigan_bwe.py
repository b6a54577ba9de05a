"""HiFi-GAN+: a WaveNet that is not causal, from waveform to waveform.

Su, Wang, Finkelstein and Jin, "Bandwidth extension is all you need", ICASSP 2021,
doi 10.1109/ICASSP39728.2021.9413575, in the size of its public reimplementation for bandwidth
extension. Here input and output have the same rate, so nothing is resampled.
"""

import math
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.parametrizations import weight_norm as normalise_weight

from bcsim.models import MODELS
from bcsim.models.base import Enhancer

KERNEL, BASE = 3, 3  # layer i of a stack has the dilation BASE ** i
MAX_LAYERS = 8  # of a stack, whose last layer spans 0.3 s at 16 kHz


@MODELS.register("hifigan_bwe")
class HiFiGANBWE(Enhancer):
    """The generator of HiFi-GAN+: two stacks of gated convolutions, the dilations powers of 3.

    Half of a convolution's outputs pass a hyperbolic tangent, the other half a sigmoid, which
    weights the first. The sum of all layers' skips makes the signal, which leaves through a
    hyperbolic tangent: targets should lie within [-1, 1].

    What the last layer would hand to a next one is part of the published size, and frozen.

    Args:
        width: channels between the layers, an even number; a gate has half as many.
        num_stacks: number of stacks.
        num_layers: number of layers of a stack.
        weight_norm: whether the weights are normalised, as in training; 6,273 numbers more.
        sample_rate: sample rate in Hz.

    Raises:
        ValueError: for sizes that make no network.

    Example:
        >>> HiFiGANBWE().num_parameters, HiFiGANBWE(weight_norm=False).num_parameters
        (1061378, 1055105)
        >>> HiFiGANBWE(weight_norm=False).latency_samples
        6560
    """

    channels = ("bone",)
    causal = False
    frame_samples = 1

    small = MappingProxyType({"width": 6, "num_layers": 3})

    def __init__(
        self,
        width: int = 128,
        num_stacks: int = 2,
        num_layers: int = 8,
        weight_norm: bool = True,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        if min(width, num_stacks, num_layers, sample_rate) < 1 or width % 2:
            raise ValueError(
                "hifigan_bwe: its sizes and the sample_rate have to be positive, the width even"
            )
        if num_layers > MAX_LAYERS:
            raise ValueError(f"hifigan_bwe: {num_layers} layers; it takes {MAX_LAYERS} at most")
        self.config = {
            "width": width,
            "num_stacks": num_stacks,
            "num_layers": num_layers,
            "weight_norm": weight_norm,
            "sample_rate": sample_rate,
        }
        self.sample_rate = sample_rate
        dilations = [BASE**level for level in range(num_layers)] * num_stacks
        self.first_conv = nn.Conv1d(1, width, 1)
        self.layers = nn.ModuleList(_Layer(width, dilation) for dilation in dilations)
        self.last_conv = nn.Conv1d(width, 1, 1)
        if weight_norm:
            for module in list(self.modules()):
                if isinstance(module, nn.Conv1d):
                    normalise_weight(module)
        self.layers[-1].get_submodule("residual_conv").requires_grad_(False)
        self.history_samples = self.latency_samples = sum(dilations) * (KERNEL // 2)

    def enhance_valid(self, signal: Tensor) -> Tensor:
        # Silence lies around the signal, and no layer pads: as many samples are left at the end.
        margin = self.history_samples
        assert margin is not None
        hidden = self.first_conv(pad(signal, (margin, margin)))
        skips = []
        for layer in self.layers:
            hidden, skip = layer(hidden, signal.shape[-1])
            skips.append(skip)
        summed = torch.stack(skips).sum(0) / math.sqrt(len(skips))
        return torch.tanh(self.last_conv(summed))

    @property
    def last_layer(self) -> Tensor:
        weights = dict(self.last_conv.named_parameters())
        return weights.get("parametrizations.weight.original1", self.last_conv.weight)


class _Layer(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, KERNEL, dilation=dilation)
        self.skip_conv = nn.Conv1d(width // 2, width, 1)
        self.residual_conv = nn.Conv1d(width // 2, width, 1)

    def forward(self, hidden: Tensor, num_samples: int) -> tuple[Tensor, Tensor]:
        """Return the next layer's input, and the skip of the `num_samples` in the middle."""
        filtered, gate = self.conv(hidden).chunk(2, dim=1)
        gated = torch.tanh(filtered) * torch.sigmoid(gate)
        skip = self.skip_conv(_middle(gated, num_samples))
        kept = _middle(hidden, gated.shape[-1])
        return (kept + self.residual_conv(gated)) * math.sqrt(0.5), skip


def _middle(hidden: Tensor, num_samples: int) -> Tensor:
    return hidden.narrow(-1, (hidden.shape[-1] - num_samples) // 2, num_samples)
