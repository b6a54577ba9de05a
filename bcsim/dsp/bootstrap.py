"""The bootstrap of nested recordings: talkers are drawn, then the utterances of each.

Utterances of one talker resemble each other, so that ten utterances of two talkers say less about
a third than ten of ten. Drawing utterances alone would pretend otherwise.
"""

import math
from collections.abc import Hashable, Sequence

import numpy as np
import scipy  # its parts are loaded when they are asked for
from numpy.typing import NDArray

from bcsim.rng import stream

CONFIDENCE = 0.95


def resampled_counts(
    groups: Sequence[Hashable | None], num_draws: int, seed: int
) -> NDArray[np.float64]:
    """Draw how often every item is in a resample, (num_draws, N).

    As many groups as there are are drawn with replacement; of each group drawn, as many items as
    it has, with replacement. With a single group the items are drawn alone.

    Args:
        groups: (N,), group of every item; None is a group of its own.
        num_draws: number of resamples.
        seed: seed of the draws.

    Example:
        >>> counts = resampled_counts(["anna", "anna", "ben"], num_draws=4, seed=0)
        >>> counts.shape, bool((counts[:, :2].sum(axis=1) % 2 == 0).all())
        ((4, 3), True)
    """
    generator = stream(seed, "bootstrap")
    members = members_of(groups)
    drawn = generator.multinomial(
        len(members), np.full(len(members), 1 / len(members)), size=num_draws
    )
    counts = np.zeros((num_draws, len(groups)))
    for group, items in enumerate(members):
        # A group drawn m times gives m times its own number of items, each as likely.
        size = drawn[:, group] * len(items)
        counts[:, items] = generator.multinomial(size, np.full(len(items), 1 / len(items)))
    return counts


def members_of(groups: Sequence[Hashable | None]) -> list[list[int]]:
    """Return the indices of the items of every group, in order of appearance."""
    found: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        found.setdefault(("alone", index) if group is None else ("group", group), []).append(index)
    return list(found.values())


def num_clusters(groups: Sequence[Hashable | None]) -> int:
    """Return how many independent things were drawn: the groups, or the items of a single one."""
    members = members_of(groups)
    return len(members) if len(members) > 1 else len(groups)


def percentile_interval(draws: NDArray[np.float64], clusters: int) -> NDArray[np.float64]:
    r"""Return the expanded percentile interval of 95 %, (2, ...).

    The resamples of n things vary by (n - 1)/n too little, and few things need Student's
    quantile and not the normal one. So the percentiles are those of

    .. math:: \Phi\left(\pm\sqrt{n/(n-1)}\;t_{n-1,\,0.975}\right)

    (Hesterberg 2015, doi 10.1080/00031305.2015.1089789, section 4.2): 1.4 % and 98.6 % for 16
    things, 2.5 % and 97.5 % for many.

    Args:
        draws: (num_draws, ...), statistic of every resample.
        clusters: n, number of independent things, 2 or more.
    """
    quantile = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, clusters - 1))
    deviation = math.sqrt(clusters / (clusters - 1)) * quantile
    tail = float(scipy.stats.norm.cdf(-deviation))
    return np.quantile(draws, [tail, 1 - tail], axis=0)
