r"""How likely each lag between two channels is, in a segment of a pair.

In each octave, whitened, the channels have the analytic cross-correlation :math:`\rho_b(\tau)`,
whose magnitude knows neither phase nor polarity. Of n samples of a Gaussian signal,
:math:`-n\log(1-|\rho_b|^2)` is the log likelihood ratio of being shared; octaves without coherence
add next to nothing.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from bcsim.dsp.fir import fast_length
from bcsim.dsp.lazy_signal import Samples
from bcsim.dsp.spectra import fractional_octave_smooth, power_of, stft

LOWEST_HZ = 100.0
WHITENING_TAPS = 1024  # at 16 kHz
SPECTRUM_FRAMES = 4096  # from which the spectrum of a channel is taken, at most
CELL_S = 0.0005  # of the lags of a segment
OVERSAMPLING = 8  # of an octave's envelope
# Parts of a spectrum that are 100 dB under its peak are what a filter left: whitened they stay
# under others, and an octave that has so little power of all counts for little.
EMPTY_GAIN, EMPTY = 1e-5, 0.1
KEPT_SEGMENTS = 64  # of a channel: those of a short pair are the same at each rate that is tried


@dataclass(frozen=True, eq=False)
class LagCurve:
    """The log likelihood ratio of the lags of one segment, in cells of `CELL_S`.

    Args:
        first: number of the first cell; cell c holds lags of c to c + 1 times the cell's size.
        values: (cells,), the greatest likelihood in each cell.
    """

    first: int
    values: NDArray[np.floating]

    @property
    def ordinary(self) -> float:
        """The likelihood of an ordinary lag: the 90th percentile."""
        return float(np.quantile(self.values, 0.9))

    def at(self, cell: int, tolerance: int = 0) -> float:
        """Return the greatest likelihood near a cell, and of an ordinary lag far from all."""
        low = max(cell - tolerance - self.first, 0)
        near = self.values[low : max(cell + tolerance + 1 - self.first, 0)]
        return float(near.max()) if len(near) else self.ordinary


def cell_size(sample_rate: int) -> int:
    """Return the samples of a cell of lags."""
    return max(1, round(CELL_S * sample_rate))


def lag_likelihood(
    x: Tensor, y: Tensor, size: int, lags: tuple[int, int], sample_rate: int, share: float = 1.0
) -> Tensor:
    """Return the log likelihood ratio of every lag from the first to the last of `lags`.

    Args:
        x: (F,), whitened spectrum of air over `size` samples.
        y: (F,), whitened spectrum of bone.
        size: number of samples of the transform.
        lags: first and last lag in samples.
        sample_rate: in Hz.
        share: part of the power of y that may belong to x at one lag.
    """
    first, last = lags
    likelihood = torch.zeros(last - first + 1, dtype=torch.float64)
    floor_x, floor_y = (EMPTY * power_of(spectrum).mean() for spectrum in (x, y))
    for band in _octaves(size, sample_rate):
        num_bins = band.stop - band.start
        # The magnitude knows no carrier: an octave needs few samples.
        few = min(size, fast_length(OVERSAMPLING * num_bins))
        product = x.new_zeros(few)
        product[:num_bins] = y[band] * x[band].conj()
        power_x, power_y = (
            torch.maximum(power_of(part[band]).sum(), num_bins * floor)
            for part, floor in ((x, floor_x), (y, floor_y))
        )
        norm = share * power_x * power_y
        power = power_of(torch.fft.ifft(product, norm="forward"))
        places = _places_of_lags(lags, size, few)
        # The logarithm takes the time: of all samples, or of those at the lags where they are less.
        if len(places) < few:
            power, places = power[places], slice(None)
        shared = (power.double() / norm.clamp(min=1e-30)).clamp(max=1 - 1e-6)
        gain = -num_bins * torch.log1p(-shared)
        likelihood += gain[places]
    return likelihood


@lru_cache(maxsize=64)
def _octaves(size: int, sample_rate: int) -> tuple[slice, ...]:
    """Return the octaves from `LOWEST_HZ` on as bins of the spectrum of `size` samples."""
    frequencies = torch.fft.rfftfreq(size, 1 / sample_rate, dtype=torch.float64)
    octaves, low = [], LOWEST_HZ
    while low < 0.9 * sample_rate / 2:
        high = min(2 * low, 0.95 * sample_rate / 2)
        octaves.append(slice(*torch.searchsorted(frequencies, torch.tensor([low, high])).tolist()))
        low = high
    return tuple(octaves)


@lru_cache(maxsize=64)  # segments of one recording have few sizes
def _places_of_lags(lags: tuple[int, int], size: int, few: int) -> Tensor:
    """Return where lags from first to last are in a period of `size` that has `few` samples."""
    place = torch.arange(lags[0], lags[1] + 1) % size
    return place if few == size else (place * few / size).round().long() % few


def whitened(spectrum: Tensor) -> Tensor:
    """Divide by the magnitude, smoothed over a sixth of an octave."""
    smooth = fractional_octave_smooth(power_of(spectrum), 6).clamp(min=0).sqrt()
    return spectrum / smooth.clamp(min=1e-12 * float(smooth.max()) + 1e-300)


class Whitener:
    """Whitens any segment of one channel by the mean spectrum of all of it.

    Args:
        signal: (T,), the channel.
        sample_rate: in Hz.
    """

    def __init__(self, signal: Samples, sample_rate: int) -> None:
        self.signal = signal
        size = fast_length(round(WHITENING_TAPS * sample_rate / 16_000))
        hop = max(size // 2, len(signal) // SPECTRUM_FRAMES)
        power = torch.zeros(size // 2 + 1, dtype=torch.float64)
        for start in range(0, max(1, len(signal) - size + 1), 256 * hop):
            block = signal[start : start + 255 * hop + size].double()
            power += power_of(stft(block[None], size, hop)[0]).sum(0)
        smooth = fractional_octave_smooth(power, 6).clamp(min=0).sqrt()
        gain = 1 / smooth.clamp(min=EMPTY_GAIN * float(smooth.max()) + 1e-300)
        taps = torch.fft.irfft(gain, size).roll(size // 2)
        taps = taps * torch.hann_window(size, dtype=torch.float64)
        self.taps = (taps / taps.norm().clamp(min=1e-300)).float()
        self._spectra_of_taps: dict[int, Tensor] = {}
        self._segments: dict[tuple[int, int], Tensor] = {}

    def segment(self, first: int, last: int) -> Tensor:
        """Return the whitened samples from `first` to `last`, (last - first,); 0 outside."""
        if (first, last) not in self._segments:
            if len(self._segments) >= KEPT_SEGMENTS:
                self._segments.clear()
            self._segments[first, last] = self._whitened(first, last)
        return self._segments[first, last]

    def _whitened(self, first: int, last: int) -> Tensor:
        half = len(self.taps) // 2
        begin, end = max(first - half, 0), min(last + half, len(self.signal))
        if end <= begin:
            return torch.zeros(last - first, dtype=torch.float32)
        part = self.signal[begin:end].float()
        part = pad(part, (begin - (first - half), (last + half) - end))
        size = fast_length(len(part))
        if size not in self._spectra_of_taps:
            self._spectra_of_taps[size] = torch.fft.rfft(self.taps, size)
        product = torch.fft.rfft(part, size) * self._spectra_of_taps[size]
        white = torch.fft.irfft(product, size)[2 * half : 2 * half + last - first]
        if first >= 0 and last <= len(self.signal):
            return white
        inside = torch.arange(first, last)
        return white * ((inside >= 0) & (inside < len(self.signal)))


def lag_curves(
    air: Whitener,
    bone: Whitener,
    edges: NDArray[np.int64],
    ranges: Sequence[tuple[int, int]],
    sample_rate: int,
) -> list[LagCurve]:
    """Return the likelihood of the lags of consecutive segments.

    Args:
        air: the air channel.
        bone: the sensor's channel.
        edges: (segments + 1,), samples of air.
        ranges: lowest and highest lag in samples that each segment may have.
        sample_rate: in Hz.
    """
    cell = cell_size(sample_rate)
    curves = []
    for (first, last), (low, high) in zip(itertools.pairwise(edges.tolist()), ranges, strict=True):
        first_cell = low // cell
        num_cells = max(1, -(-(high - first_cell * cell) // cell))
        low, span = first_cell * cell, num_cells * cell
        part = air.segment(first, last)
        around = bone.segment(first + low, last + low + span)
        size = fast_length(len(around))
        spectra = torch.fft.rfft(part, size), torch.fft.rfft(around, size)
        share = len(part) / len(around)
        curve = lag_likelihood(*spectra, size, (0, span - 1), sample_rate, share)
        curves.append(LagCurve(first_cell, curve.reshape(num_cells, cell).amax(dim=1).numpy()))
    return curves
