"""The base class of enhancers."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from bcsim.dsp.signals import check_fits
from bcsim.errors import InputError

# What the input of an enhancer may be: the sensor, or the sensor and the noisy air microphone.
CHANNELS = (("bone",), ("bone", "air"))


class Enhancer(nn.Module, ABC):
    """A network that estimates clean speech at the air microphone from the signals of a device.

    Called with (B, C, T) it returns (B, 1, T), for any T; rows of a batch do not influence each
    other. Subclasses are registered in `bcsim.models.MODELS`, take plain values in their
    constructor, give every one a default, and set the attributes below.

    Attributes:
        config: arguments of the constructor, all of them, as values that JSON can hold.
        sample_rate: sample rate in Hz that the weights are made for.
        channels: the C input channels in order, one of `CHANNELS`: `("bone",)`, or
            `("bone", "air")`, where `air` is the noisy air microphone.
        causal: whether the network can run on a live signal, in frames of `frame_samples`,
            without samples beyond the current frame.
        frame_samples: smallest delay in samples to which the network is equivariant.
        history_samples: largest distance of an input sample before an output that depends on it;
            None without bound, as in recurrent networks.
        latency_samples: largest distance of an input sample after an output that depends on it
            (look-ahead); None where an output depends on the whole recording.
        num_statistics_pairs: number of training pairs that `fit_statistics` is to be given; 0 for a
            network that keeps no statistics.
        small: arguments of a small network of the kind, for tests whose time grows with the size;
            of what is left out, the defaults.
    """

    small: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    num_statistics_pairs: ClassVar[int] = 0

    config: dict[str, Any]
    sample_rate: int
    channels: tuple[str, ...]
    causal: bool
    frame_samples: int
    history_samples: int | None
    latency_samples: int | None

    def forward(self, signal: Tensor) -> Tensor:
        """Enhance signals of any length.

        The end is padded with silence to the next length that the network takes.

        Args:
            signal: input of the network at `sample_rate`, (B, C, T), in the order of `channels`.

        Returns:
            (B, 1, T).

        Raises:
            ValueError: if `signal` is not (B, C, T) or of another precision than the weights, or,
                in evaluation mode, not finite.
        """
        if signal.ndim != 3 or signal.shape[1] != len(self.channels):
            raise ValueError(
                f"{type(self).__name__} was given {tuple(signal.shape)}; "
                f"it wants (B, {len(self.channels)}, T), channels {', '.join(self.channels)}"
            )
        self._check_samples(signal)
        num_samples = signal.shape[-1]
        if num_samples == 0:
            return signal.new_zeros(signal.shape[0], 1, 0)
        missing = self.valid_length(num_samples) - num_samples
        return self.enhance_valid(pad(signal, (0, missing)))[..., :num_samples]

    def _check_samples(self, signal: Tensor) -> None:
        check_fits(signal, self, "signal")
        # In training the loss tells, with the items of the batch; a graph has no values yet.
        if self.training or torch.compiler.is_compiling():
            return
        if not bool(signal.isfinite().all()):
            raise InputError("signal has samples that are NaN or infinite; repair or leave it out")

    def valid_length(self, num_samples: int) -> int:
        """Return the shortest length of at least `num_samples` that `enhance_valid` takes.

        It is that of whole frames, unless a subclass says otherwise.
        """
        return -(-num_samples // self.frame_samples) * self.frame_samples

    @abstractmethod
    def enhance_valid(self, signal: Tensor) -> Tensor:
        """Return (B, 1, T) for (B, C, T), where T is a valid length."""

    def loudness_of_frames(self, signal: Tensor) -> Tensor | None:
        """Return what the network takes from the whole recording beside its context, or None.

        Args:
            signal: (B, C, T), T a valid length.

        Returns:
            Power of each frame, (B, C, frames): that of loud ones sets the level that the network
            sees. None for a network that sees no more than its context.
        """
        return None

    @contextmanager
    def at_loudness(self, power: Tensor | None) -> Iterator[None]:
        """Let the network enhance parts of a recording as it would enhance the whole.

        Args:
            power: `loudness_of_frames` of the whole recording.
        """
        yield

    def forward_with_bands(self, signal: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the speech (B, 1, T), and the bands (B, M, F) that it was made from, or None.

        Args:
            signal: (B, C, T), T a valid length.
        """
        return self(signal), None

    def fit_statistics(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Measure what the network keeps of its training pairs, before it is trained on them.

        Args:
            batches: inputs (B, C, T) and targets (B, 1, T) of `num_statistics_pairs` pairs or more.

        Raises:
            InputError: if nothing can be measured on them.
        """
        raise NotImplementedError(f"{type(self).__name__} keeps no statistics")

    @property
    @abstractmethod
    def last_layer(self) -> Tensor:
        """Weights of the last layer, at which losses may be balanced."""

    def reduced(self, share: float) -> "Enhancer | None":
        """Return the same network, which applies a part of its changes outside training.

        Args:
            share: part that is applied, from 0, which gives the signal back as it is, to 1.

        Returns:
            A new network in evaluation mode; None for a kind that cannot be told to do less.
        """
        return None

    @property
    def num_parameters(self) -> int:
        """Number of parameters of the network, frozen ones included."""
        return sum(parameter.numel() for parameter in self.parameters())


def check_channels(name: str, channels: Sequence[str]) -> None:
    """Raise a ValueError unless a model's input channels are one of `CHANNELS`."""
    if tuple(channels) not in CHANNELS:
        raise ValueError(f"{name}: channels {list(channels)}; it takes [bone] or [bone, air]")
