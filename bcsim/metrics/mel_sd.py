"""Distance of mel spectra."""

from functools import partial

from bcsim.metrics import METRICS
from bcsim.metrics.base import Metric
from bcsim.metrics.comparison import FLOOR_DB, Comparison


@METRICS.register("mel_sd")
@partial(
    Metric,
    label="MelSD",
    better="lower",
    worst=FLOOR_DB,
    unit="dB",
    note="the same over 40 mel bands",
    headline="MelSD",
    simulation=6,
)
def mel_sd(pair: Comparison) -> float:
    """Return the log-spectral distance on the powers of 40 mel bands, active frames, in dB.

    Bands average over bins, so that much of what two independent noises differ by is gone.
    """
    estimate, real = (levels[pair.active] for levels in pair.mel_levels_db)
    return float((estimate - real).square().mean(dim=1).sqrt().mean())
