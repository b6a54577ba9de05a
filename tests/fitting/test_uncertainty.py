"""The bootstrap interval holds the truth as often as it says."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch

from bcsim.dsp.spectra import fractional_octave_smooth
from bcsim.fitting.estimators import ESTIMATORS
from bcsim.fitting.estimators.cross_spectral import H1
from bcsim.fitting.estimators.power_ratio import PowerRatio
from bcsim.fitting.pairs import AlignedPair, NoiseFloor, frame_size
from bcsim.fitting.uncertainty import bootstrap_interval_db

signal: Any = scipy.signal  # whose stubs take arrays for integers

RATE = 4000
NUM_FFT = frame_size(RATE)
BINS = NUM_FFT // 2 + 1
HEARD = torch.ones(BINS, dtype=torch.bool)
TILT = np.linspace(-1, 1, BINS)  # how a wearer may differ, per dB


def pair_of(
    seed: int, seconds: float, tilt_db: float = 0.0, noise: float = 0.5, talker: str | None = None
) -> AlignedPair:
    """Return white noise through a filter that is flat but for a tilt, with white noise added."""
    generator = np.random.default_rng([seed, 31])
    size = round(seconds * RATE)
    air, own = generator.standard_normal((2, size))
    taps = signal.firwin2(65, np.linspace(0, 1, BINS), 10 ** (tilt_db * TILT / 20))
    bone = signal.fftconvolve(air, taps, mode="same") + noise * own
    frames = (size - NUM_FFT) // (NUM_FFT // 4) + 1
    quiet = torch.zeros(BINS, dtype=torch.float64)
    return AlignedPair(
        name=str(seed), talker=talker, air=torch.from_numpy(air), bone=torch.from_numpy(bone),
        sample_rate=RATE, active=torch.ones(frames, dtype=torch.bool), num_fft=NUM_FFT,
        noise=NoiseFloor(quiet + noise**2 * 2 / RATE, 1.0, True),
        air_noise=NoiseFloor(quiet, 1.0, True), delay_s=0.0, level_db=0.0,
        seconds=seconds, active_seconds=seconds,
    )  # fmt: skip


def covered(pairs: list[AlignedPair], estimator=None, smoothing: float = 6) -> np.ndarray:
    """Return in which bins the interval holds the truth, a flat response of 0 dB."""
    estimator = estimator or PowerRatio()
    response = torch.from_numpy(np.abs(estimator.estimate(pairs).response) ** 2)
    estimate_db = 10 * np.log10(fractional_octave_smooth(response, smoothing).numpy())
    low, high = bootstrap_interval_db(pairs, estimator, HEARD, smoothing, num_draws=400)
    return ((estimate_db + low <= 0) & (estimate_db + high >= 0))[4:-4]


def test_utterances_that_differ_are_covered():
    hits = []
    for repeat in range(60):
        tilts = 3 * np.random.default_rng([repeat, 2]).standard_normal(10)
        hits.append(covered([pair_of(100 * repeat + i, 1.0, tilt) for i, tilt in enumerate(tilts)]))
    assert 0.90 <= np.mean(hits) <= 0.99


def test_talkers_that_differ_are_covered():
    """Three utterances each of seven talkers, who alone differ: they are seven things, not 21."""
    hits, naive = [], []
    for repeat in range(60):
        tilts = 3 * np.random.default_rng([repeat, 3]).standard_normal(7)
        pairs = [
            pair_of(1000 * repeat + 10 * talker + i, 0.5, tilt, talker=str(talker))
            for talker, tilt in enumerate(tilts)
            for i in range(3)
        ]
        hits.append(covered(pairs))
        naive.append(covered([replace(pair, talker=None) for pair in pairs]))
    assert 0.90 <= np.mean(hits) <= 0.995
    assert np.mean(naive) < 0.88


def test_a_single_recording_is_covered_by_its_parts():
    hits = [covered([pair_of(5000 + repeat, 8.0)]) for repeat in range(60)]
    assert 0.90 <= np.mean(hits) <= 0.99


@pytest.mark.parametrize("estimator", [H1(), H1(gated=True), H1(average="median")])
def test_other_spectral_estimators_are_covered_too(estimator):
    hits = []
    for repeat in range(30):
        pairs = [pair_of(9000 + 10 * repeat + i, 1.0, noise=0.3) for i in range(8)]
        hits.append(covered(pairs, estimator))
    # The median of short recordings is a little biased; the interval knows nothing of bias.
    assert 0.88 <= np.mean(hits) <= 0.99


def test_more_recordings_narrow_the_interval_by_the_root_of_their_number():
    tilts = 3 * np.random.default_rng(4).standard_normal(48)
    pairs = [pair_of(i, 1.0, tilt) for i, tilt in enumerate(tilts)]
    few, many = (
        np.ptp(bootstrap_interval_db(some, PowerRatio(), HEARD), axis=0).mean()
        for some in (pairs[:12], pairs)
    )
    assert few / many == pytest.approx(2, rel=0.35)  # 12 draws of a deviation know it to 20 %


def test_estimators_without_spectra_take_the_interval_of_the_power_ratio():
    pairs = [pair_of(i, 1.0) for i in range(5)]
    ours = bootstrap_interval_db(pairs, ESTIMATORS["cross-correlation"](), HEARD)
    np.testing.assert_array_equal(ours, bootstrap_interval_db(pairs, PowerRatio(), HEARD))


def test_an_interval_depends_on_the_seed_alone():
    pairs = [pair_of(i, 1.0) for i in range(5)]
    first, again, other = (
        bootstrap_interval_db(pairs, PowerRatio(), HEARD, seed=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_of_half_a_second_nothing_is_known():
    assert np.isnan(bootstrap_interval_db([pair_of(1, 0.5)], PowerRatio(), HEARD)).all()


def test_bins_that_are_not_heard_take_the_interval_of_their_neighbours():
    pairs = [pair_of(i, 1.0) for i in range(5)]
    heard = HEARD.clone()
    heard[BINS // 2 :] = False
    interval = bootstrap_interval_db(pairs, PowerRatio(), heard)
    assert np.isfinite(interval).all()
    np.testing.assert_allclose(interval[:, -1], interval[:, -20], atol=1e-9)


def test_it_is_cheap():
    pairs = [pair_of(i, 4.0, talker=str(i % 7)) for i in range(16)]
    [pair.spectra for pair in pairs]
    started = time.process_time()  # of this process only: other tests run beside it
    bootstrap_interval_db(pairs, PowerRatio(), HEARD)
    assert time.process_time() - started < 2.0
