"""Intervals of mean scores hold the true mean as often as they say."""

import math

import numpy as np
import pytest

from bcsim.metrics.intervals import bootstrap_mean


def coverage(talkers: int, utterances: int, talker_std: float, repeats: int = 300) -> float:
    """Return how often the interval holds 0, the true mean of talkers and utterances."""
    groups = [talker for talker in range(talkers) for _ in range(utterances)]
    hits = 0
    for repeat in range(repeats):
        generator = np.random.default_rng([repeat, talkers, utterances])
        own = talker_std * generator.standard_normal(talkers).repeat(utterances)
        values = own + generator.standard_normal(talkers * utterances)
        low, high = bootstrap_mean(values.tolist(), groups, num_draws=400, seed=repeat)
        hits += low <= 0 <= high
    return hits / repeats


def test_the_interval_of_utterances_alone_covers():
    assert 0.91 <= coverage(talkers=16, utterances=1, talker_std=0.0) <= 0.99


def test_talkers_that_differ_are_allowed_for():
    """Drawn as 24 independent utterances, the same values would cover under 80 %."""
    assert 0.90 <= coverage(talkers=8, utterances=3, talker_std=2.0) <= 0.99


def test_one_talker_is_judged_by_utterances():
    generator = np.random.default_rng(1)
    values = generator.standard_normal(12).tolist()
    assert bootstrap_mean(values, ["anna"] * 12) == bootstrap_mean(values, [None] * 12)


def test_values_that_were_not_measured_do_not_count():
    values = [8.0, 9.0, math.nan, 10.0]
    with_gap = bootstrap_mean(values, ["a", "b", "c", "d"])
    assert with_gap == bootstrap_mean([8.0, 9.0, 10.0], ["a", "b", "d"])
    assert all(math.isnan(end) for end in bootstrap_mean([8.0, math.nan], ["a", "b"]))


def test_equal_values_leave_no_doubt():
    assert bootstrap_mean([3.0, 3.0, 3.0], ["a", "b", "b"]) == (3.0, 3.0)


def test_a_group_for_every_value():
    with pytest.raises(ValueError, match="3 values, but 2 groups"):
        bootstrap_mean([1.0, 2.0, 3.0], ["a", "b"])
