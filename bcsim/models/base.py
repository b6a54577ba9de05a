"""What an enhancer is."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import pad


class Enhancer(nn.Module, ABC):
    """A network from the signals of a device to the speech at its air microphone.

    Called with (B, C, T) it returns (B, 1, T), for any T; the batch rows do not know of each
    other. Subclasses are registered in `bcsim.models.MODELS`, take plain values in their
    constructor, give every one a default, and set the attributes below.

    Attributes:
        config: the constructor's arguments, all of them, as values that JSON can hold.
        sample_rate: the rate in Hz that the weights are made for.
        channels: what the C input channels are, in order: `("bone",)`, or `("bone", "air")`,
            where `air` is the noisy air microphone.
        causal: whether the network can run along with the speech, frame by frame of
            `frame_samples`, without hearing beyond the frame that it is in.
        frame_samples: a delay by this many samples delays the output, and changes nothing else.
        history_samples: no output depends on an input that is further back.
        latency_samples: no output depends on an input that is further ahead.
    """

    config: dict[str, Any]
    sample_rate: int
    channels: tuple[str, ...]
    causal: bool
    frame_samples: int
    history_samples: int
    latency_samples: int

    def forward(self, signal: Tensor) -> Tensor:
        """Enhance signals of any length.

        The end is padded with silence to the next length that the network takes.

        Args:
            signal: (B, C, T), the channels of `channels`, at `sample_rate`.

        Returns:
            (B, 1, T).

        Raises:
            ValueError: if `signal` is not (B, C, T).
        """
        if signal.ndim != 3 or signal.shape[1] != len(self.channels):
            raise ValueError(
                f"{type(self).__name__} was given {tuple(signal.shape)}; "
                f"it wants (B, {len(self.channels)}, T), channels {', '.join(self.channels)}"
            )
        num_samples = signal.shape[-1]
        if num_samples == 0:
            return signal.new_zeros(signal.shape[0], 1, 0)
        missing = self.valid_length(num_samples) - num_samples
        return self.enhance_valid(pad(signal, (0, missing)))[..., :num_samples]

    @abstractmethod
    def valid_length(self, num_samples: int) -> int:
        """Return the shortest length from `num_samples` up that `enhance_valid` takes."""

    @abstractmethod
    def enhance_valid(self, signal: Tensor) -> Tensor:
        """Return (B, 1, T) for (B, C, T), where T is a valid length."""

    def forward_with_bands(self, signal: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the speech (B, 1, T), and the bands (B, M, F) it was made from, if it was.

        Args:
            signal: (B, C, T), T a valid length.
        """
        return self(signal), None

    @property
    @abstractmethod
    def last_layer(self) -> Tensor:
        """The weights nearest to the output, at which losses may be balanced."""

    @property
    def num_parameters(self) -> int:
        """How many numbers the network consists of, frozen ones included."""
        return sum(parameter.numel() for parameter in self.parameters())
