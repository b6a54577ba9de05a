"""The nested bootstrap against what probability says about it."""

import numpy as np
import pytest
import scipy.stats

from bcsim.dsp.bootstrap import members_of, num_clusters, percentile_interval, resampled_counts


def test_every_resample_of_ungrouped_items_has_as_many_items():
    counts = resampled_counts([None] * 7, num_draws=500, seed=1)
    assert (counts.sum(axis=1) == 7).all()
    # each item is drawn by a binomial of 7 trials at 1/7: mean 1, variance 6/7
    assert counts.mean() == 1.0
    assert counts.var() == pytest.approx(6 / 7, rel=0.05)


def test_talkers_are_drawn_whole():
    groups = ["a", "a", "a", "b"]
    counts = resampled_counts(groups, num_draws=2000, seed=2)
    of_a, of_b = counts[:, :3].sum(axis=1), counts[:, 3]
    assert set(of_a) == {0.0, 3.0, 6.0}
    assert (of_a / 3 + of_b == 2).all()
    assert (of_b == 2).mean() == pytest.approx(0.25, abs=0.03)


def test_one_talker_is_drawn_by_utterances():
    counts = resampled_counts(["anna"] * 5, num_draws=200, seed=3)
    assert (counts.sum(axis=1) == 5).all()
    assert num_clusters(["anna"] * 5) == 5
    assert num_clusters(["anna", "anna", "ben"]) == 2
    assert num_clusters([None, None, None]) == 3


def test_items_without_a_group_stand_alone():
    assert members_of([None, "x", None, "x"]) == [[0], [1, 3], [2]]


def test_draws_depend_on_the_seed_alone():
    groups = ["a", "b", "b"]
    first, again, other = (resampled_counts(groups, 50, seed) for seed in (4, 4, 5))
    assert (first == again).all()
    assert (first != other).any()


def test_the_percentiles_tend_to_the_plain_ones():
    draws = scipy.stats.norm.ppf((np.arange(100_000) + 0.5) / 100_000)
    low, high = percentile_interval(draws, clusters=10_000)
    assert high == pytest.approx(1.96, abs=2e-3)
    assert low == pytest.approx(-high)
    # Of four things: Student's 3.182, and the root of 4/3.
    assert percentile_interval(draws, 4)[1] == pytest.approx(3.182 * np.sqrt(4 / 3), abs=2e-2)
