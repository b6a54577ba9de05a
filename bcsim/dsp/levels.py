"""Levels: which frames of a recording carry speech, and how loud it is there."""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

FRAME = 512
HOP = 256
ACTIVE_RANGE_DB = 35.0


def db_to_amplitude(db: Tensor) -> Tensor:
    """Return 10^(db/20)."""
    return torch.exp(db * (math.log(10) / 20))


def frame_energy(signal: Tensor) -> Tensor:
    """Return the energy of Hann-windowed frames of 512 samples every 256.

    Args:
        signal: (B, T). Shorter signals count as padded with zeros to one frame.

    Returns:
        (B, frames), whole frames only.
    """
    window = torch.hann_window(FRAME, dtype=signal.dtype, device=signal.device)
    signal = pad(signal, (0, max(0, FRAME - signal.shape[-1])))
    # A frame is two neighbouring halves, each of which meets either half of the window.
    num_halves = signal.shape[-1] // HOP
    halves = signal[:, : num_halves * HOP].square().unflatten(-1, (num_halves, HOP))
    weighed = halves @ window.square().view(2, HOP).T
    return weighed[:, :-1, 0] + weighed[:, 1:, 1]


def active_frames(air: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Tell which frames carry speech: energy above the 98th percentile less 35 dB.

    Args:
        air: (B, T), the air-conducted signal, which decides for both channels of a pair.
        lengths: (B,), or None where every clip fills its row.

    Returns:
        (B, frames) of bool on the grid of `frame_energy`; nothing is active in silence.
    """
    return loud_frames(frame_energy(air).detach(), lengths)


def loud_frames(energy: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Tell which frames carry speech, as `active_frames`, from `frame_energy` (B, frames)."""
    if lengths is not None:
        inside = torch.arange(energy.shape[1], device=energy.device) < _num_frames(lengths)[:, None]
        energy = torch.where(inside, energy, torch.nan)
    top = torch.nanquantile(energy, 0.98, dim=1, keepdim=True)
    return (energy > top * 10 ** (-ACTIVE_RANGE_DB / 10)) & (energy > 0)


def active_rms(signal: Tensor, active: Tensor) -> Tensor:
    """Return the RMS of `signal` over active frames.

    Args:
        signal: (B, T).
        active: (B, frames) of bool, from `active_frames`.

    Returns:
        (B,); 0 where no frame is active.
    """
    return energy_rms(frame_energy(signal), active)


def energy_rms(energy: Tensor, active: Tensor) -> Tensor:
    """Return the RMS over active frames, (B,), from `frame_energy` (B, frames)."""
    energy = torch.where(active, energy, 0).sum(dim=1)
    window_energy = 3 / 8 * FRAME  # of a periodic Hann window: mean of its square is 3/8
    count = active.sum(dim=1).clamp(min=1)
    return (energy / (window_energy * count)).sqrt()


def _num_frames(lengths: Tensor) -> Tensor:
    return ((lengths - FRAME).clamp(min=0) // HOP) + 1
