"""How far a mean score is known, when its utterances come from few talkers."""

import math
from collections.abc import Hashable, Sequence

import numpy as np

from bcsim.dsp.bootstrap import num_clusters, percentile_interval, resampled_counts


def bootstrap_mean(
    values: Sequence[float], groups: Sequence[Hashable | None], num_draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a mean over utterances nested in talkers.

    Talkers are drawn with replacement, then the utterances of each; with one talker the
    utterances alone. The percentiles are widened for small numbers; see
    `bcsim.dsp.bootstrap.percentile_interval`. Two or three talkers say little about others: the
    interval is then wide, and no wider than their own values reach.

    Args:
        values: (N,), one score an utterance; NaN counts as not measured.
        groups: (N,), the talker of every utterance; None is a talker of its own.
        num_draws: number of bootstrap draws.
        seed: seed of the draws.

    Returns:
        The lower and the upper end; NaN for both where fewer than two values are known.

    Example:
        >>> low, high = bootstrap_mean([8.0, 9.0, 10.0, 9.0, 9.5, 8.5], [None] * 6)
        >>> 8.0 <= low < 9.0 < high <= 10.0
        True
    """
    if len(values) != len(groups):
        raise ValueError(f"{len(values)} values, but {len(groups)} groups")
    known = [index for index, value in enumerate(values) if not math.isnan(value)]
    if len(known) < 2:
        return math.nan, math.nan
    kept = np.array([values[index] for index in known], dtype=np.float64)
    nested = [groups[index] for index in known]
    counts = resampled_counts(nested, num_draws, seed)
    means = counts @ kept / counts.sum(axis=1)
    low, high = percentile_interval(means, num_clusters(nested))
    return float(low), float(high)
