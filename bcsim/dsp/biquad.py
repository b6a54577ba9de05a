"""The second-order low-pass of the Audio EQ Cookbook (R. Bristow-Johnson)."""

import math

import torch
from torch import Tensor


def lowpass_coefficients(cutoff_hz: Tensor, q: Tensor, sample_rate: int) -> tuple[Tensor, Tensor]:
    r"""Return numerator and denominator of the cookbook's low-pass.

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
