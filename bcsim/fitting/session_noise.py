"""The sensor's noise over several recordings."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from bcsim.dsp.spectra import fractional_octave_smooth
from bcsim.fitting.pairs import AlignedPair

NOISE_SMOOTHING = 12
SILENT_PSD = 1e-20  # 1/Hz: what a floor of digital silence counts as


def pooled_noise(
    pairs: Sequence[AlignedPair], prior_psd: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], float]:
    """Return the typical noise PSD (F,) and the deviation of its level in dB.

    Noise levels lie tens of dB apart, so the typical floor is the mean in dB over recordings with
    pauses. Where none has any, the prior's floor stands; without a prior, recordings with quiet
    moments say that the floor is no higher than these, and it is taken to be the lower of that and
    of what is expected (`expected_noise_psd`). Where nothing is quiet, nothing is known: 0.

    Args:
        pairs: aligned.
        prior_psd: (F,), of another sensor of the kind, or None.
    """
    known = [pair.noise for pair in pairs if bool((pair.noise.psd > 0).any())]
    paused = [noise for noise in known if noise.from_pauses]
    if not paused and prior_psd is not None and len(prior_psd) == len(pairs[0].noise.psd):
        return prior_psd, 0.0
    if not known:
        return np.zeros_like(pairs[0].noise.psd.numpy()), 0.0
    measured = [noise.psd for noise in paused or known]
    smooth = fractional_octave_smooth(torch.stack(measured), NOISE_SMOOTHING, min_bins=3)
    density_db = 10 * smooth.clamp(min=SILENT_PSD).log10()
    typical = (10 ** (density_db.mean(0) / 10)).numpy()
    if not paused:
        grid = np.linspace(0, pairs[0].sample_rate / 2, len(typical))
        return np.minimum(typical, expected_noise_psd(grid)), 0.0
    return typical, deviation(density_db.mean(dim=1).numpy())


def expected_noise_psd(frequencies_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a typical noise floor, (F,), in 1/Hz relative to active bone speech.

    -76 dB/Hz up to 315 Hz, falling to -96 dB/Hz at 4 kHz and above: about -45 dB in all, the mean
    of 31 recordings with a throat microphone.
    """
    octaves = np.log2(np.maximum(frequencies_hz, 1.0))
    return 10 ** (np.interp(octaves, np.log2([315.0, 4000.0]), [-76.0, -96.0]) / 10)


def with_noise(pair: AlignedPair, typical_psd: NDArray[np.float64]) -> AlignedPair:
    """Return the pair with the sensor's typical noise where nothing is known of its own."""
    if bool((pair.noise.psd > 0).any()):
        return pair
    return replace(pair, noise=replace(pair.noise, psd=torch.from_numpy(typical_psd)))


def deviation(values: NDArray[np.floating]) -> float:
    """Return the standard deviation of a sample; 0 of a single value."""
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0
