"""The denoiser of the deep feature loss: dilated convolutions of the waveform.

Germain, Chen and Koltun, "Speech denoising with deep feature losses", Interspeech 2019,
arXiv 1806.10522. Its loss is `bcsim.losses.deep_features`; this network trains on any.
"""

from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad

from bcsim.models import MODELS
from bcsim.models.base import Enhancer

Statistics = Literal["utterance", "running"]

KERNEL = 3
SLOPE = 0.2  # of the leaky rectifiers
EPSILON = 1e-3  # added to the variance
MAX_DILATED = 16  # layers, of which each doubles the dilation


@MODELS.register("deep_feature_denoiser")
class DeepFeatureDenoiser(Enhancer):
    """Convolutions with dilations 1, 2, 4, ..., one more without, and a weighted sum of channels.

    Each layer ends in an adaptive batch norm, w0 x + w1 (norm(x) + beta), which begins as w0 = 1
    and w1 = 0, and a leaky rectifier. As published a norm takes the statistics of the utterance
    that goes through, in use as in training (of batches of one utterance), so that an output
    depends on the whole recording. With `running` statistics training takes those of its batches,
    and use the moving averages of these: then the receptive field is that of the convolutions.

    Args:
        width: channels of each layer.
        num_dilated: number of layers with doubling dilations.
        statistics: statistics of the norms, `utterance` or `running`.
        causal: whether all convolutions see the past alone; only with `running` statistics.
        sample_rate: sample rate in Hz.

    Raises:
        ValueError: for sizes that make no network, unknown statistics, or a causal network with
            those of utterances.

    Example:
        >>> DeepFeatureDenoiser().num_parameters
        160925
        >>> DeepFeatureDenoiser(statistics="running").latency_samples
        8192
    """

    channels = ("bone",)
    frame_samples = 1

    small = MappingProxyType({"width": 4, "num_dilated": 3})

    def __init__(
        self,
        width: int = 64,
        num_dilated: int = 13,
        statistics: Statistics = "utterance",
        causal: bool = False,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        if min(width, sample_rate) < 1 or not 1 <= num_dilated <= MAX_DILATED:
            raise ValueError(
                f"deep_feature_denoiser: width {width}, num_dilated {num_dilated}; it wants a "
                f"positive width and sample_rate, and 1 to {MAX_DILATED} dilated layers"
            )
        if statistics not in ("utterance", "running"):
            raise ValueError(
                f"deep_feature_denoiser: statistics is {statistics!r}; it wants utterance or "
                "running"
            )
        if causal and statistics == "utterance":
            raise ValueError(
                "deep_feature_denoiser: statistics of a whole utterance are not causal; use "
                "running ones"
            )
        self.config = {
            "width": width,
            "num_dilated": num_dilated,
            "statistics": statistics,
            "causal": causal,
            "sample_rate": sample_rate,
        }
        self.sample_rate, self.causal = sample_rate, causal
        dilations = [*(2**level for level in range(num_dilated)), 1]
        inputs = [1, *[width] * num_dilated]
        self.layers = nn.ModuleList(
            _Layer(channels, width, dilation, statistics, causal)
            for channels, dilation in zip(inputs, dilations, strict=True)
        )
        self.last_conv = nn.Conv1d(width, 1, 1)
        span = sum(dilations) * (KERNEL - 1)
        if statistics == "utterance":
            self.history_samples = self.latency_samples = None
        else:
            self.history_samples = span if causal else span // 2
            self.latency_samples = span - self.history_samples

    def enhance_valid(self, signal: Tensor) -> Tensor:
        hidden = signal
        for layer in self.layers:
            hidden = layer(hidden)
        return self.last_conv(hidden)

    @property
    def last_layer(self) -> Tensor:
        return self.last_conv.weight


class _Layer(nn.Module):
    def __init__(
        self, inputs: int, outputs: int, dilation: int, statistics: Statistics, causal: bool
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, KERNEL, dilation=dilation, bias=False)
        # Fourteen layers of torch's own initial weights would leave a millionth of the signal.
        nn.init.kaiming_uniform_(self.conv.weight, a=SLOPE)
        total = (KERNEL - 1) * dilation
        self.edges = (total, 0) if causal else (dilation, dilation)
        self.direct_weight = nn.Parameter(torch.ones(()))
        self.norm_weight = nn.Parameter(torch.zeros(()))
        self.beta = nn.Parameter(torch.zeros(outputs, 1))
        self.norm = (
            nn.BatchNorm1d(outputs, EPSILON, affine=False)
            if statistics == "running"
            else _UtteranceNorm()
        )

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = self.conv(pad(hidden, self.edges))
        normal = self.norm(hidden) + self.beta
        return leaky_relu(self.direct_weight * hidden + self.norm_weight * normal, SLOPE)


class _UtteranceNorm(nn.Module):
    def forward(self, hidden: Tensor) -> Tensor:
        """Return each channel of each row with a mean of 0 and a variance of 1 over time."""
        centred = hidden - hidden.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + EPSILON).sqrt()
