"""The benchmark of synchronisation: its truth is the truth, and a few fast cases of it."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def sync(load_benchmark):
    return load_benchmark("sync")


def babble(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Return noise in bursts of random length and loudness, as speech for cases."""
    parts: list[np.ndarray] = []
    while sum(map(len, parts)) < seconds * 16_000:
        size = int(rng.uniform(1300, 4800))
        burst = np.convolve(rng.standard_normal(size), np.ones(int(rng.integers(2, 12))), "same")
        silence = np.zeros(int(rng.uniform(300, 1500)))
        parts += [0.1 * rng.uniform(0.3, 1) * burst * np.hanning(size), silence]
    return np.concatenate(parts)[: round(seconds * 16_000)]


def test_the_truth_of_a_case_is_where_the_recordings_are_most_similar(sync):
    """Of clean speech through nothing but the recorders, whatever synchronises them."""
    case = sync.Case(6.0, 0.4, (200.0,), ((3.1, 0.05, "air"),), snr_db=60.0)
    recorded = sync.record(case, babble)
    air, bone = recorded.pair.air, recorded.pair.bone
    for place in (20_000, 40_000, 70_000, 85_000):
        expected = recorded.truth[place]
        part = air[place - 2400 : place + 2400]
        lags = np.arange(-60, 61)
        starts = round(float(expected)) - 2400 + lags
        match = [part @ bone[start : start + 4800] for start in starts]
        assert abs(lags[int(np.argmax(np.abs(match)))]) <= 12  # the low-pass delays by some 0.4 ms


@pytest.mark.parametrize(
    "facts",
    [
        {"seconds": 5.0, "offset_s": 7.0, "polarity": -1},
        {"seconds": 5.0, "offset_s": -0.02, "rates_ppm": (350.0,), "sensor": "in-ear"},
        {"seconds": 5.0, "rates_ppm": (20_000.0,), "snr_db": 20.0},
        {"seconds": 8.0, "lost": ((4.0, 0.03, "bone"),), "sensor": "accelerometer"},
    ],
)
def test_a_fast_case_is_recovered_and_nothing_false_is_claimed(facts, sync):
    tally = sync.Tally()
    assert sync.examine_case(sync.Case(**facts, seed=4), babble, tally)
    assert tally.right == tally.cases == 1
    assert tally.false == tally.wrong == tally.unrecoverable == 0
    assert tally.claimed == len(facts.get("lost", ()))
