"""From an estimate to a response that can be rendered: smoothing, phase, the usable band."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from bcsim.dsp.spectra import chance_coherence, fill_gaps, fractional_octave_smooth, minimum_phase
from bcsim.errors import InputError
from bcsim.fitting.estimation import SMOOTHING
from bcsim.fitting.pairs import AlignedPair, bins_above_noise
from bcsim.sensors.transfer_function import TransferFunction

EDGE = 0.95  # of half the sample rate: above, the ratio is that of two resamplers' edges
RANGE_DB = 100.0  # below its maximum a response is not followed
USABLE_COHERENCE = 0.5
KNOWN_PHASE_COHERENCE = 0.2  # from here on the measured phase is taken as it is


def smoothed_response(
    estimate: TransferFunction, above_noise: Tensor, smoothing: float = SMOOTHING
) -> TransferFunction:
    """Smooth an estimate and settle its phase where the estimate does not know it.

    The magnitude is smoothed in power over 1/`smoothing` octave. The phase is the estimate's
    where the coherence makes it known, and goes over into the minimum phase elsewhere: random
    phases there would smear the impulse response over the whole frame. The magnitude of bins that
    are not `above_noise`, (F,), is taken from their neighbours.
    """
    power = fill_gaps(torch.from_numpy(np.abs(estimate.response) ** 2), above_noise)
    smooth = fractional_octave_smooth(power, smoothing).clamp(min=0).sqrt()
    peak = float(smooth.max())
    if peak == 0:
        raise InputError("the estimated response is zero everywhere: air and bone share nothing")
    smooth = smooth.clamp(min=peak * 10 ** (-RANGE_DB / 20))
    minimum = minimum_phase(smooth.log())
    trust = torch.where(above_noise & (power > 0), _phase_trust(estimate), 0.0)
    excess = torch.angle(torch.from_numpy(estimate.response)) - minimum
    phasor = trust * torch.exp(1j * excess) + (1 - trust)
    response = torch.polar(smooth, minimum + torch.angle(phasor))
    ends = [0, -1]  # a real filter is real there
    sign = torch.where(response[ends].real < 0, -1.0, 1.0)
    response[ends] = (sign * smooth[ends]).to(response.dtype)
    return replace(estimate, response=response.numpy())


def _phase_trust(estimate: TransferFunction) -> Tensor:
    """Return how far to go with the estimate's phase, (F,), 0 to 1.

    It is 0 where the coherence, over a sixth of an octave, is `chance_coherence`, and 1 from 0.2.
    """
    chance = chance_coherence(estimate.num_averages)
    coherence = fractional_octave_smooth(torch.from_numpy(estimate.coherence), 6)
    return ((coherence - chance) / max(KNOWN_PHASE_COHERENCE - chance, 1e-3)).clamp(0, 1)


def measurable_bins(pairs: Sequence[AlignedPair]) -> Tensor:
    """Return the bins above the noise but for the ends, (F,) of bool.

    Next to 0 Hz there is nothing once DC is removed, and near half the sample rate the ratio is
    that of two resamplers' edges.
    """
    bins = bins_above_noise(pairs)
    bins[:2] = False
    bins[math.floor(EDGE * (len(bins) - 1)) :] = False
    return bins


def usable_band(response: TransferFunction) -> tuple[float, float]:
    """Return the widest band, in octaves, where the coherence exceeds 0.5; (0, 0) if none does.

    The coherence is first smoothed over a third of an octave.
    """
    smooth = fractional_octave_smooth(torch.from_numpy(response.coherence), 3).numpy()
    above = smooth > USABLE_COHERENCE
    above[0] = False
    edges = np.flatnonzero(np.diff(np.concatenate([[False], above, [False]])))
    bands = [
        (float(response.frequencies_hz[first]), float(response.frequencies_hz[past - 1]))
        for first, past in edges.reshape(-1, 2)
    ]
    return max(bands, key=lambda band: band[1] / band[0], default=(0.0, 0.0))
