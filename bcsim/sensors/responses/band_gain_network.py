"""A small network from the band levels of air to the gains of the sensor's bands.

Several multi-layer perceptrons look at the log-mel levels of air around each frame and predict by
how many dB the sensor's bands differ from its fixed response; their mean is the prediction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bcsim.dsp.filter_bank import BLOCK
from bcsim.sensors.responses.base import SPEECH_RESPONSES, SpeechResponse, around

OFFSETS = (-6, -4, -2, -1, 0, 1, 2, 4, 6)  # frames of context, relative to the predicted one
MAX_WEIGHTS = 4_000_000
MAX_LAYERS = 4
MAX_MEMBERS = 64
MAX_VALUE = 1e3  # bound of all weights and inputs' means, far beyond what training gives
MIN_INPUT_STD = 1e-3  # in dB; with the bounds above, float32 does not overflow
_SCALING = ("input_mean", "input_std", "mean_db")


@SPEECH_RESPONSES.register("band-gain-network")
@dataclass(frozen=True, eq=False)
class NetworkResponse(SpeechResponse):
    """An ensemble of perceptrons; the mean of their gains in dB is the prediction.

    Args:
        sample_rate: see `SpeechResponse`, also for `level_db` and `residual`.
        input_mean: (K M,), mean of the inputs, the levels in K frames of context.
        input_std: (K M,), standard deviation of the inputs.
        weights: weights of each layer, (E, inputs, outputs), for E perceptrons.
        biases: biases of each layer, (E, outputs).
        mean_db: (M,), offset of the perceptrons' outputs in dB.
    """

    input_mean: NDArray[np.float32]
    input_std: NDArray[np.float32]
    weights: tuple[NDArray[np.float32], ...]
    biases: tuple[NDArray[np.float32], ...]
    mean_db: NDArray[np.float32]

    summary_word: ClassVar[str] = "band-gain network"

    def __post_init__(self) -> None:
        super().__post_init__()
        bands = self.bank.num_bands
        members = len(self.weights[0]) if self.weights else 0
        if not (0 < len(self.weights) <= MAX_LAYERS and 0 < members <= MAX_MEMBERS):
            raise ValueError(
                f"the network has {len(self.weights)} layers of {members} members, "
                f"not 1 to {MAX_LAYERS} of 1 to {MAX_MEMBERS}"
            )
        sizes = [len(OFFSETS) * bands, *(weight.shape[-1] for weight in self.weights)]
        shapes = [(members, *pair) for pair in pairwise(sizes)]
        good = (
            min(sizes) > 0
            and self.input_mean.shape == self.input_std.shape == (sizes[0],)
            and [weight.shape for weight in self.weights] == shapes
            and [bias.shape for bias in self.biases] == [(members, size) for size in sizes[1:]]
            and self.mean_db.shape == (sizes[-1],) == (bands,)
            and sum(weight.size for weight in self.weights) <= MAX_WEIGHTS
        )
        if not good:
            raise ValueError("the network's layers do not fit together")
        for name, values in self.arrays().items():
            if values.dtype != np.float32:
                raise ValueError(f"{name} of the network is {values.dtype}, not float32")
            if not np.isfinite(values).all():
                raise ValueError(f"{name} of the network holds values that are not finite numbers")
            if np.abs(values).max() > MAX_VALUE:
                raise ValueError(f"{name} of the network exceeds {MAX_VALUE:g}")
        if self.input_std.min() < MIN_INPUT_STD:
            raise ValueError(f"input_std of the network is below {MIN_INPUT_STD:g}")

    def predict(self, levels_db: Tensor, num_frames: Tensor) -> Tensor:
        # Every second frame, and halves of its neighbours between: the gains are smoothed anyway.
        inputs = context(levels_db, num_frames, stride=2)
        members = inputs.flatten(0, 1)[None].expand(len(self.weights[0]), -1, -1)
        layers = [(w.to(inputs), b.to(inputs)) for w, b in self._layers]
        # In blocks that fit into the processor's cache.
        blocks = [forward(layers, block).mean(dim=0) for block in members.split(BLOCK, dim=1)]
        gains = torch.cat(blocks).unflatten(0, inputs.shape[:2])
        following = torch.cat([gains[:, 1:], gains[:, -1:]], dim=1)
        between = torch.stack([gains, (gains + following) / 2], dim=2).flatten(1, 2)
        return between[:, : levels_db.shape[1]]

    @cached_property
    def _layers(self) -> list[tuple[Tensor, Tensor]]:
        """The layers in float64, with the scaling of inputs and outputs folded in."""
        weights = [torch.from_numpy(weight).double() for weight in self.weights]
        biases = [torch.from_numpy(bias).double()[:, None] for bias in self.biases]
        mean, std = (torch.from_numpy(v).double() for v in (self.input_mean, self.input_std))
        biases[0] = biases[0] - torch.einsum("i,eio->eo", mean / std, weights[0])[:, None]
        weights[0] = weights[0] / std[:, None]
        biases[-1] = biases[-1] + torch.from_numpy(self.mean_db).double()
        return list(zip(weights, biases, strict=True))

    def arrays(self) -> dict[str, NDArray[Any]]:
        layers = {f"weight_{k}": weight for k, weight in enumerate(self.weights)}
        layers |= {f"bias_{k}": bias for k, bias in enumerate(self.biases)}
        return {**layers, **{name: getattr(self, name) for name in _SCALING}}

    @classmethod
    def from_arrays(
        cls, common: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
    ) -> "NetworkResponse":
        depth = sum(name.startswith("weight_") for name in arrays)
        scaling: dict[str, Any] = {name: arrays[name] for name in _SCALING}
        return cls(
            **common,
            **scaling,
            weights=tuple(arrays[f"weight_{k}"] for k in range(depth)),
            biases=tuple(arrays[f"bias_{k}"] for k in range(depth)),
        )


def context(levels_db: Tensor, num_frames: Tensor, stride: int = 1) -> Tensor:
    """Return the inputs of the network for every `stride`-th frame, (B, frames, K M)."""
    return around(levels_db, OFFSETS, num_frames, stride).flatten(2)


def forward(
    layers: Sequence[tuple[Tensor, Tensor]], inputs: Tensor, dropout: float = 0.0
) -> Tensor:
    """Run E perceptrons side by side: (E, N, inputs) to (E, N, outputs)."""
    for weight, bias in layers[:-1]:
        inputs = torch.relu(torch.baddbmm(bias, inputs, weight))
        if dropout:
            inputs = torch.nn.functional.dropout(inputs, dropout)
    weight, bias = layers[-1]
    return torch.baddbmm(bias, inputs, weight)
