"""Whether the levels of a simulated sensor vary over time as much as those of the real one."""

import math
from functools import partial

from bcsim.metrics import METRICS
from bcsim.metrics.base import Metric
from bcsim.metrics.comparison import Comparison


@METRICS.register("dynamics_ratio")
@partial(
    Metric,
    label="dynamics ratio",
    better="one",
    worst=0.0,
    headline="dynamics",
    simulation=12,
    drawn=True,
)
def dynamics_ratio(pair: Comparison) -> float:
    """Return the spread of the estimate's mel levels over that of the real signal's.

    The spread is the standard deviation over active frames and bands of the level in dB about
    the mean of its band. A mean is smoother than what it is the mean of: predictors of the mean
    come out below 1.
    """
    estimate, real = (
        float((levels[pair.active] - levels[pair.active].mean(dim=0)).square().mean().sqrt())
        for levels in pair.mel_levels_db
    )
    return estimate / real if real > 0 else math.nan
