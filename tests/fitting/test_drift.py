"""Clocks that differ by a known ratio, and recordings that lose a piece."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.signal

from bcsim.audio.read import read_audio
from bcsim.datasets.recordings import read_recordings
from bcsim.dsp.resample import resample
from bcsim.fitting.alignment.align import align, synchronised
from bcsim.fitting.alignment.drift import Drift, agreed_drifts
from bcsim.fitting.alignment.timing import measure_timing
from bcsim.sensors.recorded_pair import RecordedPair

signal: Any = scipy.signal  # whose stubs take arrays for integers

RATE = 16_000


def drifting(pair: RecordedPair, drift: float) -> tuple[RecordedPair, float]:
    """Return the pair with bone on another clock, and by how many ppm, to whole samples.

    By Fourier's series: an independent route from the resampler that takes the drift out.
    """
    count = round(len(pair.bone) * (1 + drift))
    bone = signal.resample(pair.bone, count)
    length = min(len(pair.air), count)
    ppm = 1e6 * (count / len(pair.bone) - 1)
    return replace(pair, air=pair.air[:length], bone=bone[:length]), ppm


@pytest.fixture(scope="module")
def long_pair(systems):
    """A pair of 25 s without drift, as recorded and aligned."""
    (pair,) = systems.recorded(
        systems.two_mass(RATE), RATE, count=1, delay=-7.2, polarity=-1, snr_db=30, seconds=25
    )
    (aligned,), _ = align([pair], RATE)
    return pair, aligned


@pytest.mark.parametrize("drift", [300e-6, -188e-6])
def test_the_drift_of_two_recorders_over_25_s_is_recovered(drift, long_pair):
    pair, undisturbed = long_pair
    pair, ppm = drifting(pair, drift)
    (aligned,), polarity = align([pair], RATE)
    assert aligned.drift_ppm == pytest.approx(ppm, abs=0.5)
    assert polarity == -1
    # What the drift took away comes back.
    expected = undisturbed.spectra.coherence
    np.testing.assert_allclose(aligned.spectra.coherence, expected, atol=0.03)
    assert aligned.delay_s == pytest.approx(-7.2 / RATE, abs=0.06e-3)


@pytest.mark.parametrize("seconds", [3.0, 8.0])
def test_short_pairs_on_their_own_tell_a_drift_of_300_ppm(seconds, systems):
    (pair,) = systems.recorded(systems.two_mass(RATE), RATE, count=1, snr_db=20, seconds=seconds)
    pair, ppm = drifting(pair, 300e-6)
    (aligned,), _ = align([pair], RATE)
    assert aligned.drift_ppm == pytest.approx(ppm, abs=5)


def test_a_pair_with_a_clock_of_its_own_is_told_from_the_others(systems):
    pairs = systems.recorded(systems.two_mass(RATE), RATE, count=5, delay=-7.2, snr_db=30)
    pairs[2], ppm = drifting(pairs[2], 250e-6)
    aligned, _ = align(pairs, RATE)
    assert [pair.drift_ppm for pair in aligned[:2] + aligned[3:]] == [0.0] * 4
    assert aligned[2].drift_ppm == pytest.approx(ppm, abs=2)
    # Brought into step, it has the others' delay at the start.
    assert aligned[2].delay_s == pytest.approx(aligned[0].delay_s, abs=0.03e-3)


@pytest.mark.parametrize("snr_db", [60, 10])
def test_one_recorder_has_no_drift(snr_db, systems):
    pairs = systems.recorded(systems.two_mass(RATE), RATE, count=3, delay=9.0, snr_db=snr_db)
    aligned, _ = align(pairs, RATE)
    assert [pair.drift_ppm for pair in aligned] == [0.0] * 3


def test_pairs_agree_on_a_drift_that_none_could_prove():
    """Each is 3 errors from none, sixteen together are 12."""
    drifts = [Drift(24.0 + wobble, 8.0) for wobble in np.linspace(-8, 8, 16)]
    assert agreed_drifts(drifts, [4.0] * 16) == [24.0] * 16
    assert agreed_drifts(drifts[:1], [4.0]) == [0.0]


def test_a_pair_that_says_nothing_takes_the_drift_of_the_others():
    drifts = [Drift(-188.0, 2.0), Drift(0.0, math.inf), Drift(-188.0, 2.0)]
    assert agreed_drifts(drifts, [10.0] * 3) == [-188.0] * 3
    assert agreed_drifts(drifts[1:2], [10.0]) == [0.0]


def lost(pair: RecordedPair, role: str, start: int, count: int) -> RecordedPair:
    """Return the pair with samples missing from one channel."""
    air, bone = (
        np.delete(samples, np.s_[start : start + count]) if name == role else samples
        for name, samples in (("air", pair.air), ("bone", pair.bone))
    )
    length = min(len(air), len(bone))
    return replace(pair, air=air[:length], bone=bone[:length])


@pytest.fixture(scope="module")
def whole_pair(systems):
    """A pair of 9 s that lost nothing, as recorded and aligned."""
    (pair,) = systems.recorded(systems.two_mass(RATE), RATE, count=1, snr_db=30, seconds=9)
    (aligned,), _ = align([pair], RATE)
    return pair, aligned


@pytest.mark.parametrize(("role", "sign"), [("bone", -1), ("air", 1)])
@pytest.mark.parametrize("lost_s", [0.005, 0.02, 0.45])
def test_a_lost_buffer_is_found_where_it_was_and_both_sides_of_it_are_kept(
    role, sign, lost_s, whole_pair
):
    whole, expected = whole_pair
    start = round(5.1 * RATE)  # within a syllable
    pair = lost(whole, role, start, round(lost_s * RATE))
    timing = measure_timing(pair, RATE)
    (jump,) = timing.jumps
    assert jump.size_s == pytest.approx(sign * lost_s, abs=1e-3)
    # What bone lost has no partner in air: the jump may be anywhere within.
    assert 5.0 < jump.time_s < 5.2 + (lost_s if role == "bone" else 0)
    (aligned,), _ = align([pair], RATE, [timing])
    recorded_s = len(pair.air) / RATE
    # With air's, the rest of the syllable is lost: a pause follows, in which nothing tells when.
    unsure_s = jump.last_s - jump.first_s
    assert unsure_s < 1.0
    kept_s = recorded_s - 2 * lost_s - 0.1 - unsure_s
    assert aligned.seconds == pytest.approx(kept_s, abs=0.01 + lost_s)
    assert aligned.jumps == (jump,)
    assert float(aligned.spectra.coherence[10:150].mean()) == pytest.approx(
        float(expected.spectra.coherence[10:150].mean()), abs=0.02
    )


def test_neither_a_whole_nor_a_drifting_recording_jumps(systems):
    (pair,) = systems.recorded(systems.two_mass(RATE), RATE, count=1, snr_db=20, seconds=12)
    assert measure_timing(pair, RATE).jumps == ()
    for drift in (500e-6, -500e-6):
        assert measure_timing(drifting(pair, drift)[0], RATE).jumps == ()


def test_synchronised_recorders_hear_the_same_moment(systems):
    (pair,) = systems.recorded(
        (np.ones(1), np.ones(1)), RATE, count=1, delay=0.3 * RATE, seconds=12
    )
    pair, _ = drifting(pair, -200e-6)
    together = synchronised(pair, RATE)
    length = len(together.air)
    assert length == len(together.bone) == pytest.approx(11.7 * RATE, abs=100)
    for part in (slice(0, length // 4), slice(3 * length // 4, length)):
        air, bone = together.air[part], together.bone[part]
        lags = np.arange(-40, 41)
        middle = slice(40, len(air) - 40)
        match = [air[middle] @ bone[40 + lag : len(air) - 40 + lag] for lag in lags]
        assert abs(lags[int(np.argmax(match))]) <= 16  # 1 ms


@pytest.fixture(scope="module")
def throat(shared) -> list[RecordedPair]:
    folder = shared / "data" / "vibravox_throat"
    return read_recordings(folder / "air", folder / "bone", RATE)[0]


@pytest.mark.shared
def test_the_throat_pairs_have_no_drift_and_one_delay(throat):
    aligned, polarity = align(throat, RATE)
    assert polarity == -1
    assert {pair.drift_ppm for pair in aligned} == {0.0}
    assert not any(pair.jumps or pair.inverted for pair in aligned)
    delays_ms = [1e3 * pair.delay_s for pair in aligned]
    assert np.median(delays_ms) == pytest.approx(-0.45, abs=0.1)
    assert np.ptp(delays_ms) < 0.01


@pytest.mark.shared
def test_what_a_resampler_leaves_above_the_recorded_band_is_no_drift(throat):
    """At 8 kHz and back, a pair of 5 s seemed to drift by 45 ppm, beyond doubt."""
    pairs = [pair for pair in throat if pair.name in ("a_00", "b_20", "f_13", "g_03")]
    narrow = [
        replace(
            pair,
            **{
                role: resample(resample(getattr(pair, role), RATE, RATE // 2), RATE // 2, RATE)
                for role in ("air", "bone")
            },
        )
        for pair in pairs
    ]
    assert [pair.drift_ppm for pair in align(narrow, RATE)[0]] == [0.0] * 4


@pytest.mark.shared
def test_a_short_real_pair_loses_no_buffer_where_it_begins(shared):
    """4 s of a throat pair once began with "the delay jumps by +2.0 ms at 0.00 s"."""
    folder = shared / "data" / "vibravox_throat"
    samples = slice(12_582, 12_582 + 4 * RATE)
    air, bone = (read_audio(folder / role / "b_20.wav", RATE)[0] for role in ("air", "bone"))
    assert measure_timing(RecordedPair("b_20", air[samples], bone[samples]), RATE).jumps == ()


@pytest.mark.shared
@pytest.mark.parametrize("drift", [200e-6, -188e-6])
def test_a_drift_of_real_pairs_is_found_by_all_and_by_each(drift, throat):
    drifted = [drifting(pair, drift) for pair in throat[::5]]
    pairs = [pair for pair, _ in drifted]
    timings = [measure_timing(pair, RATE) for pair in pairs]
    aligned, _ = align(pairs, RATE, timings)
    assert aligned[0].drift_ppm == pytest.approx(1e6 * drift, abs=8)
    for (pair, ppm), timing in zip(drifted, timings, strict=True):
        (alone,), _ = align([pair], RATE, [timing])
        assert alone.drift_ppm == pytest.approx(ppm, abs=20)  # the speech itself looks like 10
