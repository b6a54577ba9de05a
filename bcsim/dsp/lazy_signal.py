"""Signals too long to be held in double precision: their samples are computed when asked for.

An hour at 16 kHz is half a gigabyte in double precision. What looks at frames needs a few seconds
of it at a time; so it slices, which a `LazySignal` and a tensor (T,) understand alike.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FRAMES_AT_ONCE = 512
BLOCK = 1 << 20  # samples
LONG = 1 << 22  # samples, from which on a signal is not held in double precision


@dataclass(frozen=True, eq=False)
class LazySignal:
    """A signal (T,) whose slices are computed when they are asked for, float64.

    Args:
        num_samples: number of samples T.
        read: function that returns the samples from the first to before the second number.

    Example:
        >>> signal = LazySignal.of(np.arange(5, dtype=np.float32), offset=2.0)
        >>> signal[1:4]
        tensor([-1.,  0.,  1.], dtype=torch.float64)
        >>> (2.0 * signal.part(1, 5))[:2]
        tensor([-2.,  0.], dtype=torch.float64)
    """

    num_samples: int
    read: Callable[[int, int], Tensor]

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, segment: slice) -> Tensor:
        start, stop, step = segment.indices(self.num_samples)
        assert step == 1, "a lazy signal is read forwards"
        return self.read(start, max(start, stop))

    @staticmethod
    def of(samples: NDArray[np.floating] | Tensor, offset: float = 0.0) -> "LazySignal":
        """Return the samples (T,) less an offset."""
        samples = np.asarray(samples)

        def read(start: int, stop: int) -> Tensor:
            return torch.from_numpy(np.array(samples[start:stop], dtype=np.float64)) - offset

        return LazySignal(len(samples), read)

    @staticmethod
    def joined(parts: "Sequence[LazySignal]") -> "LazySignal":
        """Return the parts, one behind the other."""
        bounds = [0, *itertools.accumulate(len(part) for part in parts)]

        def read(start: int, stop: int) -> Tensor:
            pieces = [
                part[max(start - first, 0) : stop - first]
                for part, (first, last) in zip(parts, itertools.pairwise(bounds), strict=True)
                if start < last and stop > first
            ]
            return torch.cat(pieces) if pieces else torch.zeros(0, dtype=torch.float64)

        return LazySignal(bounds[-1], read)

    def part(self, start: int, stop: int) -> "LazySignal":
        """Return the samples from `start` to before `stop` as a signal of their own."""
        start, stop, _ = slice(start, stop).indices(self.num_samples)
        read = self.read
        return LazySignal(max(0, stop - start), lambda a, b: read(start + a, start + b))

    def __mul__(self, gain: float) -> "LazySignal":
        read = self.read
        return LazySignal(self.num_samples, lambda start, stop: read(start, stop) * gain)

    __rmul__ = __mul__


Samples = Tensor | LazySignal  # (T,)


def is_long(num_samples: float) -> bool:
    """Tell whether a signal of so many samples is not to be held in double precision."""
    return num_samples > LONG


def part_of(signal: Samples, start: int, stop: int) -> Samples:
    """Return the samples from `start` to before `stop`, without a copy."""
    return signal.part(start, stop) if isinstance(signal, LazySignal) else signal[start:stop]


def blocks_of(signal: Samples) -> Iterator[Tensor]:
    """Yield consecutive blocks of a signal; an empty signal has none."""
    for start in range(0, len(signal), BLOCK):
        yield signal[start : start + BLOCK]


def computed(signal: LazySignal) -> Samples:
    """Return a signal whose samples have been computed: of a long one in single precision."""
    if not is_long(len(signal)):
        return signal[:]
    samples = np.empty(len(signal), dtype=np.float32)
    for start in range(0, len(signal), BLOCK):
        samples[start : start + BLOCK] = signal[start : start + BLOCK].numpy()
    return LazySignal.of(samples)


def of_frames(
    signal: Samples, num_fft: int, hop: int, measure: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return what is measured of each whole frame of a signal, (K, frames).

    Args:
        signal: (T,); what is shorter than a frame counts as one.
        num_fft: frame length in samples.
        hop: samples from frame to frame.
        measure: function from a segment (1, T') to values of its whole frames, (K, some frames).
    """
    num_frames = max(1, (len(signal) - num_fft) // hop + 1)
    values = None
    at_once = max(1, min(FRAMES_AT_ONCE, BLOCK // hop))
    for first in range(0, num_frames, at_once):
        past = min(first + at_once, num_frames)
        own = measure(signal[first * hop : (past - 1) * hop + num_fft][None])
        # One array for all: small ones that stay would break up the memory of large ones that go.
        values = own.new_empty(len(own), num_frames) if values is None else values
        values[:, first:past] = own
    assert values is not None
    return values


def mean_square(signal: Samples, offset: float = 0.0) -> float:
    """Return the mean square of a signal about an offset."""
    total = sum(float((block.double() - offset).square().sum()) for block in blocks_of(signal))
    return total / max(1, len(signal))


def mean(signal: Samples) -> float:
    """Return the mean of a signal."""
    return sum(float(block.double().sum()) for block in blocks_of(signal)) / max(1, len(signal))
