"""How far an output of a chain of convolutions looks back and ahead."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """What a one-dimensional convolution reaches for.

    Args:
        kernel: taps.
        stride: steps of the input per output; for a transposed layer, of the output per input.
        dilation: distance of the taps.
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
            return -((self.kernel - 1 - first - self.left) // self.stride), (
                last + self.left
            ) // self.stride
        span = (self.kernel - 1) * self.dilation
        return first * self.stride - self.left, last * self.stride - self.left + span


def reach(layers: Sequence[Layer], frame: int) -> tuple[int, int]:
    """Return how many samples the outputs of a chain reach back, and how many ahead, at most.

    Args:
        layers: from input to output.
        frame: output `t + frame` depends on the inputs as output `t` does, `frame` later; what an
            output reaches for may differ within a frame.

    Example:
        >>> reach([Layer(kernel=3, left=2), Layer(kernel=5, left=2)], frame=1)
        (4, 2)
    """
    back = ahead = 0
    for output in range(frame):
        first = last = output
        for layer in reversed(layers):
            first, last = layer.inputs(first, last)
        back, ahead = max(back, output - first), max(ahead, last - output)
    return back, ahead
