"""From an estimate to a response that can be rendered: smoothing, phase, band."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from bcsim.dsp.band_edge import band_edge_hz
from bcsim.dsp.spectra import chance_coherence, fill_gaps, fractional_octave_smooth, minimum_phase
from bcsim.errors import InputError
from bcsim.fitting.estimation import SMOOTHING
from bcsim.fitting.pairs import AlignedPair, bins_above_noise
from bcsim.sensors.transfer_function import TransferFunction

EDGE = 0.95  # of half the sample rate: above, the ratio is that of two resamplers' edges
LOWEST_BIN = 2  # next to 0 Hz there is nothing once DC is removed
RANGE_DB = 100.0  # below its maximum a response is not followed
USABLE_COHERENCE = 0.5
# Beyond the band of the recordings nothing is known of the sensor; it is taken to convey nothing.
FALL_ABOVE, FALL_BELOW = 48.0, 12.0  # dB an octave
BAND_OCTAVES = 3  # parts of an octave, over half of which has to be measurable within the band
KNOWN_PHASE_COHERENCE = 0.2  # from here on the measured phase is taken as it is


def smoothed_response(
    estimate: TransferFunction, above_noise: Tensor, smoothing: float = SMOOTHING
) -> TransferFunction:
    """Smooth an estimate and settle its phase where the estimate does not know it.

    The magnitude is smoothed in power over 1/`smoothing` octave. The phase is the estimate's
    where the coherence makes it known, and goes over into the minimum phase elsewhere: random
    phases there would smear the impulse response over the whole frame. The magnitude of bins that
    are not `above_noise`, (F,), is taken from their neighbours; beyond the last of them it falls
    by 48 dB an octave, and below the first by 12, and the coherence is 0.
    """
    power = fill_gaps(torch.from_numpy(np.abs(estimate.response) ** 2), above_noise)
    first, last = measured_range(above_noise)
    places = torch.arange(len(power), dtype=torch.float64).clamp(min=0.5)
    octaves_below = (max(first, 1) / places).log2().clamp(min=0)
    octaves_above = (places / last).log2().clamp(min=0)
    fall_db = FALL_BELOW * octaves_below + FALL_ABOVE * octaves_above
    # From a third-octave below the end: a single bin at the end may be anything.
    power[last + 1 :] = power[math.floor(last * 2 ** (-1 / 3)) : last + 1].mean()
    smooth = fractional_octave_smooth(power, smoothing).clamp(min=0).sqrt()
    smooth = smooth * 10 ** (-fall_db / 20)
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
    inside = np.arange(len(power))
    coherence = np.where((inside >= first) & (inside <= last), estimate.coherence, 0.0)
    return replace(estimate, response=response.numpy(), coherence=coherence)


def measured_range(measurable: Tensor) -> tuple[int, int]:
    """Return the first and the last bin of the band in which most bins are measurable, (F,).

    The ends that `measurable_bins` leaves out belong to the band that is next to them.
    """
    most = fractional_octave_smooth(measurable.double(), BAND_OCTAVES) > 0.5
    places = torch.nonzero(most & measurable)[:, 0].tolist() or [0, len(most) - 1]
    first, last = places[0], places[-1]
    top = math.floor(EDGE * (len(most) - 1))
    return (0 if first <= LOWEST_BIN else first), (len(most) - 1 if last >= top - 1 else last)


def _phase_trust(estimate: TransferFunction) -> Tensor:
    """Return how far to go with the estimate's phase, (F,), 0 to 1.

    It is 0 where the coherence, over a sixth of an octave, is `chance_coherence`, and 1 from 0.2.
    """
    chance = chance_coherence(estimate.num_averages)
    coherence = fractional_octave_smooth(torch.from_numpy(estimate.coherence), 6)
    return ((coherence - chance) / max(KNOWN_PHASE_COHERENCE - chance, 1e-3)).clamp(0, 1)


def measurable_bins(pairs: Sequence[AlignedPair]) -> Tensor:
    """Return the bins above the noise but for the ends, (F,) of bool.

    Next to 0 Hz there is nothing once DC is removed, and near half the sample rate, or the lower
    one at which air or bone was once recorded, the ratio is that of two resamplers' edges.
    """
    bins = bins_above_noise(
        [pair.spectra for pair in pairs], [pair.air_noise_power for pair in pairs]
    )
    bins[:LOWEST_BIN] = False
    rate = pairs[0].sample_rate
    bins[: math.ceil(pairs[0].low_hz / (rate / 2) * (len(bins) - 1))] = False
    for powers in ([pair.spectra.xx for pair in pairs], [pair.spectra.yy for pair in pairs]):
        edge_hz = band_edge_hz(torch.stack(powers).sum(dim=0), rate) or rate / 2
        bins[math.floor(EDGE * edge_hz / (rate / 2) * (len(bins) - 1)) :] = False
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
