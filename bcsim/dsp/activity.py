"""Where a recording carries speech, and how loud the speech is.

A frame is active if its power exceeds the 98th percentile over the recording less 35 dB. That rule
(`is_active`) holds for every frame length in the package. Levels of speech use Hann-windowed frames
of 32 ms every 16 ms at any sample rate: 512 samples every 256 at 16 kHz.
"""

from array import array
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

HOP_S = 0.016  # a frame is two hops
LOUD_QUANTILE = 0.98
ACTIVE_RANGE_DB = 35.0


def hop_size(sample_rate: int) -> int:
    """Return the number of samples from one frame to the next; a frame is twice as long."""
    return max(1, round(HOP_S * sample_rate))


def loud_power(power: Tensor, num_frames: Tensor | None = None) -> Tensor:
    """Return the 98th percentile of power over the frames of each recording, (1,) or (B, 1).

    The arguments are those of `is_active`.
    """
    if num_frames is not None:
        power = torch.where(_inside(power, num_frames), power, torch.nan)
    return torch.nanquantile(power, LOUD_QUANTILE, dim=-1, keepdim=True)


def is_active(power: Tensor, num_frames: Tensor | None = None) -> Tensor:
    """Tell which frames carry speech: power above the 98th percentile less 35 dB.

    Args:
        power: (frames,) or (B, frames), in any unit.
        num_frames: (B,), number of frames of each recording; None where every one fills its row.

    Returns:
        Bool, of the shape of `power`; nothing is active in silence.

    Example:
        >>> is_active(torch.tensor([0.0, 1e-4, 1e-3, 1.0]))
        tensor([False, False,  True,  True])
    """
    active = power > loud_power(power, num_frames) * 10 ** (-ACTIVE_RANGE_DB / 10)
    return active if num_frames is None else active & _inside(power, num_frames)


def frame_energy(signal: Tensor, sample_rate: int, lengths: Tensor | None = None) -> Tensor:
    """Return the energy of Hann-windowed frames of 32 ms every 16 ms.

    A clip that is shorter than a frame has one frame, with the energy that a whole frame of its
    mean square would have.

    Args:
        signal: (B, T), zero past each clip's end.
        sample_rate: in Hz.
        lengths: (B,), samples of each clip; None where every clip fills its row.

    Returns:
        (B, frames), whole frames only.
    """
    hop = hop_size(sample_rate)
    frame = 2 * hop
    if lengths is None and signal.shape[-1] < frame:
        lengths = torch.full(signal.shape[:1], signal.shape[-1], device=signal.device)
    window = torch.hann_window(frame, dtype=signal.dtype, device=signal.device)
    signal = pad(signal, (0, max(0, frame - signal.shape[-1])))
    # A frame is two neighbouring halves, each of which meets either half of the window.
    num_halves = signal.shape[-1] // hop
    halves = signal[:, : num_halves * hop].square().unflatten(-1, (num_halves, hop))
    weighted = halves @ window.square().view(2, hop).T
    energy = weighted[:, :-1, 0] + weighted[:, 1:, 1]
    if lengths is None:
        return energy
    mean_square = signal[:, :frame].square().sum(dim=-1) / lengths.clamp(min=1)
    first = torch.arange(energy.shape[1], device=energy.device) == 0
    short = (lengths < frame)[:, None] & first
    return torch.where(short, _window_energy(sample_rate) * mean_square[:, None], energy)


def active_frames(air: Tensor, sample_rate: int, lengths: Tensor | None = None) -> Tensor:
    """Tell which frames of `frame_energy` carry speech, (B, frames) of bool.

    The air-conducted signal (B, T) decides for both channels of a pair.
    """
    energy = frame_energy(air, sample_rate, lengths).detach()
    return is_active(energy, _num_frames(lengths, sample_rate))


def active_rms(signal: Tensor, active: Tensor, sample_rate: int) -> Tensor:
    """Return the RMS of signals (B, T) over their active frames (B, frames), (B,).

    It is 0 where no frame is active. Every clip must fill its row.
    """
    return _rms(frame_energy(signal, sample_rate), active, sample_rate)


def speech_rms(air: Tensor, sample_rate: int, lengths: Tensor | None = None) -> Tensor:
    """Return the RMS of signals over their own active frames, (B,); 0 in silence.

    The arguments are those of `frame_energy`.
    """
    energy = frame_energy(air, sample_rate, lengths)
    active = is_active(energy.detach(), _num_frames(lengths, sample_rate))
    return _rms(energy, active, sample_rate)


def speech_rms_of_blocks(blocks: Iterable[NDArray[np.float64]], sample_rate: int) -> Tensor | None:
    """Return the RMS over active frames of a recording too long for memory, (1,), float64.

    The blocks are consecutive parts of the recording, (samples,) each. None without any sample.
    """
    energies, rest = array("f"), np.zeros(0)  # single precision: six hours have a million frames
    hop = hop_size(sample_rate)
    for block in blocks:
        rest = np.concatenate([rest, block])
        if len(rest) >= 2 * hop:
            energy = frame_energy(torch.from_numpy(rest)[None], sample_rate)[0]
            energies.frombytes(energy.float().numpy().tobytes())
            rest = rest[len(energy) * hop :]
    if energies:
        energy = torch.frombuffer(energies, dtype=torch.float32)[None]
        return _rms(energy, is_active(energy), sample_rate).double()
    return speech_rms(torch.from_numpy(rest)[None], sample_rate) if len(rest) else None


def _rms(energy: Tensor, active: Tensor, sample_rate: int) -> Tensor:
    energy = torch.where(active, energy, 0).sum(dim=1)
    count = active.sum(dim=1).clamp(min=1)
    return (energy / (_window_energy(sample_rate) * count)).sqrt()


def _window_energy(sample_rate: int) -> float:
    return 3 / 8 * 2 * hop_size(sample_rate)  # a periodic Hann window has the mean square 3/8


def _inside(power: Tensor, num_frames: Tensor) -> Tensor:
    """Tell which frames belong to the recording and not to the rest of its row, (B, frames)."""
    return torch.arange(power.shape[-1], device=power.device) < num_frames[:, None]


def _num_frames(lengths: Tensor | None, sample_rate: int) -> Tensor | None:
    hop = hop_size(sample_rate)
    return None if lengths is None else (lengths - 2 * hop).clamp(min=0) // hop + 1
