"""Where a recording carries speech, and how loud the speech is.

A frame is active if its power above 300 Hz exceeds the 98th percentile over the recording less
35 dB: what rumbles below, and what hums, is in the pauses too. That rule (`is_active` of
`speech_power`) holds for every frame length in the package. The level of speech is the power of
active frames above 50 Hz, so that no DC is in it, less what the pauses hold below 300 Hz. It uses
Hann-windowed frames of 32 ms every 16 ms at any sample rate: 512 samples every 256 at 16 kHz.
"""

import math
from array import array
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from bcsim.dsp.lazy_signal import Samples, of_frames
from bcsim.dsp.spectra import hann_like, power_of

HOP_S = 0.016  # a frame is two hops
LOUD_QUANTILE = 0.98
ACTIVE_RANGE_DB = 35.0
SPEECH_HZ = 300.0  # telephones begin there: whether somebody speaks can be told from the rest
LEVEL_HZ = 50.0  # the lowest voices begin at some 70 Hz
_BLOCK = 4096  # frames that are transformed at a time


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


def speech_power(signal: Tensor, sample_rate: int, num_fft: int, hop: int) -> Tensor:
    """Return the mean power above 300 Hz under each frame of `bcsim.dsp.spectra.stft`, (B, frames).

    Args:
        signal: (B, T); a signal shorter than a frame is padded with zeros to one.
        sample_rate: in Hz.
        num_fft: frame length in samples, even.
        hop: samples from frame to frame.
    """
    (energy,) = _energies_above((SPEECH_HZ,), signal, sample_rate, num_fft, hop)
    return energy / (3 / 8 * num_fft)


def speech_power_of(signal: Samples, sample_rate: int, num_fft: int, hop: int) -> Tensor:
    """Return `speech_power` of a signal (T,) of any length, (frames,)."""

    def measure(segment: Tensor) -> Tensor:
        return speech_power(segment, sample_rate, num_fft, hop)

    return of_frames(signal, num_fft, hop, measure)[0]


def frame_energies_of(signal: Samples, sample_rate: int) -> tuple[Tensor, Tensor]:
    """Return `frame_energies` of a signal (T,) of any length, (1, frames) each."""
    hop = hop_size(sample_rate)

    def measure(segment: Tensor) -> Tensor:
        return torch.cat(frame_energies(segment, sample_rate))

    energies = of_frames(signal, 2 * hop, hop, measure)
    return energies[:1], energies[1:]


def frame_energies(
    signal: Tensor, sample_rate: int, lengths: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the energies above 50 Hz and above 300 Hz of Hann-windowed frames of 32 ms.

    A clip that is shorter than a frame has one frame, with the energy that a whole frame of its
    mean square about the mean would have.

    Args:
        signal: (B, T), zero past each clip's end.
        sample_rate: in Hz.
        lengths: (B,), samples of each clip; None where every clip fills its row.

    Returns:
        Two of (B, frames), a frame every 16 ms, whole frames only.
    """
    hop = hop_size(sample_rate)
    frame = 2 * hop
    if lengths is None and signal.shape[-1] < frame:
        lengths = torch.full(signal.shape[:1], signal.shape[-1], device=signal.device)
    level, speech = _energies_above((LEVEL_HZ, SPEECH_HZ), signal, sample_rate, frame, hop)
    if lengths is None:
        return level, speech
    count = lengths.clamp(min=1)[:, None]
    inside = torch.arange(min(frame, signal.shape[-1]), device=signal.device) < lengths[:, None]
    start = signal[:, :frame]
    variance = ((start - start.sum(dim=1, keepdim=True) / count) * inside).square().sum(dim=1)
    first = torch.arange(level.shape[1], device=level.device) == 0
    short = (lengths < frame)[:, None] & first
    whole = _window_energy(sample_rate) * (variance[:, None] / count)
    return torch.where(short, whole, level), torch.where(short, whole, speech)


def active_frames(air: Tensor, sample_rate: int, lengths: Tensor | None = None) -> Tensor:
    """Tell which frames of `frame_energies` carry speech, (B, frames) of bool.

    The air-conducted signal (B, T) decides for both channels of a pair.
    """
    _, speech = frame_energies(air.detach(), sample_rate, lengths)
    return is_active(speech, _num_frames(lengths, sample_rate))


def active_rms(signal: Tensor, active: Tensor, sample_rate: int) -> Tensor:
    """Return the RMS above 50 Hz of signals (B, T) over their active frames (B, frames), (B,).

    It is 0 where no frame is active. Every clip must fill its row.
    """
    energy, _ = frame_energies(signal, sample_rate)
    return rms_of(energy, active, sample_rate)


def rms_of(energy: Tensor, active: Tensor, sample_rate: int) -> Tensor:
    """Return the RMS over the active frames (B, frames) of `frame_energies` (B, frames), (B,)."""
    return (mean_of(energy, active) / _window_energy(sample_rate)).sqrt()


def speech_rms(air: Tensor, sample_rate: int, lengths: Tensor | None = None) -> Tensor:
    """Return the RMS of the speech in signals, without rumble and DC, (B,); 0 in silence.

    The arguments are those of `frame_energies`.
    """
    level, speech = frame_energies(air, sample_rate, lengths)
    return rms_of_speech(level, speech, sample_rate, _num_frames(lengths, sample_rate))


def mean_speech_power(power: Tensor, speech: Tensor, num_frames: Tensor | None = None) -> Tensor:
    """Return the mean power of active frames less that of rumble, (B,); 0 in silence.

    Rumble is what lies below 300 Hz in the pauses, on average.

    Args:
        power: (B, frames), power of each frame, in any unit.
        speech: (B, frames), its part above 300 Hz.
        num_frames: (B,), number of frames of each recording; None where every one fills its row.
    """
    active = is_active(speech.detach(), num_frames)
    pauses = ~active & (power > 0)
    if num_frames is not None:
        pauses = pauses & _inside(power, num_frames)
    rumble = mean_of((power - speech).detach(), pauses)
    return torch.maximum(mean_of(power, active) - rumble, mean_of(speech, active))


def mean_of(values: Tensor, chosen: Tensor) -> Tensor:
    """Return the mean of values (B, frames) over the chosen frames, (B,); 0 where there is none."""
    return torch.where(chosen, values, 0).sum(dim=1) / chosen.sum(dim=1).clamp(min=1)


def speech_rms_of_blocks(
    blocks: Iterable[NDArray[np.float64]], sample_rate: int
) -> tuple[Tensor, Tensor] | None:
    """Return `speech_rms` and the mean of a recording too long for memory, (1,) each, float64.

    The blocks are consecutive parts of the recording, (samples,) each. None without any sample.
    """
    energies = array("f"), array("f")  # single precision: six hours have a million frames
    rest, total, count = np.zeros(0), 0.0, 0
    hop = hop_size(sample_rate)
    for block in blocks:
        total, count = total + float(np.sum(block)), count + len(block)
        rest = np.concatenate([rest, block])
        if len(rest) >= 2 * hop:
            found = frame_energies(torch.from_numpy(rest)[None], sample_rate)
            for kept, energy in zip(energies, found, strict=True):
                kept.frombytes(energy[0].float().numpy().tobytes())
            rest = rest[found[0].shape[1] * hop :]
    if count == 0:
        return None
    mean = torch.tensor([total / count], dtype=torch.float64)
    if energies[0]:
        level, speech = (torch.frombuffer(kept, dtype=torch.float32)[None] for kept in energies)
        return rms_of_speech(level, speech, sample_rate).double(), mean
    return speech_rms(torch.from_numpy(rest)[None], sample_rate), mean


def rms_of_speech(
    level: Tensor, speech: Tensor, sample_rate: int, num_frames: Tensor | None = None
) -> Tensor:
    """Return what `speech_rms` does, from the two energies of `frame_energies`, (B,)."""
    return (mean_speech_power(level, speech, num_frames) / _window_energy(sample_rate)).sqrt()


def _energies_above(
    cutoffs_hz: Sequence[float], signal: Tensor, sample_rate: int, num_fft: int, hop: int
) -> list[Tensor]:
    """Return the energies of Hann-windowed frames above each of the cutoffs, (B, frames) each."""
    signal = pad(signal, (0, max(0, num_fft - signal.shape[-1])))
    above = signal.new_zeros(num_fft // 2 + 1, len(cutoffs_hz))
    for column, hz in enumerate(cutoffs_hz):
        above[math.ceil(hz * num_fft / sample_rate) :, column] = 2 / num_fft
    above[-1] /= 2  # the other bins are in both halves of the spectrum
    parts = []
    for frames in signal.unfold(-1, num_fft, hop).split(_BLOCK, dim=1):
        spectrum = torch.fft.rfft(frames * hann_like(frames, num_fft))
        parts.append(power_of(spectrum) @ above)
    return list(torch.cat(parts, dim=1).unbind(dim=-1))


def _window_energy(sample_rate: int) -> float:
    return 3 / 8 * 2 * hop_size(sample_rate)  # a periodic Hann window has the mean square 3/8


def _inside(power: Tensor, num_frames: Tensor) -> Tensor:
    """Tell which frames belong to the recording and not to the rest of its row, (B, frames)."""
    return torch.arange(power.shape[-1], device=power.device) < num_frames[:, None]


def _num_frames(lengths: Tensor | None, sample_rate: int) -> Tensor | None:
    hop = hop_size(sample_rate)
    return None if lengths is None else (lengths - 2 * hop).clamp(min=0) // hop + 1
