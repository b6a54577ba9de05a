"""Ambient leakage: what of the noise around the wearer reaches the sensor through the air.

From a recording of the noise alone, while nobody speaks, at the gains of the speech recordings:
the ratio of the powers, less what the sensor makes of its own. Not the cross-spectrum: in a
diffuse field the two places, centimetres apart, are hardly coherent above some kilohertz, though
the sensor picks up the field as loud.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from bcsim.dsp.spectra import (
    cross_spectra,
    density_to_power,
    fill_gaps,
    fractional_octave_smooth,
)
from bcsim.errors import InputError
from bcsim.fitting.noise import estimate_noise_floor
from bcsim.fitting.pairs import frame_size
from bcsim.sensors.recorded_pair import RecordedPair

SMOOTHING = 3  # parts of an octave, of the leakage in dB
POWER_SMOOTHING = 12  # of the powers: wider, steep ones would weigh down one side of a band
MIN_SECONDS = 1.0
EXCESS = 0.25  # of the sensor's own noise, 1 dB above it: less is not told from no leakage
HEARD_DB = -70.0  # of the air channel's loudest band: below, there is no noise to leak
LOWEST_HZ, HIGHEST = 80.0, 0.95  # of half the sample rate
MIN_OCTAVES = 1.0  # of band in which leakage must exceed the noise of the sensor


def leakage_db(
    air: ArrayLike, bone: ArrayLike, sample_rate: int, own_noise_psd: ArrayLike | None = None
) -> NDArray[np.float64]:
    r"""Return the power ratio of bone to air for ambient noise, (F,), in dB.

    .. math:: 10\log_{10}\big((P_{yy} - P_{nn})/P_{xx}\big)

    smoothed over third-octaves, the spectra averaged over the whole recording. It is absolute,
    bone over air as recorded, as the magnitude of a profile's response is: at the gains of the
    speech recordings the two may be compared. Where the leakage is less than 1 dB above the
    sensor's own noise, it is put at what would show by 1 dB: an upper bound. Where air has no
    noise, below 80 Hz and next to half the sample rate, the nearest known value stands.

    Args:
        air: (T,), noise at the air microphone.
        bone: (T,), noise at the sensor at the same time; alignment does not matter.
        sample_rate: in Hz.
        own_noise_psd: (F,), the sensor's own noise from `recorded_noise_psd`; None where it is
            not known: then none is subtracted.

    Raises:
        InputError: if the recording is too short, silent, or if the sensor picks up the noise
            nowhere above its own.
    """
    x, y = _channel(air, "air"), _channel(bone, "bone")
    length = min(len(x), len(y))
    if length < MIN_SECONDS * sample_rate:
        raise InputError(
            f"ambient noise: {length / sample_rate:.2f} s are too short; record "
            f"{MIN_SECONDS:g} s or more, 10 s are good"
        )
    num_fft = frame_size(sample_rate)
    spectra = cross_spectra(x[:length], y[:length], num_fft, num_fft // 2)
    num_bins = len(spectra.xx)
    own = torch.zeros(num_bins, dtype=torch.float64)
    if own_noise_psd is not None:
        own = torch.from_numpy(np.asarray(own_noise_psd, dtype=np.float64))
        if own.shape != (num_bins,):
            raise ValueError(f"own_noise_psd has shape {tuple(own.shape)}, not ({num_bins},)")
        own = own * density_to_power(sample_rate, num_fft)
    powers = torch.stack([spectra.xx, spectra.yy, own])
    ambient, total, own = fractional_octave_smooth(powers, POWER_SMOOTHING, min_bins=3)
    frequencies = torch.linspace(0, sample_rate / 2, num_bins, dtype=torch.float64)
    inside = (frequencies >= LOWEST_HZ) & (frequencies <= HIGHEST * sample_rate / 2)
    loudest = float(ambient[inside].max())
    if loudest <= 0:
        raise InputError("ambient noise: air is silent between 80 Hz and half the sample rate")
    sounding = inside & (ambient > loudest * 10 ** (HEARD_DB / 10))
    shown = sounding & (total > (1 + EXCESS) * own) & (total > 0)
    octaves = float((1 / frequencies[shown]).sum()) * float(frequencies[1]) / np.log(2)
    if octaves < MIN_OCTAVES:
        raise InputError(
            "ambient noise: the sensor picks it up hardly anywhere above its own noise "
            f"({octaves:.1f} octaves); make it louder, or leave leakage out, there is next to none"
        )
    leaked = torch.maximum(total - own, EXCESS * own)
    ratio_db = 10 * (leaked / ambient.clamp(min=1e-300)).clamp(min=1e-20).log10()
    filled_db = fill_gaps(ratio_db, sounding & (leaked > 0))
    return fractional_octave_smooth(filled_db, SMOOTHING).numpy()


def recorded_noise_psd(pairs: Sequence[RecordedPair], sample_rate: int) -> NDArray[np.float64]:
    """Return the sensor's noise in the pauses of recorded speech, (F,).

    It is one-sided, in 1/Hz times the square of bone's full scale: the mean in dB over recordings
    that have pauses; 0 where none has. Ambient noise in the pauses is part of it, so the leakage
    is rather under- than overestimated when the speech was recorded in noise.
    """
    num_fft = frame_size(sample_rate)
    floors = []
    for pair in pairs:
        air, bone = (_channel(samples, pair.name) for samples in (pair.air, pair.bone))
        length = min(len(air), len(bone))
        floor = estimate_noise_floor(air[:length], bone[:length], sample_rate, num_fft)
        if floor.from_pauses:
            floors.append(fractional_octave_smooth(floor.psd, SMOOTHING, min_bins=3))
    if not floors:
        return np.zeros(num_fft // 2 + 1)
    return torch.stack(floors).clamp(min=1e-30).log().mean(dim=0).exp().numpy()


def _channel(samples: ArrayLike, role: str) -> Tensor:
    signal = torch.from_numpy(np.array(samples, dtype=np.float64))
    if signal.ndim != 1:
        raise InputError(f"ambient noise: {role} has shape {tuple(signal.shape)}, not one channel")
    if not bool(signal.isfinite().all()):
        raise InputError(f"ambient noise: {role} holds samples that are not finite numbers")
    return signal - signal.mean() if len(signal) else signal
