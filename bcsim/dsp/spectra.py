r"""Short-time spectra, Welch cross-spectra, minimum phase, smoothing.

One convention holds everywhere: the cross-spectrum of x and y is

.. math:: P_{xy} = E[X^* Y]

so that :math:`H_1 = P_{xy}/P_{xx} = Y/X`, and y = x delayed by 10 samples has the phase
:math:`-2\pi f \cdot 10/f_s`: it comes out as +10. (`scipy.signal.csd(x, y)` agrees.)
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

_BLOCK = 256  # frames that are transformed at a time


@dataclass(frozen=True, eq=False)
class CrossSpectra:
    """Auto- and cross-spectra of two signals, averaged over frames.

    Args:
        xx: (F,), power per bin of the first signal.
        yy: (F,), of the second.
        xy: (F,), complex, E[conj(X) Y].
        num_averages: independent averages therein; overlapping frames count for less than one.
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

    @staticmethod
    def pooled(parts: "list[CrossSpectra]") -> "CrossSpectra":
        """Return the average of all frames in `parts`: a part counts by its averages."""
        total = sum(part.num_averages for part in parts)
        weights = [part.num_averages / total if total else 0.0 for part in parts]

        def average(name: str) -> Tensor:
            return torch.stack(
                [weight * getattr(part, name) for weight, part in zip(weights, parts, strict=True)]
            ).sum(dim=0)

        return CrossSpectra(average("xx"), average("yy"), average("xy"), total)


def stft(signal: Tensor, num_fft: int, hop: int) -> Tensor:
    """Return the spectra of whole Hann-windowed frames, nothing added at the ends.

    Args:
        signal: (B, T); a signal shorter than a frame is padded with zeros to one.
        num_fft: frame length, even.
        hop: samples from frame to frame.

    Returns:
        (B, frames, F), complex, F = num_fft // 2 + 1.
    """
    signal = pad(signal, (0, max(0, num_fft - signal.shape[-1])))
    window = torch.hann_window(num_fft, dtype=signal.dtype, device=signal.device)
    return torch.fft.rfft(signal.unfold(-1, num_fft, hop) * window)


def frame_power(signal: Tensor, num_fft: int, hop: int) -> Tensor:
    """Return the mean power of the signal under each frame of `stft`.

    Args:
        signal: (B, T).
        num_fft: frame length.
        hop: samples from frame to frame.

    Returns:
        (B, frames).
    """
    signal = pad(signal, (0, max(0, num_fft - signal.shape[-1])))
    weight = torch.hann_window(num_fft, dtype=signal.dtype, device=signal.device).square()
    return signal.square().unfold(-1, num_fft, hop) @ (weight / weight.sum())


def cross_spectra(
    x: Tensor, y: Tensor, num_fft: int, hop: int, keep: Tensor | None = None
) -> CrossSpectra:
    """Average the spectra of two signals over frames (Welch's method).

    Args:
        x: (T,).
        y: (T,).
        num_fft: frame length.
        hop: samples from frame to frame.
        keep: (frames,) of bool, on the grid of `stft`, the frames to use; all where None.

    Returns:
        The average, in units of `window_power` times the signals' power.
    """
    starts = torch.arange(0, max(1, x.shape[-1] - num_fft + 1), hop, device=x.device)
    starts = starts if keep is None else starts[keep]
    within = torch.arange(num_fft, device=x.device)
    window = torch.hann_window(num_fft, dtype=x.dtype, device=x.device)
    x, y = (pad(signal, (0, max(0, num_fft - signal.shape[-1]))) for signal in (x, y))
    xx = x.new_zeros(num_fft // 2 + 1)
    yy, xy = xx.clone(), torch.complex(xx, xx)
    for block in starts.split(_BLOCK):  # hours of signal in little memory
        indices = block[:, None] + within
        spectrum_x = torch.fft.rfft(x[indices] * window)
        spectrum_y = torch.fft.rfft(y[indices] * window)
        xx = xx + spectrum_x.abs().square().sum(dim=0)
        yy = yy + spectrum_y.abs().square().sum(dim=0)
        xy = xy + (spectrum_x.conj() * spectrum_y).sum(dim=0)
    count = max(1, len(starts))
    averages = independent_averages(len(starts), num_fft, hop)
    return CrossSpectra(xx / count, yy / count, xy / count, averages)


def window_power(num_fft: int) -> float:
    r"""Return :math:`\sum w^2` of the Hann frames: white noise of variance 1 has it in each bin.

    A one-sided density is therefore `2 P / (sample_rate * window_power(num_fft))`.
    """
    return 3 / 8 * num_fft


def independent_averages(num_frames: int, num_fft: int, hop: int) -> float:
    r"""Return how many independent frames as many overlapping Hann frames are worth.

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
        min_bins: the least width of a band; matters at low frequencies.

    Returns:
        (..., F); a constant stays as it is, bands that reach over an end are cut there.
    """
    num_bins = values.shape[-1]
    real = torch.float64
    centre = torch.arange(num_bins, dtype=real, device=values.device)
    factor = 2 ** (1 / (2 * fraction))
    lower = torch.minimum(centre / factor, centre - min_bins / 2) + 0.5
    upper = torch.maximum(centre * factor, centre + min_bins / 2) + 0.5
    lower, upper = lower.clamp(min=0), upper.clamp(max=num_bins)
    # Bin k covers [k, k + 1] of the running integral, so that fractions of bins count as such.
    integral = pad(values.cumsum(dim=-1), (1, 0))
    total = _between(integral, upper) - _between(integral, lower)
    return total / (upper - lower)


def fill_gaps(curve: Tensor, known: Tensor) -> Tensor:
    """Interpolate a curve (F,) linearly over the bins that are not `known`; hold it at the ends.

    Example:
        >>> curve = torch.tensor([0.0, 1.0, 0.0, 3.0])
        >>> fill_gaps(curve, torch.tensor([False, True, False, True]))
        tensor([1., 1., 2., 3.])
    """
    places = torch.nonzero(known)[:, 0]
    if len(places) == 0:
        return torch.zeros_like(curve)
    position = torch.arange(len(curve))
    right = torch.searchsorted(places, position).clamp(max=len(places) - 1)
    left = torch.searchsorted(places, position, right=True).sub(1).clamp(min=0)
    start, end = places[left], places[right]
    part = (position - start) / (end - start).clamp(min=1)
    return curve[start] * (1 - part) + curve[end] * part


def _between(values: Tensor, position: Tensor) -> Tensor:
    left = position.floor().long().clamp(max=values.shape[-1] - 2)
    part = position - left
    return values[..., left] * (1 - part) + values[..., left + 1] * part
