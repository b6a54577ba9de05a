"""Low-pass filters that end: windowed sincs."""

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
