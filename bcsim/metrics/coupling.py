"""Coupling: how much of the air signal can be read off the sensor's, simulated against real.

A simulation may be near the real sensor by every spectral distance and still follow the air signal
too closely: what is trained or scored on it then has an easier task than with the real sensor. The
metrics are differences, simulated less real, and 0 is right.
"""

import math
from functools import partial
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from bcsim.dsp.mel import mel_centres, mel_means
from bcsim.metrics import METRICS
from bcsim.metrics.base import Metric
from bcsim.metrics.comparison import NUM_FFT, SAMPLE_RATE, Comparison, powers_of
from bcsim.metrics.intelligibility import stoi_of

NUM_BANDS = 20
# A comparison that is gone takes its values with it.
_OF_REAL: WeakKeyDictionary[Comparison, dict[str, float]] = WeakKeyDictionary()
BAND_CENTRES_HZ = tuple(mel_centres(SAMPLE_RATE, NUM_BANDS).tolist())


@METRICS.register("stoi_coupling")
@partial(
    Metric,
    label="STOI coupling",
    better="zero",
    worst=-1.0,
    note="simulated - real",
    simulation=14,
    drawn=True,
)
def stoi_coupling(pair: Comparison) -> float:
    """Return the STOI of the simulated signal with air less that of the real one."""
    return _difference(pair, "stoi_coupling")


@METRICS.register("estoi_coupling")
@partial(
    Metric,
    label="ESTOI coupling",
    better="zero",
    worst=-1.0,
    note="simulated - real",
    simulation=15,
    drawn=True,
)
def estoi_coupling(pair: Comparison) -> float:
    """Return the ESTOI of the simulated signal with air less that of the real one."""
    return _difference(pair, "estoi_coupling")


@METRICS.register("envelope_coupling")
@partial(
    Metric,
    label="envelope coupling",
    better="zero",
    worst=-2.0,
    note="20 mel bands",
    simulation=16,
    drawn=True,
)
def envelope_coupling(pair: Comparison) -> float:
    """Return the envelope correlation of simulated and air less that of real and air."""
    return _difference(pair, "envelope_coupling")


def coupling_of(signal: Tensor, pair: Comparison, name: str) -> float:
    """Return how closely one signal follows the air signal.

    Args:
        signal: (T,), signal of the sensor at 16 kHz: `pair.real` or `pair.estimate`.
        pair: comparison that holds air and its active frames.
        name: metric whose two values are compared: STOI, ESTOI, or the mean over bands of
            `envelope_correlations`.

    Returns:
        Value from -1 to 1; NaN where air has none, or there is nothing to compare.
    """
    if pair.is_void:
        return math.nan
    if name == "envelope_coupling":
        return float(envelope_correlations(signal, pair).nanmean())
    return stoi_of(pair.air, signal, extended=name == "estoi_coupling")


def envelope_correlations(signal: Tensor, pair: Comparison) -> Tensor:
    """Return the correlation of a signal's envelope with that of air in mel bands.

    Envelopes are amplitudes over active frames, 32 ms every 16 ms.

    Args:
        signal: (T,), signal of the sensor at 16 kHz.
        pair: comparison that holds air and its active frames.

    Returns:
        (20,), bands at `BAND_CENTRES_HZ`; NaN in bands above `pair.top_hz`, where air does not
        vary, or where there is nothing to compare; 0 where the signal does not vary.
    """
    if pair.is_void:
        return torch.full((NUM_BANDS,), torch.nan, dtype=torch.float64)
    bank = mel_means(SAMPLE_RATE, NUM_FFT, NUM_BANDS)
    envelopes = [(powers_of(x)[pair.active] @ bank.T).sqrt() for x in (signal, pair.air)]
    own, air = (envelope - envelope.mean(dim=0) for envelope in envelopes)
    own_power, air_power = own.square().sum(dim=0), air.square().sum(dim=0)
    known = (air_power > 0) & (bank @ (pair.frequencies_hz > pair.top_hz).double() == 0)
    tiny = torch.finfo(torch.float64).tiny
    correlations = (own * air).sum(dim=0) / (own_power * air_power).sqrt().clamp(min=tiny)
    return torch.where(known, correlations, torch.nan)


def real_coupling(pair: Comparison, name: str) -> float:
    """Return `coupling_of` the real signal, which is measured once a comparison."""
    known = _OF_REAL.setdefault(pair, {})
    if name not in known:
        known[name] = coupling_of(pair.real, pair, name)
    return known[name]


def _difference(pair: Comparison, name: str) -> float:
    real = real_coupling(pair, name)
    return math.nan if math.isnan(real) else coupling_of(pair.estimate, pair, name) - real
