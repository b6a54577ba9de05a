"""Low-pass filters: windowed sincs, and the second-order one of the Audio EQ Cookbook."""

import math

import torch
from torch import Tensor

from bcsim.dsp.fir import fast_length

STEEPNESS = 3.0  # the Blackman window's transition is 2 * 3 / num_taps wide, in sample rates


def windowed_sinc(cutoff_hz: Tensor, num_taps: int, sample_rate: int) -> Tensor:
    r"""Return the taps of linear-phase low-passes, symmetric about the middle one.

    .. math:: h_n \propto w_n\,\mathrm{sinc}(2 f_c n/f_s),\quad \sum_n h_n = 1

    with Blackman's window w: -6 dB at the cutoff, passed within 0.02 dB below
    `cutoff - 3 sample_rate / num_taps`, stopped by 74 dB above `cutoff + 3 sample_rate / num_taps`.

    Args:
        cutoff_hz: (B,), at most half the sample rate, where the filter is the identity.
        num_taps: N, odd.
        sample_rate: in Hz.

    Returns:
        (B, N), float64.
    """
    half = num_taps // 2
    position = torch.arange(-half, half + 1, dtype=torch.float64, device=cutoff_hz.device)
    window = torch.blackman_window(
        num_taps, periodic=False, dtype=torch.float64, device=cutoff_hz.device
    )
    ratio = 2 * cutoff_hz.double()[:, None] / sample_rate
    taps = torch.sinc(ratio * position) * window
    return taps / taps.sum(dim=1, keepdim=True)


def taps_response(taps: Tensor, num_bins: int) -> Tensor:
    """Return the real response of filters without the delay of their middle tap, (B, F).

    Args:
        taps: (B, N), symmetric, N odd and below twice `num_bins` - 2.
        num_bins: F, number of frequencies from 0 to half the sample rate.
    """
    size = 2 * (num_bins - 1)
    spread = torch.nn.functional.pad(taps, (0, size - taps.shape[1]))
    return torch.fft.rfft(spread.roll(-(taps.shape[1] // 2), -1)).real


def filter_without_delay(signal: Tensor, taps: Tensor) -> Tensor:
    """Filter each row of a signal (B, T) with its own symmetric taps (B, N), N odd.

    Silence lies past both ends.
    """
    num_samples = signal.shape[-1]
    size = fast_length(num_samples + taps.shape[1])
    response = taps_response(taps, size // 2 + 1).to(signal.dtype)
    return torch.fft.irfft(torch.fft.rfft(signal, size) * response, size)[:, :num_samples]


def lowpass_coefficients(cutoff_hz: Tensor, q: Tensor, sample_rate: int) -> tuple[Tensor, Tensor]:
    r"""Return numerator and denominator of the cookbook's low-pass (R. Bristow-Johnson).

    .. math:: w_0 = 2\pi f_c/f_s,\quad \alpha = \sin w_0/(2Q),\quad
        b = \tfrac{1-\cos w_0}{2}(1, 2, 1),\quad a = (1+\alpha, -2\cos w_0, 1-\alpha)

    Args:
        cutoff_hz: (B,), below half the sample rate.
        q: (B,), positive.
        sample_rate: in Hz.

    Returns:
        b and a, (B, 3) each, not normalised.
    """
    w0 = 2 * math.pi * cutoff_hz / sample_rate
    alpha = torch.sin(w0) / (2 * q)
    cosine = torch.cos(w0)
    numerator = torch.stack([(1 - cosine) / 2, 1 - cosine, (1 - cosine) / 2], dim=-1)
    denominator = torch.stack([1 + alpha, -2 * cosine, 1 - alpha], dim=-1)
    return numerator, denominator


def biquad_power(
    coefficients: tuple[Tensor, Tensor], frequencies_hz: Tensor, sample_rate: int
) -> Tensor:
    r"""Return \|H\|^2, the response of a filter that is run forward, then backward.

    With three taps, :math:`|\sum_n b_n e^{-jwn}|^2 = r_0 + 2 r_1\cos w + 2 r_2\cos 2w`, where
    :math:`r` is the autocorrelation of the taps.

    Args:
        coefficients: b and a, (B, 3) each.
        frequencies_hz: (F,), frequencies at which the response is wanted.
        sample_rate: in Hz.

    Returns:
        (B, F), real: forward and backward phases cancel.
    """
    w = 2 * math.pi * frequencies_hz / sample_rate
    cosines = torch.stack([torch.ones_like(w), 2 * torch.cos(w), 2 * torch.cos(2 * w)])
    numerator, denominator = (_autocorrelation(taps) @ cosines for taps in coefficients)
    return numerator / denominator


def _autocorrelation(taps: Tensor) -> Tensor:
    first, second, third = taps.unbind(-1)
    return torch.stack(
        [taps.square().sum(-1), first * second + second * third, first * third], dim=-1
    )
