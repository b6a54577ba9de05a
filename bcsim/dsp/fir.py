"""Filtering in the frequency domain: grids, edges and responses that are given on other grids."""

from typing import cast

import scipy  # its parts are loaded when they are asked for
import torch
from torch import Tensor
from torch.nn.functional import pad


def fast_length(num_samples: int) -> int:
    """Return the next even length whose FFT is fast."""
    half = cast(int, scipy.fft.next_fast_len((num_samples + 1) // 2, real=True))
    return 2 * half  # even, so that the grid's last frequency is half the sample rate


def frequency_grid(num_samples: int, sample_rate: int, like: Tensor) -> Tensor:
    """Return the frequencies of an rfft of `num_samples`, in Hz, (num_samples // 2 + 1,)."""
    return torch.fft.rfftfreq(num_samples, 1 / sample_rate, dtype=torch.float64, device=like.device)


def interpolate_response(response: Tensor, num_bins: int) -> Tensor:
    """Put a response on a finer grid by the impulse response that it stands for.

    The impulse response is circular: its second half is what comes before time zero. Zeros go
    between the two halves, so that nothing is delayed.

    Args:
        response: (B, F) on a uniform grid from 0 to half the sample rate.
        num_bins: bins of the new grid over the same range, at least F.

    Returns:
        (B, num_bins), equal to `response` wherever the grids share a frequency.
    """
    taps = torch.fft.irfft(response)
    half = taps.shape[-1] // 2
    num_samples = 2 * (num_bins - 1)
    if num_samples == taps.shape[-1]:
        return response
    gap = taps.new_zeros(*taps.shape[:-1], num_samples - taps.shape[-1] - 1)
    # The tap at +-half belongs to both sides; shared equally, the response stays symmetric.
    shared = taps[..., half : half + 1] / 2
    spread = [taps[..., :half], shared, gap, shared, taps[..., half + 1 :]]
    return torch.fft.rfft(torch.cat(spread, dim=-1))


def extend_by_reflection(signal: Tensor, lengths: Tensor, num_samples: int) -> Tensor:
    """Continue clips (B, T) of given lengths at both of their own ends by reflection.

    Returns:
        (B, T + 2 num_samples); clip b starts at `num_samples` and is followed by its reflection.
    """
    on_cpu = lengths.device.type == "cpu"  # a GPU is not waited for to know
    if on_cpu and num_samples < signal.shape[-1] and bool((lengths == signal.shape[-1]).all()):
        return pad(signal, (num_samples, num_samples), mode="reflect")
    positions = torch.arange(-num_samples, signal.shape[-1] + num_samples, device=signal.device)
    # A triangular wave of period 2 (length - 1) walks to and fro between first and last sample.
    last = (lengths[:, None] - 1).clamp(min=0)
    period = (2 * last).clamp(min=1)
    phase = positions % period
    return signal.gather(-1, torch.where(phase > last, period - phase, phase))
