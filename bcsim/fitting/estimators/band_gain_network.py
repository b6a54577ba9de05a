"""A small network from what the air microphone hears to the gains of the sensor's bands.

Several multi-layer perceptrons look at the log-mel levels of air around each frame and say by how
many dB the sensor's bands differ from its fixed response; their mean is the prediction. With
seconds of speech they learn the talker's classes of sounds without ever being told of classes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bcsim.dsp.filter_bank import BLOCK
from bcsim.dsp.randomness import torch_stream
from bcsim.fitting.estimators import ESTIMATORS
from bcsim.fitting.estimators.power_ratio import PowerRatio
from bcsim.sensors.responses.base import (
    SPEECH_RESPONSES,
    SpeechFrames,
    SpeechResponse,
    around,
)

OFFSETS = (-6, -4, -2, -1, 0, 1, 2, 4, 6)  # frames of context
BIAS_FRAMES = 50.0  # of a new talker that weigh as much as the prior's mean gains
MAX_WEIGHTS = 4_000_000
MAX_LAYERS = 4
MAX_MEMBERS = 64
MAX_VALUE = 1e3  # of anything in the network, far beyond what training gives
MIN_INPUT_STD = 1e-3  # in dB; with the bounds above, float32 does not overflow
BATCH = 512
ADAPTATION_BATCH = 128
MIN_STEPS, MAX_STEPS = 100, 4000  # the most is reached with three minutes of speech
EQUALISER_COSINES = 5


@SPEECH_RESPONSES.register("band-gain-network")
@dataclass(frozen=True, eq=False)
class NetworkResponse(SpeechResponse):
    """An ensemble of perceptrons; the mean of their gains in dB is the prediction.

    Args:
        sample_rate: see `SpeechResponse`; so for `level_db` and `residual`.
        input_mean: (K M,), of the inputs; K frames of context.
        input_std: (K M,).
        weights: layers, (E, inputs, outputs) each, of E perceptrons.
        biases: layers, (E, outputs) each.
        mean_db: (M,), added to what the perceptrons say.
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
        # In blocks, so that what is at work stays in the cache.
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
        scaling = {"input_mean": self.input_mean, "input_std": self.input_std}
        return {**layers, **scaling, "mean_db": self.mean_db}

    @classmethod
    def from_arrays(
        cls, common: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
    ) -> "NetworkResponse":
        depth = sum(name.startswith("weight_") for name in arrays)
        return cls(
            **common,
            input_mean=arrays["input_mean"],
            input_std=arrays["input_std"],
            weights=tuple(arrays[f"weight_{k}"] for k in range(depth)),
            biases=tuple(arrays[f"bias_{k}"] for k in range(depth)),
            mean_db=arrays["mean_db"],
        )


def context(levels_db: Tensor, num_frames: Tensor, stride: int = 1) -> Tensor:
    """Return the inputs of the network for every `stride`-th frame, (B, frames, K M)."""
    return around(levels_db, OFFSETS, num_frames, stride).flatten(2)


def slow_cosines(num_bands: int, count: int) -> Tensor:
    """Return the slowest cosines over the bands, (count, M), of amplitude 1, a constant first."""
    place = (torch.arange(num_bands, dtype=torch.float64) + 0.5) / num_bands
    return torch.cos(math.pi * torch.arange(count, dtype=torch.float64)[:, None] * place)


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


@ESTIMATORS.register("band-gain-network")
@dataclass(frozen=True)
class BandGainNetwork(PowerRatio):
    """The power ratio as fixed response, and a network for what depends on the speech.

    The loss of a frame is the root of its mean squared error over bands in dB, as in the
    mel-spectral distance, so that odd frames do not rule. Adam with one rise and fall of the rate.
    Air goes through a random smooth equaliser for every frame that is looked at: other talkers, and
    other microphones and rooms, have other spectra. A new talker's own microphone is known.

    Args:
        average: see `SpectralEstimator`.
        members: perceptrons.
        width: of their two hidden layers.
        passes: over the frames.
        dropout: of hidden units.
        equaliser_db: standard deviation of each of the equaliser's five cosines over the bands.
        learning_rate: at its height.
        adaptation_passes: over a new talker's frames, where a prior is given.
        adaptation_rate: the learning rate then.
    """

    members: int = 4
    width: int = 112
    passes: int = 100
    dropout: float = 0.2
    equaliser_db: float = 1.0
    learning_rate: float = 2e-3
    adaptation_passes: int = 60
    adaptation_rate: float = 1e-3

    def speech(
        self, frames: Sequence[SpeechFrames], sample_rate: int, prior: SpeechResponse | None
    ) -> NetworkResponse:
        inputs = torch.cat([context(f.levels_db[None], _count(f))[0][f.active] for f in frames])
        target = torch.cat([(f.speech_db - f.fixed_db)[f.active] for f in frames])
        if isinstance(prior, NetworkResponse):
            known = torch.cat(
                [prior.predict(f.levels_db[None], _count(f))[0][f.active] for f in frames]
            )
            share = len(target) / (len(target) + BIAS_FRAMES)
            mean_db = torch.from_numpy(prior.mean_db) + share * (target - known).mean(dim=0)
            start = replace(prior, mean_db=mean_db.float().numpy(), level_db=0.0, residual=None)
            return self._train(
                start,
                inputs,
                target,
                self.adaptation_passes,
                self.adaptation_rate,
                ADAPTATION_BATCH,
            )
        start = NetworkResponse(
            sample_rate=sample_rate,
            level_db=0.0,
            residual=None,
            input_mean=inputs.mean(dim=0).float().numpy(),
            input_std=inputs.std(dim=0).clamp(min=MIN_INPUT_STD).float().numpy(),
            mean_db=target.mean(dim=0).float().numpy(),
            **self._initial_layers(inputs.shape[1], target.shape[1]),
        )
        return self._train(
            start, inputs, target, self.passes, self.learning_rate, BATCH, self.equaliser_db
        )

    def _initial_layers(self, inputs: int, outputs: int) -> dict[str, Any]:
        """Draw the layers (He et al. 2015, arXiv 1502.01852), the last one near zero."""
        sizes = [inputs, self.width, self.width, outputs]
        scales = [math.sqrt(2 / inputs), math.sqrt(2 / self.width), 0.1 / math.sqrt(self.width)]
        with torch_stream(0, "band-gain network", "weights"):
            weights = tuple(
                (scale * torch.randn(self.members, a, b, generator=torch.default_generator)).numpy()
                for scale, a, b in zip(scales, sizes[:-1], sizes[1:], strict=True)
            )
        biases = tuple(np.zeros((self.members, size), np.float32) for size in sizes[1:])
        return {"weights": weights, "biases": biases}

    def _train(
        self,
        start: NetworkResponse,
        inputs: Tensor,
        target: Tensor,
        passes: int,
        rate: float,
        batch: int,
        equaliser_db: float = 0.0,
    ) -> NetworkResponse:
        x = (
            (inputs - torch.from_numpy(start.input_mean)) / torch.from_numpy(start.input_std)
        ).float()
        y = (target - torch.from_numpy(start.mean_db)).float()
        layers = [
            (torch.tensor(weight), torch.tensor(bias)[:, None])
            for weight, bias in zip(start.weights, start.biases, strict=True)
        ]
        leaves = [leaf.requires_grad_() for layer in layers for leaf in layer]
        optimizer = torch.optim.Adam(leaves, lr=rate, fused=True)
        members, batch = len(start.weights[0]), min(batch, len(x))
        steps = min(max(MIN_STEPS, passes * len(x) // batch), MAX_STEPS)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, rate, total_steps=steps + 1, pct_start=0.1
        )
        shapes = (
            equaliser_db
            * slow_cosines(y.shape[1], EQUALISER_COSINES).repeat(1, len(OFFSETS)).float()
        )
        shapes = shapes / torch.from_numpy(start.input_std)
        with torch_stream(0, "band-gain network", "training"), torch.enable_grad():
            for _ in range(steps):
                chosen = torch.randint(len(x), (members, batch), generator=torch.default_generator)
                seen = x[chosen]
                if equaliser_db:
                    size = (members, batch, EQUALISER_COSINES)
                    seen = seen + torch.randn(size, generator=torch.default_generator) @ shapes
                error = forward(layers, seen, self.dropout) - y[chosen]
                loss = (error.square().mean(dim=-1) + 1).sqrt().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        return replace(
            start,
            weights=tuple(weight.detach().numpy() for weight, _ in layers),
            biases=tuple(bias.detach()[:, 0].numpy() for _, bias in layers),
        )


def _count(frames: SpeechFrames) -> Tensor:
    return torch.tensor([len(frames.levels_db)])
