"""Streams: the same on every machine, and independent of each other."""

import numpy as np
import pytest

from bcsim.rng import stream


def test_a_stream_is_the_same_on_every_machine():
    # Golden: Philox keyed with blake2b of the names; a change here changes every dataset.
    assert stream(1, "speaker/clip", "gain").integers(2**53) == GOLDEN


def test_streams_of_other_names_or_seeds_differ():
    draws = [
        tuple(generator.integers(2**32, size=4))
        for generator in (
            stream(0, "a", "b"),
            stream(0, "ab"),
            stream(0, "b", "a"),
            stream(1, "a", "b"),
            stream(0, 1),
            stream(0, "1"),
        )
    ]
    assert len(set(draws)) == len(draws)


def test_streams_are_uncorrelated():
    first = np.stack([stream(0, "clip", k).standard_normal(1000) for k in range(20)])
    correlation = np.corrcoef(first) - np.eye(20)
    assert np.abs(correlation).max() < 5 / np.sqrt(1000)


def test_a_name_that_is_not_utf8_has_a_stream():
    assert stream(0, "\udcff").uniform() != stream(0, "\udcfe").uniform()


@pytest.mark.parametrize("seed", [0, -1, 2**70])
def test_any_integer_is_a_seed(seed):
    assert 0 <= stream(seed).uniform() < 1


GOLDEN = 8813088043239287
