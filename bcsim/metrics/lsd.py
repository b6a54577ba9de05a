"""Log-spectral distance."""

import math
from functools import partial

from torch import Tensor

from bcsim.metrics import METRICS
from bcsim.metrics.base import Metric
from bcsim.metrics.comparison import FLOOR_DB, Comparison


@METRICS.register("lsd")
@partial(
    Metric,
    label="LSD",
    better="lower",
    worst=FLOOR_DB,
    unit="dB",
    headline="LSD",
    note="log-spectral distance, active frames",
    simulation=1,
    enhancement=4,
    selects=True,
)
def lsd(pair: Comparison) -> float:
    r"""Return the log-spectral distance over active frames, in dB.

    .. math:: \frac1T \sum_t \sqrt{\frac1F \sum_f (L^\mathrm{est}_{tf} - L^\mathrm{real}_{tf})^2}

    with L the level in dB, floored 80 dB under the maximum of the real signal. Two independent
    noises of equal spectrum are 7.9 dB apart.
    """
    return spectral_distance(pair, pair.active)


@METRICS.register("lsd_all")
@partial(
    Metric,
    label="LSD all",
    better="lower",
    worst=FLOOR_DB,
    unit="dB",
    note="the same over all frames",
    simulation=2,
)
def lsd_all(pair: Comparison) -> float:
    """Return the log-spectral distance over all frames, in dB."""
    return spectral_distance(pair, pair.active | ~pair.active)


@METRICS.register("lsd_pauses")
@partial(Metric, label="LSD pauses", better="lower", worst=FLOOR_DB, unit="dB", simulation=5)
def lsd_pauses(pair: Comparison) -> float:
    """Return the log-spectral distance over the other frames, in dB; NaN if all are active."""
    return spectral_distance(pair, ~pair.active)


@METRICS.register("lsd_0_2k")
@partial(Metric, label="LSD 0-2 kHz", better="lower", worst=FLOOR_DB, unit="dB", simulation=3)
def lsd_0_2k(pair: Comparison) -> float:
    """Return the log-spectral distance up to 2 kHz over active frames, in dB."""
    return spectral_distance(pair, pair.active, 0, 2000)


@METRICS.register("lsd_2_8k")
@partial(Metric, label="LSD 2-8 kHz", better="lower", worst=FLOOR_DB, unit="dB", simulation=4)
def lsd_2_8k(pair: Comparison) -> float:
    """Return the log-spectral distance from 2 to 8 kHz over active frames, in dB."""
    return spectral_distance(pair, pair.active, 2000, 8000)


def spectral_distance(
    pair: Comparison, frames: Tensor, low_hz: float = 0, high_hz: float = math.inf
) -> float:
    """Return the log-spectral distance over some frames and bins; NaN if there are none."""
    bins = (pair.frequencies_hz >= low_hz) & (pair.frequencies_hz <= min(high_hz, pair.top_hz))
    if not frames.any() or not bins.any():
        return math.nan
    estimate, real = (levels[frames][:, bins] for levels in pair.levels_db)
    return float((estimate - real).square().mean(dim=1).sqrt().mean())
