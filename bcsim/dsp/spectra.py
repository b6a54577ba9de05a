r"""Short-time spectra, Welch cross-spectra, minimum phase, smoothing.

One convention holds everywhere: the cross-spectrum of x and y is

.. math:: P_{xy} = E[X^* Y]

so that :math:`H_1 = P_{xy}/P_{xx} = Y/X`, and y = x delayed by 10 samples has the phase
:math:`-2\pi f \cdot 10/f_s`: it comes out as +10. (`scipy.signal.csd(x, y)` agrees.)
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from bcsim.dsp.lazy_signal import Samples

_BLOCK = 256  # frames that are transformed at a time
_SPARSE = 4  # times their length that frames lie apart, from which on they are read one by one
_MEDIAN_FRAMES = 8192  # at most that many are held at once; of more, evenly spread ones


@dataclass(frozen=True, eq=False)
class CrossSpectra:
    """Auto- and cross-spectra of two signals, averaged over frames.

    Args:
        xx: (F,), power of the first signal in each bin.
        yy: (F,), power of the second signal in each bin.
        xy: (F,), complex, E[conj(X) Y].
        num_averages: number of independent averages; overlapping frames count for less than one.
    """

    xx: Tensor
    yy: Tensor
    xy: Tensor
    num_averages: float

    @property
    def coherence(self) -> Tensor:
        r"""Return :math:`|P_{xy}|^2/(P_{xx}P_{yy})`, (F,); 0 without power."""
        product = self.xx * self.yy
        coherence = self.xy.abs().square() / product.clamp(min=torch.finfo(product.dtype).tiny)
        return coherence.clamp(max=1.0)

    @property
    def unbiased_coherence(self) -> Tensor:
        r"""Return :math:`(n\gamma^2 - 1)/(n - 1)`, (F,): on average 0 for unrelated signals."""
        n = max(self.num_averages, 2.0)
        return ((n * self.coherence - 1) / (n - 1)).clamp(min=0)

    @staticmethod
    def pooled(parts: "list[CrossSpectra]") -> "CrossSpectra":
        """Return the average of all frames in `parts`: a part counts by its averages."""
        total = sum(part.num_averages for part in parts)
        weights = [part.num_averages / total if total else 0.0 for part in parts]
        xx, yy, xy = (
            torch.stack([w * power for w, power in zip(weights, powers, strict=True)]).sum(dim=0)
            for powers in zip(*[(part.xx, part.yy, part.xy) for part in parts], strict=True)
        )
        return CrossSpectra(xx, yy, xy, total)


def sine_window(length: int) -> NDArray[np.float64]:
    """Return the square root of a Hann window that is symmetric about its middle, (length,)."""
    return np.sin(np.pi * (np.arange(length) + 0.5) / length)


def hann_like(signal: Tensor, num_fft: int) -> Tensor:
    """Return the periodic Hann window (num_fft,) of a signal's type; it must not be changed."""
    return _hann(num_fft, signal.dtype, signal.device)


@lru_cache(maxsize=32)
def _hann(num_fft: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(mode=False):  # whoever asks first: gradients may be wanted later
        return torch.hann_window(num_fft, dtype=dtype, device=device)


def power_of(spectrum: Tensor) -> Tensor:
    """Return the squared magnitudes of complex spectra; their gradient is finite in silence."""
    return spectrum.real.square() + spectrum.imag.square()


def stft(signal: Tensor, num_fft: int, hop: int) -> Tensor:
    """Return the spectra of whole Hann-windowed frames, nothing added at the ends.

    Args:
        signal: (B, T); a signal shorter than a frame is padded with zeros to one.
        num_fft: frame length in samples, even.
        hop: samples from frame to frame.

    Returns:
        (B, frames, F), complex, F = num_fft // 2 + 1.
    """
    return torch.fft.rfft(
        _filled(signal, num_fft).unfold(-1, num_fft, hop) * hann_like(signal, num_fft)
    )


def frame_power(signal: Tensor, num_fft: int, hop: int) -> Tensor:
    """Return the mean power of a signal (B, T) under each frame of `stft`, (B, frames)."""
    weight = hann_like(signal, num_fft).square()
    frames = _filled(signal, num_fft).square().unfold(-1, num_fft, hop)
    return frames @ (weight / weight.sum())


def cross_spectra(
    x: Samples, y: Samples, num_fft: int, hop: int, keep: Tensor | None = None
) -> CrossSpectra:
    """Average the spectra of two signals over frames (Welch's method).

    Args:
        x: (T,), first signal.
        y: (T,), second signal.
        num_fft: frame length in samples.
        hop: samples from frame to frame.
        keep: (frames,) of bool, on the grid of `stft`, the frames to use; all where None.

    Returns:
        The average; densities times `density_to_power` are in its units.
    """
    starts = _starts(x, num_fft, hop, keep)
    xx = x[:0].new_zeros(num_fft // 2 + 1)
    yy, xy = xx.clone(), torch.complex(xx, xx)
    for block in starts.split(_BLOCK):  # hours of signal in little memory
        spectrum_x, spectrum_y = (spectra_at(signal, block, num_fft) for signal in (x, y))
        xx = xx + power_of(spectrum_x).sum(dim=0)
        yy = yy + power_of(spectrum_y).sum(dim=0)
        xy = xy + (spectrum_x.conj() * spectrum_y).sum(dim=0)
    count = max(1, len(starts))
    averages = independent_averages(len(starts), num_fft, hop)
    return CrossSpectra(xx / count, yy / count, xy / count, averages)


def median_spectra(
    x: Samples, y: Samples, num_fft: int, hop: int, keep: Tensor | None = None
) -> CrossSpectra:
    r"""Take the median of the spectra of two signals over frames: clicks do not count.

    The powers are medians over frames divided by `median_to_mean`, which makes them unbiased for
    a stationary Gaussian signal. Of speech they are those of a typical frame and not of a loud
    one, but in the same proportion for both channels: of a linear system the response comes out
    exactly.

    The products :math:`X^*Y` are complex. Their phase is the rotation after which the median of
    the imaginary part is 0. The real part then has, for Gaussian signals of coherence
    :math:`\gamma^2`, an asymmetric Laplace distribution, whose median is

    .. math:: m = \sqrt{P_{xx}P_{yy}}\;\tfrac{1+\gamma}{2}\ln(1+\gamma)

    (0.69 of the mean for coherent signals, 0.5 for unrelated ones), and is solved for
    :math:`|P_{xy}| = \gamma\sqrt{P_{xx}P_{yy}}`.

    The arguments are those of `cross_spectra`.

    Returns:
        The spectra, in the units of `cross_spectra`. A median varies as an average of about half
        (:math:`\ln^2 2`) as many frames does; `num_averages` is that of the fewer frames.
    """
    starts = _starts(x, num_fft, hop, keep)
    averages = independent_averages(len(starts), num_fft, hop) * math.log(2) ** 2
    if len(starts) == 0:
        nothing = x[:0].new_zeros(num_fft // 2 + 1)
        return CrossSpectra(nothing, nothing, torch.complex(nothing, nothing), 0.0)
    starts = starts[:: -(-len(starts) // _MEDIAN_FRAMES)]
    spectrum_x, spectrum_y = (spectra_at(signal, starts, num_fft) for signal in (x, y))
    scale = median_to_mean(len(starts))
    xx, yy = (_median(spectrum.abs().square()) / scale for spectrum in (spectrum_x, spectrum_y))
    product = spectrum_x.conj() * spectrum_y
    phasor = torch.ones_like(product[0])
    for _ in range(4):
        turned = product * phasor.conj()
        phasor = phasor * torch.exp(1j * torch.atan2(_median(turned.imag), _median(turned.real)))
    middle = _median((product * phasor.conj()).real) / scale
    geometric = (xx * yy).sqrt()
    relative = middle / geometric.clamp(min=torch.finfo(geometric.dtype).tiny)
    xy = _coherence_of_median(relative * math.log(2)) * geometric * phasor
    return CrossSpectra(xx, yy, xy, averages)


def _filled(signal: Tensor, num_fft: int) -> Tensor:
    """Pad a signal that is shorter than a frame with zeros to one."""
    missing = num_fft - signal.shape[-1]
    return pad(signal, (0, missing)) if missing > 0 else signal


def _starts(signal: Samples, num_fft: int, hop: int, keep: Tensor | None) -> Tensor:
    """Return the first sample of each frame to use."""
    last = max(1, len(signal) - num_fft + 1)
    starts = torch.arange(0, last, hop, device=signal[:0].device)
    return starts if keep is None else starts[keep]


def spectra_at(signal: Samples, starts: Tensor, num_fft: int) -> Tensor:
    """Return the spectra of some Hann-windowed frames.

    Args:
        signal: (T,).
        starts: (frames,), first sample of each frame, rising.
        num_fft: frame length in samples.

    Returns:
        (frames, F), complex.
    """
    zeros = signal[:0].new_zeros(0, num_fft // 2 + 1)
    spectra = [torch.complex(zeros, zeros)]
    for block in starts.split(_BLOCK) if len(starts) else ():
        first, past = int(block[0]), int(block[-1]) + num_fft
        if past - first > _SPARSE * len(block) * num_fft:  # what lies between is not read
            frames = torch.stack([signal[start : start + num_fft] for start in block.tolist()])
        else:
            segment = _filled(signal[first:past], num_fft)
            places = (block - first)[:, None] + torch.arange(num_fft, device=segment.device)
            frames = segment[places]
        spectra.append(torch.fft.rfft(frames * hann_like(frames, num_fft)))
    return torch.cat(spectra)


def _median(values: Tensor) -> Tensor:
    return torch.quantile(values, 0.5, dim=0)


def _coherence_of_median(median: Tensor) -> Tensor:
    r"""Solve :math:`\tfrac{1+\gamma}{2}\ln(1+\gamma) = m` for 0 <= gamma <= 1."""
    median = median.clamp(0, math.log(2))
    gamma = median / math.log(2)
    for _ in range(6):  # Newton's method; the function is convex and rises
        log = torch.log1p(gamma)
        gamma = gamma - ((1 + gamma) / 2 * log - median) / ((1 + log) / 2)
    return gamma.clamp(0, 1)


def median_to_mean(count: int) -> float:
    r"""Return the expected median of `count` exponential variables of mean 1.

    .. math:: \alpha(n) = \sum_{k=1}^{n} (-1)^{k+1}/k

    for odd n (Allen et al. 2012, doi 10.1103/PhysRevD.85.122006); it tends to ln 2.

    Example:
        >>> round(median_to_mean(1), 3), round(median_to_mean(10001), 3)
        (1.0, 0.693)
    """
    odd = count if count % 2 else count - 1
    return sum((-1) ** (k + 1) / k for k in range(1, odd + 1))


def density_to_power(sample_rate: int, num_fft: int) -> float:
    r"""Return the power in a bin of `stft` over the one-sided density of a noise in 1/Hz.

    White noise of variance 1 has the density 2 / `sample_rate`, and in each bin the power
    :math:`\sum w^2`, which is 3/8 of the frame length for a Hann window.
    """
    return sample_rate * 3 / 16 * num_fft


@lru_cache(maxsize=256)
def independent_averages(num_frames: int, num_fft: int, hop: int) -> float:
    r"""Return how many independent frames give an average as sure as overlapping Hann frames do.

    Spectra of frames that are :math:`k` hops apart correlate as :math:`\rho_k^2`, with
    :math:`\rho_k` the autocorrelation of the window, so the variance of an average of n is that of

    .. math:: n \Big/ \Big(1 + 2\sum_{k<n} (1 - k/n)\,\rho_k^2\Big)

    independent ones (Welch 1967, doi 10.1109/TAU.1967.1161901).

    Example:
        >>> round(independent_averages(1000, 512, 256) / 1000, 3)
        0.947
    """
    if num_frames == 0:
        return 0.0
    window = torch.hann_window(num_fft, dtype=torch.float64)
    correlated = 0.0
    for k in range(1, min(num_frames, -(-num_fft // hop))):
        rho = (window[k * hop :] @ window[: -k * hop]) / (window @ window)
        correlated += (1 - k / num_frames) * float(rho) ** 2
    return num_frames / (1 + 2 * correlated)


def chance_coherence(num_averages: float) -> float:
    """Return the coherence that unrelated signals exceed once in 20 times, 1 for one average.

    Of n averages, it exceeds c with the probability (1 - c)^(n-1) (Carter 1987,
    doi 10.1109/PROC.1987.13723).
    """
    return 1 - 0.05 ** (1 / (num_averages - 1)) if num_averages > 1 else 1.0


def minimum_phase(log_magnitude: Tensor) -> Tensor:
    """Return the phase of the minimum-phase system of a given magnitude.

    Log magnitude and phase of such a system are a Hilbert pair: its cepstrum is causal, so the
    cepstrum of the log magnitude is folded onto positive time.

    Args:
        log_magnitude: (..., F), natural logarithm, uniform from 0 to half the sample rate.

    Returns:
        (..., F), radians, continuous over frequency; 0 at both ends.
    """
    cepstrum = torch.fft.irfft(log_magnitude)
    half = cepstrum.shape[-1] // 2
    fold = torch.zeros_like(cepstrum)
    fold[..., 1:half] = 2 * cepstrum[..., 1:half]
    return torch.fft.rfft(fold).imag


def fractional_octave_smooth(values: Tensor, fraction: float, min_bins: float = 1.0) -> Tensor:
    """Average over a band of 1/`fraction` octave around every frequency.

    Args:
        values: (..., F), real or complex, uniform from 0 to half the sample rate.
        fraction: 3 for third-octaves, 12 for twelfths.
        min_bins: least width of a band in bins, which matters at low frequencies.

    Returns:
        (..., F); a constant stays as it is, bands that reach over an end are cut there.
    """
    num_bins = values.shape[-1]
    centre = torch.arange(num_bins, dtype=torch.float64, device=values.device)
    factor = 2 ** (1 / (2 * fraction))
    lower = torch.minimum(centre / factor, centre - min_bins / 2) + 0.5
    upper = torch.maximum(centre * factor, centre + min_bins / 2) + 0.5
    lower, upper = lower.clamp(min=0), upper.clamp(max=num_bins)
    # Bin k covers [k, k + 1] of the running integral, so that fractions of bins count as such.
    integral = pad(values.cumsum(dim=-1), (1, 0))
    total = _between(integral, upper) - _between(integral, lower)
    return total / (upper - lower)


def fill_gaps(curve: Tensor, known: Tensor) -> Tensor:
    """Interpolate a curve (..., F) linearly over the bins that are not `known`, (F,) of bool.

    It is held at the ends; where no bin is known, the curve comes back as 0.

    Example:
        >>> curve = torch.tensor([0.0, 1.0, 0.0, 3.0])
        >>> fill_gaps(curve, torch.tensor([False, True, False, True]))
        tensor([1., 1., 2., 3.])
    """
    places = torch.nonzero(known)[:, 0]
    if len(places) == 0:
        return torch.zeros_like(curve)
    position = torch.arange(curve.shape[-1])
    right = torch.searchsorted(places, position).clamp(max=len(places) - 1)
    left = torch.searchsorted(places, position, right=True).sub(1).clamp(min=0)
    start, end = places[left], places[right]
    part = (position - start) / (end - start).clamp(min=1)
    return curve[..., start] * (1 - part) + curve[..., end] * part


def _between(values: Tensor, position: Tensor) -> Tensor:
    left = position.floor().long().clamp(max=values.shape[-1] - 2)
    part = position - left
    return values[..., left] * (1 - part) + values[..., left + 1] * part
