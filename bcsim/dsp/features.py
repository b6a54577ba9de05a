"""Features of speech frames beside their levels: pitch, voicing, and how features change."""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

NEAR_HIGHEST = 0.85  # part of the highest correlation that a peak at a shorter lag has to have
MIN_ENERGY = 1e-9  # of a frame of noise at full scale, below which nothing correlates


def pitch(
    frames: Tensor,
    window: Tensor,
    sample_rate: int,
    *,
    f_min_hz: float = 70.0,
    f_max_hz: float = 400.0,
) -> tuple[Tensor, Tensor]:
    r"""Return the fundamental frequency of frames, and how periodic they are.

    .. math:: r(\tau) = \frac{\sum_t x_t x_{t+\tau}}{\sum_t x_t^2}
        \cdot \frac{\sum_t w_t^2}{\sum_t w_t w_{t+\tau}}

    with the windowed frame x and the window w, by whose own correlation the taper is made up for:
    Boersma, "Accurate short-term analysis of the fundamental frequency", IFA 17, 1993. The
    frequency is that of the first peak, between samples, within 15 % of the highest value.

    Args:
        frames: windowed frames, (..., W); full scale is 1.
        window: window, (W,).
        sample_rate: sample rate in Hz.
        f_min_hz: lowest frequency, of which two periods should fit into a frame.
        f_max_hz: highest frequency.

    Returns:
        Frequency in Hz and voicing, (...) each; voicing is r at the peak, 0 to 1. In silence, and
        where there is no peak, it is 0, and the frequency says nothing.

    Raises:
        ValueError: if the frequencies are none that a frame can tell.
    """
    length = frames.shape[-1]
    shortest, longest = math.floor(sample_rate / f_max_hz), math.ceil(sample_rate / f_min_hz)
    if not 2 <= shortest < longest < length - 1:
        raise ValueError(
            f"f_min_hz {f_min_hz:g}, f_max_hz {f_max_hz:g}: lags from {shortest} to {longest} "
            f"samples; it wants rising ones from 2 to less than the frame's {length - 1}"
        )
    lags = torch.arange(shortest - 1, longest + 2, device=frames.device)
    taper = _correlation(window.to(frames))
    correlation = _correlation(frames)
    energy = correlation[..., :1] + MIN_ENERGY * length
    ratio = correlation[..., lags] / energy * (taper[0] / taper[lags])
    before, at, after = ratio[..., :-2], ratio[..., 1:-1], ratio[..., 2:]
    is_peak = (at >= before) & (at > after) & (at > NEAR_HIGHEST * at.amax(-1, keepdim=True))
    place = is_peak.int().argmax(-1, keepdim=True)
    before, at, after = (part.gather(-1, place)[..., 0] for part in (before, at, after))
    # The top of the parabola through the peak and its neighbours.
    bend = (2 * at - before - after).clamp(min=1e-6)
    shift = ((after - before) / (2 * bend)).clamp(-0.5, 0.5)
    lag = lags[1:-1][place[..., 0]] + shift
    return sample_rate / lag, torch.where(is_peak.any(-1), at.clamp(0, 1), 0)


def deltas(features: Tensor) -> Tensor:
    """Return how much features changed over two frames, without a look ahead.

    Args:
        features: (B, frames, N).

    Returns:
        (B, frames, N), 0 in the first two frames.
    """
    return pad(features[:, 2:] - features[:, :-2], (0, 0, min(2, features.shape[1]), 0))


def _correlation(frames: Tensor) -> Tensor:
    """Return the autocorrelation of (..., W) at the lags from 0 to W - 1."""
    length = frames.shape[-1]
    spectra = torch.fft.rfft(frames, 2 * length)
    power = spectra.real.square() + spectra.imag.square()
    return torch.fft.irfft(power, 2 * length)[..., :length]
