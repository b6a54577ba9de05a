"""Training of the band-gain network (`bcsim.sensors.responses.band_gain_network`).

With seconds of speech the network learns the talker's classes of sounds without any labels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bcsim.dsp.randomness import torch_stream
from bcsim.fitting.estimators import ESTIMATORS
from bcsim.fitting.estimators.power_ratio import PowerRatio
from bcsim.fitting.speech_frames import SpeechFrames, thinned
from bcsim.sensors.responses.band_gain_network import (
    MIN_INPUT_STD,
    OFFSETS,
    NetworkResponse,
    forward,
)
from bcsim.sensors.responses.base import SpeechResponse

BIAS_FRAMES = 50.0  # frames of a new talker that weigh as much as the prior's mean gains
BATCH = 512
ADAPTATION_BATCH = 128
MIN_STEPS, MAX_STEPS = 100, 4000  # the most is reached with three minutes of speech
EQUALISER_COSINES = 5


def _slow_cosines(num_bands: int, count: int) -> Tensor:
    """Return the slowest cosines over the bands, (count, M), of amplitude 1, a constant first."""
    place = (torch.arange(num_bands, dtype=torch.float64) + 0.5) / num_bands
    return torch.cos(math.pi * torch.arange(count, dtype=torch.float64)[:, None] * place)


@ESTIMATORS.register("band-gain-network")
@dataclass(frozen=True)
class BandGainNetwork(PowerRatio):
    """The power ratio as fixed response, and a network for what depends on the speech.

    The loss of a frame is the root of its mean squared error over bands in dB, as in the
    mel-spectral distance, so that single odd frames do not dominate. Adam, with a one-cycle
    learning rate. In training, every frame of air goes through a random smooth equaliser, since
    other talkers, microphones and rooms have other spectra; not so in the adaptation to a new
    talker, whose microphone is known.

    Args:
        average: see `SpectralEstimator`.
        members: number of perceptrons in the ensemble.
        width: size of their two hidden layers.
        passes: number of passes over the frames.
        dropout: dropout probability of hidden units.
        equaliser_db: standard deviation of each of the equaliser's five cosines over the bands.
        learning_rate: peak learning rate.
        adaptation_passes: number of passes over a new talker's frames, where a prior is given.
        adaptation_rate: peak learning rate of the adaptation.
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
        frames = thinned(frames)
        inputs = _Contexts.of(frames)
        target = torch.cat([f.speech_db - f.fixed_db for f in frames])
        if isinstance(prior, NetworkResponse):
            known = torch.cat(
                [prior.predict(f.levels_db[None], _count(f))[0][f.active] for f in frames]
            )
            share = len(target) / (len(target) + BIAS_FRAMES)
            mean_db = torch.from_numpy(prior.mean_db) + share * (target - known).mean(dim=0)
            start = replace(prior, mean_db=mean_db.float().numpy(), level_db=0.0, residual=None)
            passes, rate = self.adaptation_passes, self.adaptation_rate
            return self._train(start, inputs, target, passes, rate, ADAPTATION_BATCH)
        mean, std = inputs.mean_and_std()
        start = NetworkResponse(
            sample_rate=sample_rate,
            level_db=0.0,
            residual=None,
            input_mean=mean.float().numpy(),
            input_std=std.clamp(min=MIN_INPUT_STD).float().numpy(),
            mean_db=target.mean(dim=0).float().numpy(),
            **self._initial_layers(len(mean), target.shape[1]),
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
        inputs: "_Contexts",
        target: Tensor,
        passes: int,
        rate: float,
        batch: int,
        equaliser_db: float = 0.0,
    ) -> NetworkResponse:
        mean, std = torch.from_numpy(start.input_mean), torch.from_numpy(start.input_std)
        y = (target - torch.from_numpy(start.mean_db)).float()
        layers = [
            (torch.tensor(weight), torch.tensor(bias)[:, None])
            for weight, bias in zip(start.weights, start.biases, strict=True)
        ]
        leaves = [leaf.requires_grad_() for layer in layers for leaf in layer]
        optimizer = _OneCycleAdam(leaves, rate)
        members, batch = len(start.weights[0]), min(batch, len(y))
        steps = min(max(MIN_STEPS, passes * len(y) // batch), MAX_STEPS)
        shapes = _slow_cosines(y.shape[1], EQUALISER_COSINES).repeat(1, len(OFFSETS)).float()
        shapes = equaliser_db * shapes / std
        with torch_stream(0, "band-gain network", "training"), torch.enable_grad():
            for step in range(steps):
                chosen = torch.randint(len(y), (members, batch), generator=torch.default_generator)
                seen = (inputs[chosen] - mean).div_(std).float()
                if equaliser_db:
                    size = (members, batch, EQUALISER_COSINES)
                    seen = seen + torch.randn(size, generator=torch.default_generator) @ shapes
                error = forward(layers, seen, self.dropout) - y[chosen]
                loss = (error.square().mean(dim=-1) + 1).sqrt().mean()
                optimizer.update(torch.autograd.grad(loss, leaves), step, steps)
        return replace(
            start,
            weights=tuple(weight.detach().numpy() for weight, _ in layers),
            biases=tuple(bias.detach()[:, 0].numpy() for _, bias in layers),
        )


class _OneCycleAdam:
    """Adam (Kingma and Ba 2015, arXiv 1412.6980) on one cycle (Smith 2018, arXiv 1803.09820).

    The learning rate rises from a 25th of its peak over the first tenth of the steps, and falls to
    a 250,000th; the first beta falls from 0.95 to 0.85 and rises again. To the bit it is the fused
    Adam of `torch.optim` with `OneCycleLR`, which would import the compiler, 114 MB of modules.

    Args:
        leaves: tensors that are trained, in place.
        rate: learning rate at its peak.
    """

    def __init__(self, leaves: list[Tensor], rate: float) -> None:
        self.leaves, self.rate = leaves, rate
        self.means = [torch.zeros_like(leaf) for leaf in leaves]
        self.squares = [torch.zeros_like(leaf) for leaf in leaves]
        self.counts = [torch.zeros((), dtype=torch.float32) for _ in leaves]

    def update(self, gradients: Sequence[Tensor], step: int, num_steps: int) -> None:
        """Take one step of so many."""
        rate, beta = self._schedule(step, num_steps)
        with torch.no_grad():
            for count in self.counts:
                count += 1
            torch.ops.aten._fused_adam_(
                self.leaves,
                list(gradients),
                self.means,
                self.squares,
                [],
                self.counts,
                lr=rate,
                beta1=beta,
                beta2=0.999,
                weight_decay=0.0,
                eps=1e-8,
                amsgrad=False,
                maximize=False,
            )

    def _schedule(self, step: int, num_steps: int) -> tuple[float, float]:
        """Return the learning rate and the first beta of a step."""
        top = 0.1 * (num_steps + 1) - 1
        first, peak, last = self.rate / 25, self.rate, self.rate / 25 / 1e4
        if step <= top and top > 0:
            part, ends = step / top, ((first, peak), (0.95, 0.85))
        else:
            part, ends = (step - top) / (num_steps - top), ((peak, last), (0.85, 0.95))
        fallen = math.cos(math.pi * part) + 1
        rate, beta = (end + (start - end) / 2.0 * fallen for start, end in ends)
        return rate, beta


@dataclass(frozen=True, eq=False)
class _Contexts:
    """Inputs of the network in N frames with speech, as `context` gives them, when asked for.

    All of them together would take nine times the memory of the levels.

    Args:
        levels_db: (frames, M), levels of air in all frames of all pairs.
        places: (N, K), frames of the context of each frame with speech.
    """

    levels_db: Tensor
    places: Tensor

    @staticmethod
    def of(frames: Sequence[SpeechFrames]) -> "_Contexts":
        places, first = [], 0
        for own in frames:
            last = len(own.levels_db) - 1
            around = torch.nonzero(own.active) + torch.tensor(OFFSETS)
            places.append(first + around.clamp(0, last))
            first += last + 1
        levels_db = [own.levels_db for own in frames]
        # Of one recording, which may be an hour, without a copy.
        all_levels_db = levels_db[0] if len(frames) == 1 else torch.cat(levels_db)
        return _Contexts(all_levels_db, torch.cat(places))

    def __getitem__(self, chosen: Tensor) -> Tensor:
        """Return the inputs in frames with speech by their numbers (...), (..., K M)."""
        return self.levels_db[self.places[chosen]].flatten(-2)

    def mean_and_std(self) -> tuple[Tensor, Tensor]:
        """Return the mean and the standard deviation of the inputs, (K M,) each."""
        means, deviations = [], []
        for column in self.places.T:  # one by one: together they are all contexts
            levels_db = self.levels_db[column]
            means.append(levels_db.mean(dim=0))
            deviations.append(levels_db.std(dim=0))
        return torch.cat(means), torch.cat(deviations)


def _count(frames: SpeechFrames) -> Tensor:
    return torch.tensor([len(frames.levels_db)])
