"""Resampling to another rate, and to the clock of another recorder."""

import numpy as np
import soxr
import torch
from numpy.typing import NDArray

from bcsim.dsp.lazy_signal import LazySignal, Samples, blocks_of, is_long


def resample(samples: NDArray[np.float64], rate: int, new_rate: int) -> NDArray[np.float64]:
    """Resample (T,) or (T, C) from `rate` to `new_rate` in Hz (soxr, very high quality)."""
    return samples if rate == new_rate else soxr.resample(samples, rate, new_rate, quality="VHQ")


class BlockResampler:
    """Resamples a recording that arrives in blocks, to what `resample` gives of the whole.

    Args:
        rate: sample rate of the blocks in Hz.
        new_rate: sample rate in Hz to resample to.
        num_channels: number of channels C.
    """

    def __init__(self, rate: int, new_rate: int, num_channels: int = 1) -> None:
        self._stream = None
        if rate != new_rate:
            self._stream = soxr.ResampleStream(
                rate, new_rate, num_channels, dtype="float64", quality="VHQ"
            )

    def __call__(self, block: NDArray[np.float64], last: bool = False) -> NDArray[np.float64]:
        """Return the samples that the blocks so far decide.

        Args:
            block: next samples, (T,) for one channel, else (T, C); T may be 0.
            last: whether no block follows, so that all samples that are left come back.
        """
        return block if self._stream is None else self._stream.resample_chunk(block, last=last)


def resample_clock(samples: NDArray[np.float64], drift: float) -> NDArray[np.float64]:
    r"""Bring a recording to the clock of another one.

    .. math:: y(t) = x((1 + d)\,t)

    Args:
        samples: (T,), from a recorder that took 1 + `drift` samples while the other took one.
        drift: relative difference of the clocks, such as -188e-6.

    Returns:
        (T / (1 + drift),), the first sample where it was; `samples` itself without drift.
    """
    if drift == 0:
        return samples
    # soxr, since it takes ratios that are no fractions
    return soxr.resample(samples, 1.0 + drift, 1.0, quality="VHQ")


def on_clock(signal: Samples, drift: float) -> Samples:
    """Return `resample_clock` of a signal (T,) of any length: of a long one in single precision."""
    if drift == 0:
        return signal
    if not is_long(len(signal)):
        return torch.from_numpy(resample_clock(signal[:].numpy(), drift))
    stream = soxr.ResampleStream(1.0 + drift, 1.0, 1, dtype="float64", quality="VHQ")
    resampled = np.empty(round(len(signal) / (1 + drift)) + 1, dtype=np.float32)
    count = 0
    for block in blocks_of(signal):
        arrived = stream.resample_chunk(block.numpy())
        resampled[count : count + len(arrived)] = arrived
        count += len(arrived)
    rest = stream.resample_chunk(np.zeros(0), last=True)[: len(resampled) - count]
    resampled[count : count + len(rest)] = rest
    return LazySignal.of(resampled[: count + len(rest)])
