"""Delay and polarity of systems that are known."""

from typing import Any

import numpy as np
import pytest
import scipy.signal

from bcsim.fitting.alignment.align import _overlaps, align
from bcsim.fitting.alignment.timing import Timing, measure_timing
from bcsim.sensors.recorded_pair import RecordedPair

signal: Any = scipy.signal  # whose stubs take arrays for integers

RATE = 16_000


@pytest.mark.parametrize("polarity", [1, -1])
@pytest.mark.parametrize("delay", [10.0, -10.0, -7.2, 0.4])
def test_the_delay_of_a_two_mass_sensor_comes_out_with_its_sign(delay, polarity, systems):
    pairs = systems.recorded(systems.two_mass(RATE), RATE, delay=delay, polarity=polarity)
    aligned, found = align(pairs, RATE)
    assert found == polarity
    delays = [pair.delay_s * RATE for pair in aligned]
    assert np.median(delays) == pytest.approx(delay, abs=0.4)  # 25 us
    assert np.ptp(delays) < 0.05


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_other_sample_rates_do_as_well(rate, systems):
    pairs = systems.recorded(
        systems.two_mass(rate), rate, count=2, delay=-0.00045 * rate, polarity=-1, snr_db=40
    )
    aligned, polarity = align(pairs, rate)
    assert polarity == -1
    assert aligned[0].delay_s == pytest.approx(-0.45e-3, abs=0.05e-3)


SENSORS = {
    "first-order low-pass": lambda: signal.butter(1, 400, fs=RATE),
    "band-pass": lambda: signal.butter(2, [150, 900], btype="band", fs=RATE),
    "accelerometer": lambda: signal.butter(2, 200, btype="high", fs=RATE),
    "all-pass": lambda: (np.ones(1), np.ones(1)),
    "allpass with a dispersion of its own": lambda: ([0.5, 1.0], [1.0, 0.5]),
}


@pytest.mark.parametrize("name", list(SENSORS))
@pytest.mark.parametrize("polarity", [1, -1])
def test_sensors_of_many_kinds(name, polarity, systems):
    pairs = systems.recorded(SENSORS[name](), RATE, delay=-7.2, polarity=polarity, snr_db=30)
    aligned, found = align(pairs, RATE)
    assert found == polarity
    expected = -7.2 + (0.4 if "dispersion" in name else 0.0)
    assert aligned[0].delay_s * RATE == pytest.approx(expected, abs=0.6)


def test_noise_above_the_coherent_band_does_not_lead_astray(systems):
    """As in a throat microphone: coherent below 600 Hz, and loud, unrelated above."""
    pairs = []
    for index in range(4):
        air = systems.speech_like(index, RATE)
        low = signal.lfilter(*signal.butter(2, 600, fs=RATE), air)
        other = signal.lfilter(
            *signal.butter(4, 900, "high", fs=RATE), systems.speech_like(99 + index, RATE)
        )
        bone = -systems.delayed(low + 3 * other, -7.2)
        pairs.append(RecordedPair(str(index), air, bone))
    aligned, polarity = align(pairs, RATE)
    assert polarity == -1
    assert np.median([pair.delay_s for pair in aligned]) * RATE == pytest.approx(-7.2, abs=2)


@pytest.mark.parametrize("offset_s", [0.05, -0.3, 0.9])
def test_a_large_offset_between_the_recorders_is_found(offset_s, systems):
    pairs = systems.recorded(
        systems.two_mass(RATE), RATE, count=2, delay=offset_s * RATE, polarity=-1, snr_db=30
    )
    aligned, polarity = align(pairs, RATE)
    assert polarity == -1
    assert aligned[0].delay_s == pytest.approx(offset_s, abs=0.05e-3)
    assert aligned[0].seconds == pytest.approx(4.0 - abs(offset_s), abs=0.01)


def test_recorders_that_were_started_apart_get_a_delay_each(systems):
    offsets = (800.0, -2400.0, 0.0, 8000.5)
    pairs = systems.recorded(systems.two_mass(RATE), RATE, offsets=offsets, snr_db=40)
    aligned, _ = align(pairs, RATE)
    np.testing.assert_allclose([pair.delay_s * RATE for pair in aligned], offsets, atol=0.5)


@pytest.mark.parametrize(
    ("lags", "expected"),
    [((0, 140, -150, 290), (0, 140, -150, 290)), ((0, 20, -30, 290), (20, 20, 20, 290))],
)
def test_lags_that_have_nothing_in_common_are_not_taken_for_one(lags, expected, systems):
    """Of real pairs 25 ms apart, those within 10 ms of the median once got its lag, 10 ms off."""
    pairs = systems.recorded(systems.two_mass(RATE), RATE, count=4, seconds=1.0)
    timings = [Timing(lag, 8e3, 0, RATE, 0.0, (), 50.0, 1e4) for lag in lags]
    overlaps, are_common = _overlaps(pairs, timings, RATE)
    assert tuple(overlap.lag for overlap in overlaps) == expected
    assert are_common == ([False] * 4 if lags == expected else [True, True, True, False])


def test_a_single_pair_is_enough(systems):
    pairs = systems.recorded(systems.two_mass(RATE), RATE, count=1, delay=5.0, snr_db=30)
    aligned, polarity = align(pairs, RATE)
    assert polarity == 1
    # Noise hides the stop band, and with it a part of the minimum phase: that counts as delay.
    assert aligned[0].delay_s * RATE == pytest.approx(5.0, abs=0.7)


def test_dc_does_not_matter(systems):
    plain = systems.recorded(systems.two_mass(RATE), RATE, count=1, delay=5.0)
    offset = [RecordedPair("dc", pair.air + 0.03, pair.bone - 0.5) for pair in plain]
    expected, actual = (align(pairs, RATE)[0][0] for pairs in (plain, offset))
    assert actual.delay_s == pytest.approx(expected.delay_s, abs=1e-9)
    assert actual.level_db == pytest.approx(expected.level_db, abs=1e-6)


def test_aligned_channels_have_unit_level_and_report_the_one_they_had(systems):
    pair = systems.recorded(systems.two_mass(RATE), RATE, count=1, polarity=-1)[0]
    quiet = RecordedPair("quiet", pair.air, 0.1 * pair.bone)
    (first,), (second,) = (align([p], RATE)[0] for p in (pair, quiet))
    assert first.level_db - second.level_db == pytest.approx(20, abs=1e-6)
    np.testing.assert_allclose(first.bone[:], second.bone[:], atol=1e-4)


def test_the_coarse_lag_sees_neither_sign_nor_level(systems):
    air = systems.speech_like(1, RATE)
    bone = np.roll(air, 333)
    for scale in (1.0, -1.0, 1e-4):
        assert measure_timing(RecordedPair("p", air, scale * bone), RATE).lag == 333
