r"""Coherence of the pairs, and what noise alone would leave of it.

A linear system with noise on both channels has the coherence

.. math:: \gamma_0^2 = \frac{1}{(1 + 1/\mathrm{SNR}_x)(1 + 1/\mathrm{SNR}_y)}

(Bendat & Piersol, Random Data, section 9.1.3). Noise does not explain a coherence below that
ceiling: the sensor's response depends on what is said, or it is not linear.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bcsim.dsp.spectra import fractional_octave_smooth
from bcsim.fitting.pairs import AlignedPair

SMOOTHING = 12  # parts of an octave, of powers before they are compared


def within_pair_coherence(pairs: Sequence[AlignedPair]) -> NDArray[np.float64]:
    """Return the unbiased coherence within a recording, averaged over recordings, (F,).

    It says how far the sensor is a linear system for one wearer; how wearers differ is the spread.
    """
    parts = [pair.spectra.unbiased_coherence for pair in pairs]
    return _averaged(pairs, parts).clamp(max=1).numpy()


def coherence_ceiling(pairs: Sequence[AlignedPair]) -> NDArray[np.float64]:
    r"""Return the coherence that the noise of both channels would leave a linear sensor, (F,).

    With the noise floors that were measured in the pauses, speech is what exceeds them:
    :math:`1/(1 + 1/\mathrm{SNR}) = 1 - P_{nn}/P`. Averaged over recordings as
    `within_pair_coherence` is, so that the two may be compared. A channel whose noise is not
    known counts as noiseless: the ceiling is then too high rather than too low.
    """
    parts = [
        _speech_part(pair.spectra.xx, pair.air_noise_power)
        * _speech_part(pair.spectra.yy, pair.noise_power)
        for pair in pairs
    ]
    return _averaged(pairs, parts).numpy()


def _speech_part(power: Tensor, noise: Tensor) -> Tensor:
    """Return which part of the power is not noise, (F,), 0 to 1."""
    # Both have random errors, those of a few pauses above all, that would not cancel.
    power, noise = (fractional_octave_smooth(p, SMOOTHING, min_bins=3) for p in (power, noise))
    return (1 - noise / power.clamp(min=torch.finfo(power.dtype).tiny)).clamp(0, 1)


def _averaged(pairs: Sequence[AlignedPair], parts: Sequence[Tensor]) -> Tensor:
    """Return the mean over recordings, each by its averages, (F,)."""
    weights = [pair.spectra.num_averages for pair in pairs]
    total = torch.stack([weight * part for weight, part in zip(weights, parts, strict=True)]).sum(0)
    return total / max(sum(weights), 1e-12)
