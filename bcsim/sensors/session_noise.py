"""The sensor's noise over several recordings."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from bcsim.dsp.spectra import fractional_octave_smooth
from bcsim.sensors.pairs import AlignedPair

NOISE_SMOOTHING = 12
SILENT_PSD = 1e-20  # 1/Hz: what a floor of digital silence counts as


def pooled_noise(pairs: Sequence[AlignedPair]) -> tuple[NDArray[np.float64], float]:
    """Return the typical noise PSD (F,) and the deviation of its level in dB.

    Noise levels lie tens of dB apart, so the typical floor is the mean in dB. Recordings without
    pauses say at best that the floor is no higher; they count where there are no others.
    """
    known = [pair.noise for pair in pairs if bool((pair.noise.psd > 0).any())]
    best = [noise for noise in known if noise.from_pauses] or known
    if not best:
        return np.zeros_like(pairs[0].noise.psd.numpy()), 0.0
    measured = [noise.psd for noise in best]
    smooth = fractional_octave_smooth(torch.stack(measured), NOISE_SMOOTHING, min_bins=3)
    density_db = 10 * smooth.clamp(min=SILENT_PSD).log10()
    typical = 10 ** (density_db.mean(0) / 10)
    return typical.numpy(), deviation(density_db.mean(dim=1).numpy())


def with_noise(pair: AlignedPair, typical_psd: NDArray[np.float64]) -> AlignedPair:
    """Return the pair with the sensor's typical noise where nothing is known of its own."""
    if bool((pair.noise.psd > 0).any()):
        return pair
    return replace(pair, noise=replace(pair.noise, psd=torch.from_numpy(typical_psd)))


def deviation(values: NDArray[np.floating]) -> float:
    """Return the standard deviation of a sample; 0 of a single value."""
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0
