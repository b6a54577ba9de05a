"""Levels: which frames of a recording carry speech, and how loud it is there."""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

FRAME = 512
HOP = 256
WINDOW_ENERGY = 3 / 8 * FRAME  # of a periodic Hann window: mean of its square is 3/8
ACTIVE_RANGE_DB = 35.0


def db_to_amplitude(db: Tensor) -> Tensor:
    """Return 10^(db/20)."""
    return torch.exp(db * (math.log(10) / 20))


def frame_energy(signal: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the energy of Hann-windowed frames of 512 samples every 256.

    A clip that is shorter than a frame has one, with the energy that a whole frame of its mean
    square would have.

    Args:
        signal: (B, T), zero past each clip's end.
        lengths: (B,), or None where every clip fills its row.

    Returns:
        (B, frames), whole frames only.
    """
    if lengths is None and signal.shape[-1] < FRAME:
        lengths = torch.full(signal.shape[:1], signal.shape[-1], device=signal.device)
    window = torch.hann_window(FRAME, dtype=signal.dtype, device=signal.device)
    signal = pad(signal, (0, max(0, FRAME - signal.shape[-1])))
    # A frame is two neighbouring halves, each of which meets either half of the window.
    num_halves = signal.shape[-1] // HOP
    halves = signal[:, : num_halves * HOP].square().unflatten(-1, (num_halves, HOP))
    weighed = halves @ window.square().view(2, HOP).T
    energy = weighed[:, :-1, 0] + weighed[:, 1:, 1]
    if lengths is None:
        return energy
    mean_square = signal[:, :FRAME].square().sum(dim=-1) / lengths.clamp(min=1)
    first = torch.arange(energy.shape[1], device=energy.device) == 0
    short = (lengths < FRAME)[:, None] & first
    return torch.where(short, WINDOW_ENERGY * mean_square[:, None], energy)


def active_frames(air: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Tell which frames carry speech: energy above the 98th percentile less 35 dB.

    Args:
        air: (B, T), the air-conducted signal, which decides for both channels of a pair.
        lengths: (B,), or None where every clip fills its row.

    Returns:
        (B, frames) of bool on the grid of `frame_energy`; nothing is active in silence.
    """
    return loud_frames(frame_energy(air, lengths).detach(), lengths)


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
        signal: (B, T), every clip filling its row.
        active: (B, frames) of bool, from `active_frames`.

    Returns:
        (B,); 0 where no frame is active.
    """
    return energy_rms(frame_energy(signal), active)


def energy_rms(energy: Tensor, active: Tensor) -> Tensor:
    """Return the RMS over active frames, (B,), from `frame_energy` (B, frames)."""
    energy = torch.where(active, energy, 0).sum(dim=1)
    count = active.sum(dim=1).clamp(min=1)
    return (energy / (WINDOW_ENERGY * count)).sqrt()


def _num_frames(lengths: Tensor) -> Tensor:
    return ((lengths - FRAME).clamp(min=0) // HOP) + 1
