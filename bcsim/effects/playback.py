"""Recordings of noise, played from anywhere, for as long as it takes and as loud as asked."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bcsim.dsp.levels import db_to_amplitude
from bcsim.effects.base import Scene
from bcsim.effects.distributions import Recordings
from bcsim.errors import InputError

CROSSFADE_S = 0.05
MAX_RAISE_DB = 20.0  # of a faint part of a recording, above what the whole of it would need
SILENT = 1e-9  # RMS of what is no sound but rounding; full scale is 1


def play(
    recordings: Recordings, names: Sequence[str], position: Tensor, scene: Scene, before: int = 0
) -> Tensor:
    """Return what each clip's recording plays while the scene lasts.

    A recording goes round: its end is crossfaded into its beginning. Where a scene starts within
    its clip (`scene.start`), the recording has got that much further.

    Args:
        recordings: recordings of noise.
        names: B names, one of a recording for each clip.
        position: (B,), places in the recordings where the clips start, 0 to 1.
        scene: B clips.
        before: number of samples to play before the scene starts.

    Returns:
        (B, before + T), not silenced past the clips' ends.
    """
    start, num_samples = scene.start - before, scene.air.shape[-1] + before
    rate, crossfade = scene.sample_rate, round(CROSSFADE_S * scene.sample_rate)
    rows = [
        loop(recordings.read(name, rate), part, start, num_samples, crossfade)
        for name, part in zip(names, position.tolist(), strict=True)
    ]
    return torch.from_numpy(np.stack(rows)).to(scene.air.device, scene.air.dtype)


def loop(
    samples: NDArray[np.float64], position: float, start: int, num_samples: int, crossfade: int
) -> NDArray[np.float64]:
    r"""Return a segment of a recording that is repeated for ever.

    .. math:: y(t) = x(p) \sin\phi + x(P + p) \cos\phi, \quad p = (t_0 + t) \bmod P

    where P is the recording's length less the crossfade, over whose length :math:`\phi` rises from
    0 to a right angle, so that the power stays; after it, y = x.

    Args:
        samples: (L,), the recording.
        position: place in the recording where the segment with `start` 0 begins, 0 to 1.
        start: first sample of the segment; may be negative.
        num_samples: length of the segment.
        crossfade: length of the crossfade in samples; at most half of the recording counts.
    """
    crossfade = min(crossfade, len(samples) // 2)
    period = len(samples) - crossfade
    places = np.arange(start, start + num_samples)
    places = (places + math.floor(position * period)) % period
    played = samples[places]
    (fading,) = np.nonzero(places < crossfade)
    angle = (places[fading] + 0.5) * (np.pi / 2 / max(1, crossfade))
    ending = samples[period + places[fading]]
    played[fading] = played[fading] * np.sin(angle) + ending * np.cos(angle)
    return played


def recorded_power(recordings: Recordings, names: Sequence[str], scene: Scene) -> Tensor:
    """Return the mean square of each clip's whole recording, (B,); raise where one is silent."""
    powers = []
    for name in names:
        power = float(np.mean(np.square(recordings.read(name, scene.sample_rate))))
        if not power > SILENT**2:
            raise InputError(
                f"recording of noise {name!r} is silent, so no SNR can be had with it; take it out "
                "of the folder"
            )
        powers.append(power)
    return torch.tensor(powers, dtype=torch.float64, device=scene.air.device)


def gain_for_snr(
    speech: Tensor, noise: Tensor, snr_db: Tensor, lengths: Tensor, power: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Return the factor that gives noise the asked level against speech.

    .. math:: g = 10^{-\mathrm{SNR}/20} \sqrt{E_s / \max(E_n, P T / 100)}

    with the energies about the mean: an offset is no sound. Where the recording has a part that is
    more than 20 dB fainter than the whole of it, that is raised by no more than the 20 dB, so that
    a pause does not become a roar of hiss; there the SNR is higher than asked.

    Args:
        speech: (B, T), zero past each clip's end.
        noise: (B, T), zero past each clip's end.
        snr_db: (B,), energy of speech over energy of noise in the whole clip, in dB.
        lengths: (B,), samples in each clip, T.
        power: (B,), mean square P that the noise has over the whole of its recording.

    Returns:
        The factor, (B, 1), which is 0 where the speech is silent and a constant to gradients; and
        the SNR in dB that comes about with it, (B,), infinite where there is no noise then.
    """
    speech_energy, noise_energy = (_energy(s.detach().double(), lengths) for s in (speech, noise))
    least = power * lengths.clamp(min=1) * 10 ** (-MAX_RAISE_DB / 10)
    gain = (speech_energy / torch.maximum(noise_energy, least)).sqrt() * db_to_amplitude(-snr_db)
    snr_db = _ratio_db(speech_energy, gain.square() * noise_energy)
    return gain.to(noise.dtype)[:, None], snr_db


def measured_snr_db(speech: Tensor, noise: Tensor, lengths: Tensor) -> Tensor:
    """Return the energy of speech over that of noise, (B, T) each, about their means: (B,), in dB.

    It is infinite where there is no noise.
    """
    speech_energy, noise_energy = (_energy(s.detach().double(), lengths) for s in (speech, noise))
    return _ratio_db(speech_energy, noise_energy)


def excess_db(power: Tensor, noise: Tensor, lengths: Tensor) -> Tensor:
    """Return the mean square of whole recordings over that of the parts that are played, in dB.

    Args:
        power: (B,), mean square of the whole of each recording.
        noise: (B, T), part that is played, zero past each clip's end.
        lengths: (B,), samples in each clip.

    Returns:
        (B,); infinite where the part is silent.
    """
    return _ratio_db(power * lengths, _energy(noise.detach().double(), lengths))


def _ratio_db(speech_energy: Tensor, noise_energy: Tensor) -> Tensor:
    ratio_db = 10 * torch.log10(speech_energy / noise_energy)
    return torch.where(noise_energy > 0, ratio_db, torch.inf)


def _energy(signal: Tensor, lengths: Tensor) -> Tensor:
    """Return the energy of B clips about their means, (B,)."""
    offset = signal.sum(dim=-1) / lengths.clamp(min=1)
    inside = torch.arange(signal.shape[-1], device=signal.device) < lengths[:, None]
    return ((signal - offset[:, None]) * inside).square().sum(dim=-1)
