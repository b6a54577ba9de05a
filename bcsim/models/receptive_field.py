"""The receptive field of a chain of one-dimensional convolutions: history and look-ahead."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """The geometry of a one-dimensional convolution.

    Args:
        kernel: number of taps.
        stride: steps of the input per output; for a transposed layer, of the output per input.
        dilation: distance of the taps in samples.
        left: samples of padding before the input; for a transposed layer, of output dropped.
        transposed: whether it is a transposed convolution.
    """

    kernel: int
    stride: int = 1
    dilation: int = 1
    left: int = 0
    transposed: bool = False

    def inputs(self, first: int, last: int) -> tuple[int, int]:
        """Return the first and last input that outputs `first` to `last` depend on."""
        if self.transposed:  # output o gets input i through tap o + left - stride i
            earliest = -((self.kernel - 1 - first - self.left) // self.stride)
            return earliest, (last + self.left) // self.stride
        span = (self.kernel - 1) * self.dilation
        return first * self.stride - self.left, last * self.stride - self.left + span


def receptive_field(layers: Sequence[Layer], frame: int) -> tuple[int, int]:
    """Return the longest history and look-ahead of a chain's outputs, in samples.

    Args:
        layers: layers from input to output.
        frame: period of the outputs in samples: output `t + frame` depends on the inputs as output
            `t` does, `frame` later. Within a frame, history and look-ahead may differ.

    Example:
        >>> receptive_field([Layer(kernel=3, left=2), Layer(kernel=5, left=2)], frame=1)
        (4, 2)
    """
    history = look_ahead = 0
    for output in range(frame):
        first = last = output
        for layer in reversed(layers):
            first, last = layer.inputs(first, last)
        history, look_ahead = max(history, output - first), max(look_ahead, last - output)
    return history, look_ahead
