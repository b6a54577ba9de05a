"""Fitting from end to end, against sensors that are known."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.signal
import soxr
import torch

from bcsim.dsp.activity import speech_rms
from bcsim.errors import InputError, UsageError
from bcsim.fitting.estimation import EstimationSettings
from bcsim.fitting.estimators import ESTIMATORS
from bcsim.fitting.fit import fit_pairs
from bcsim.fitting.summary import drop_hz, sensor_summary
from bcsim.reports.text import sensor_lines
from bcsim.sensors.recorded_pair import RecordedPair

signal: Any = scipy.signal  # whose stubs take arrays for integers

RATE = 16_000


def fit(pairs, rate, estimator="power-ratio", **options):
    """Fit a fixed response without trying it on held-out recordings, which takes time."""
    return fit_pairs(pairs, rate, estimator=estimator, cross_validate=False, **options)


@pytest.fixture(scope="module")
def fitted(systems):
    pairs = systems.recorded(
        systems.two_mass(RATE), RATE, count=6, delay=-7.2, polarity=-1, snr_db=40, seconds=6
    )
    return fit(pairs, RATE, name="two-mass")


def test_a_two_mass_sensor_is_recovered_over_its_usable_band(fitted, systems):
    profile = fitted.profile
    grid = profile.transfer_function.frequencies_hz
    known = 20 * np.log10(np.abs(systems.response_of(systems.two_mass(RATE), grid, RATE)))
    low, high = profile.usable_band_hz
    band = (grid >= low) & (grid <= high)
    error_db = (profile.transfer_function.magnitude_db - known)[band]
    assert high > 2000
    assert np.sqrt(np.mean(error_db**2)) < 0.5
    assert profile.polarity == -1
    assert profile.delay_s == pytest.approx(-0.45e-3, abs=0.05e-3)


def test_the_phase_is_the_systems_own(fitted, systems):
    profile = fitted.profile
    grid = profile.transfer_function.frequencies_hz
    known = systems.response_of(systems.two_mass(RATE), grid, RATE)
    # What the delay misses, the phase keeps: together they are the system's.
    left_over = np.exp(-2j * np.pi * grid * (profile.delay_s + 0.45e-3))
    band = (grid > 150) & (grid < 1500)
    error = np.angle(profile.transfer_function.response * left_over / known)[band]
    assert np.abs(error).max() < 0.15


def test_the_impulse_response_is_compact(fitted):
    taps, centre = fitted.profile.impulse_response()
    within = np.abs(np.arange(len(taps)) - centre) < 0.01 * RATE
    assert np.sum(taps[within] ** 2) > 0.99 * np.sum(taps**2)


def test_the_noise_floor_has_its_absolute_level(systems):
    """White noise at -40 dB re the whole signal; relative to active speech it is lower."""
    pairs = systems.recorded(systems.two_mass(RATE), RATE, count=3, snr_db=40, seconds=8)
    profile = fit(pairs, RATE).profile
    levels = []
    for index, pair in enumerate(pairs):
        noise = systems.noise_at(signal.lfilter(*systems.two_mass(RATE), pair.air), 40, index)
        aligned = 10 * math.log10(np.mean(pair.bone**2))
        levels.append(10 * math.log10(np.mean(noise**2)) - aligned)
    loud = 10 * np.log10(np.mean([np.mean(pair.bone**2) for pair in pairs]))
    active_db = profile.level_db + np.mean([active_level_db(pair.air) for pair in pairs])
    expected = np.mean(levels) + loud - active_db
    assert profile.noise_to_speech_db() == pytest.approx(expected, abs=0.6)
    flat = 10 * np.log10(profile.noise_psd[20:-20])
    assert np.std(flat) < 0.7


def active_level_db(air: np.ndarray) -> float:
    return 20 * math.log10(float(speech_rms(torch.from_numpy(air)[None], RATE)))


def test_levels_that_differ_between_recordings_become_the_level_spread(systems):
    pairs = systems.recorded(systems.two_mass(RATE), RATE, count=6)
    gains_db = np.array([-6.0, -3.0, 0.0, 0.0, 3.0, 6.0])
    scaled = [
        RecordedPair(pair.name, pair.air, pair.bone * 10 ** (gain / 20))
        for pair, gain in zip(pairs, gains_db, strict=True)
    ]
    same, different = (fit(p, RATE).profile for p in (pairs, scaled))
    assert different.level_std_db == pytest.approx(np.std(gains_db, ddof=1), abs=0.3)
    assert same.level_std_db < 0.3
    np.testing.assert_allclose(
        different.transfer_function.magnitude_db, same.transfer_function.magnitude_db, atol=0.01
    )


def test_wearers_that_differ_become_the_spread(systems):
    """Half of the wearers have more treble: one component holds it, half of it each way."""
    tilt = signal.butter(1, 1000, btype="high", fs=RATE)
    pairs = []
    for index, pair in enumerate(systems.recorded(systems.two_mass(RATE), RATE, count=8)):
        extra = signal.lfilter(*tilt, pair.bone) if index % 2 else 0.0
        pairs.append(RecordedPair(pair.name, pair.air, pair.bone + extra))
    profile = fit(pairs, RATE).profile
    explained = (profile.spread_components_db**2).sum(axis=0)
    np.testing.assert_allclose(explained, profile.spread_db**2, rtol=1e-6, atol=1e-9)
    first = profile.spread_components_db[0]
    assert (first**2).sum() > 0.95 * explained.sum()
    low, high = np.interp([150, 2500], profile.transfer_function.frequencies_hz, first)
    treble_db = 20 * np.log10(np.abs(1 + systems.response_of(tilt, np.array([150, 2500]), RATE)))
    # of n values, half at either end of D, the standard deviation is D/2 sqrt(n/(n - 1))
    expected = np.ptp(treble_db) / 2 * np.sqrt(8 / 7)
    assert abs(high - low) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("name", list(ESTIMATORS))
def test_every_estimator_makes_a_profile(name, systems):
    pairs = systems.recorded(systems.two_mass(RATE), RATE, count=2, snr_db=30)
    profile = fit(pairs, RATE, estimator=name).profile
    assert profile.provenance.estimator == name
    assert len(profile.to_bytes()) < 2**21


@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000])
def test_other_sample_rates_fit_into_a_file(rate, systems):
    pairs = systems.recorded(systems.two_mass(rate), rate, count=2, snr_db=40)
    profile = fit(pairs, rate).profile
    assert profile.sample_rate == rate
    assert len(profile.to_bytes()) < 2**21


def test_air_at_a_lower_rate_than_the_others_says_nothing_of_wearers_beyond_it(systems):
    """One 8 kHz file among others ended the fit in an internal error: nothing divided something."""
    pairs = systems.recorded(systems.two_mass(RATE), RATE, count=4)
    first = pairs[0]
    air = signal.resample(signal.resample(first.air, len(first.air) // 2), len(first.air))
    pairs[0] = RecordedPair(first.name, air, first.bone, first.talker)
    profile = fit(pairs, RATE, estimator="h1").profile
    grid = profile.transfer_function.frequencies_hz
    assert profile.spread_db[(grid < 2500) | (grid > 5500)].max() < 3


def test_a_recording_that_was_once_at_a_lower_rate_is_not_followed_beyond_it(systems):
    """16 kHz speech in a 48 kHz file: nothing above 8 kHz, where noise over nothing is no gain."""
    generator = np.random.default_rng(1)
    pairs = []
    for index in range(3):
        narrow = systems.speech_like(index, RATE)
        air = signal.resample(narrow, 3 * len(narrow))
        bone = signal.lfilter(*systems.two_mass(48_000), air)
        pairs.append(
            RecordedPair(str(index), air, bone + 1e-4 * generator.standard_normal(len(bone)))
        )
    profile = fit(pairs, 48_000).profile
    assert profile.recorded_band_hz == pytest.approx((0, 7300), abs=400)
    grid, level_db = (
        profile.transfer_function.frequencies_hz,
        profile.transfer_function.magnitude_db,
    )
    at_db = np.interp([7000, 9000, 12_000], grid, level_db)
    assert at_db[1] < at_db[0] - 6
    assert at_db[2] == pytest.approx(at_db[1] - 48 * np.log2(12 / 9), abs=1)


@pytest.mark.parametrize("narrow", ["both", "air", "bone"])
def test_beyond_the_band_of_the_recordings_nothing_is_invented(narrow, systems):
    """Pairs that were once at 8 kHz had a flat response of -17 dB up to 8 kHz."""
    pairs = [
        replace(
            pair,
            **{
                role: soxr.resample(soxr.resample(getattr(pair, role), RATE, 8000), 8000, RATE)
                for role in (("air", "bone") if narrow == "both" else (narrow,))
            },
        )
        for pair in systems.recorded(systems.two_mass(RATE), RATE, count=3, snr_db=40)
    ]
    profile = fit(pairs, RATE).profile
    high_hz = profile.recorded_band_hz[1]
    assert high_hz == pytest.approx(3600, abs=150)
    grid, level_db = (
        profile.transfer_function.frequencies_hz,
        profile.transfer_function.magnitude_db,
    )
    known_db = 20 * np.log10(np.abs(systems.response_of(systems.two_mass(RATE), grid, RATE)))
    inside = (grid > 150) & (grid < 3400)
    assert np.abs(level_db - known_db)[inside].max() < 1.5
    end_db, octave_db = np.interp([1.02 * high_hz, 2 * high_hz], grid, level_db)
    assert octave_db == pytest.approx(end_db - 48, abs=3)
    assert (profile.transfer_function.coherence[grid > high_hz] == 0).all()
    facts = sensor_summary(profile)
    assert facts["recorded_band_hz"][1] == pytest.approx(high_hz, abs=0.1)
    assert any("hold nothing above 3." in sentence for sentence in facts["advice"])
    assert all(hz is None or hz <= high_hz for hz in facts["drops_hz"].values())
    assert any(line.startswith("recorded") for line in sensor_lines(facts))


def test_below_the_high_pass_nothing_is_fitted(systems):
    """Rumble on both channels, louder than speech: with a high-pass it is not the sensor's."""
    low = signal.butter(8, 100, fs=RATE, output="sos")
    pairs = []
    for index, pair in enumerate(systems.recorded(systems.two_mass(RATE), RATE, count=3)):
        generator = np.random.default_rng([index, 12])
        rumble = signal.sosfilt(low, generator.standard_normal((2, len(pair.air))))
        rumble *= pair.air.std() / rumble.std()
        pairs.append(replace(pair, air=pair.air + rumble[0], bone=pair.bone + rumble[1]))
    with_rumble = fit(pairs, RATE).profile
    without = fit(pairs, RATE, settings=EstimationSettings(high_pass_hz=200.0)).profile
    assert with_rumble.noise_to_speech_db() > -8
    assert without.noise_to_speech_db() < with_rumble.noise_to_speech_db() - 25
    assert with_rumble.recorded_band_hz[0] < 150
    assert without.recorded_band_hz[0] == pytest.approx(200, abs=20)
    with pytest.raises(UsageError, match="high-pass at 0 Hz"):
        EstimationSettings(high_pass_hz=0.0)


def test_a_fit_depends_on_the_recordings_alone(systems):
    pairs = systems.recorded(systems.two_mass(RATE), RATE, count=2)
    assert fit(pairs, RATE).profile.to_bytes() == fit(pairs, RATE).profile.to_bytes()


def test_noise_for_excitation_will_do(systems):
    """No pauses at all: nothing is known about the noise, and nothing is subtracted."""
    air = np.random.default_rng(3).standard_normal(20 * RATE)
    bone = signal.lfilter(*systems.two_mass(RATE), air)
    profile = fit([RecordedPair("noise", air, bone)], RATE).profile
    grid = profile.transfer_function.frequencies_hz
    known = 20 * np.log10(np.abs(systems.response_of(systems.two_mass(RATE), grid, RATE)))
    band = (grid > 50) & (grid < 6000)
    assert np.abs(profile.transfer_function.magnitude_db - known)[band].max() < 0.5
    assert (profile.noise_psd == 0).all()
    assert any("no noise floor" in sentence for sentence in sensor_summary(profile)["advice"])


def bad_pairs(good: RecordedPair) -> dict[str, tuple[RecordedPair, str]]:
    zeros = np.zeros_like(good.air)
    broken = good.bone.copy()
    broken[100] = np.nan
    half = len(good.air) // 2
    return {
        "silent air": (RecordedPair("x", zeros, good.bone), "air is silent"),
        "silent bone": (RecordedPair("x", good.air, zeros), "bone is silent"),
        "stuck bone": (RecordedPair("x", good.air, zeros + 0.25), "bone is silent"),
        "not a number": (RecordedPair("x", good.air, broken), "not finite"),
        "too short": (RecordedPair("x", good.air[:4000], good.bone[:4000]), "too short"),
        "empty": (RecordedPair("x", good.air[:0], good.bone[:0]), "too short"),
        "two channels": (RecordedPair("x", np.stack([good.air] * 2), good.bone), "one channel"),
        "at other times": (
            RecordedPair("x", np.r_[good.air[:half], zeros[half:]],
                         np.r_[zeros[:half] + 1e-4, good.bone[half:]]),
            "",
        ),
    }  # fmt: skip


@pytest.fixture(scope="module")
def among_good_pairs(systems):
    """Two good pairs and all bad ones, each under the name of its case, and the fit to them."""
    good = systems.recorded(systems.two_mass(RATE), RATE, count=2)
    bad = {
        case: (replace(pair, name=case), reason)
        for case, (pair, reason) in bad_pairs(good[0]).items()
    }
    return good, bad, fit([*good, *(pair for pair, _ in bad.values())], RATE)


@pytest.mark.parametrize("case", list(bad_pairs(RecordedPair("", np.zeros(5000), np.zeros(5000)))))
def test_a_pair_that_cannot_be_used_is_skipped_and_alone_refused(case, among_good_pairs):
    good, bad, result = among_good_pairs
    pair, reason = bad[case]
    assert {one.name for one in good} <= {kept.name for kept in result.pairs}
    if not reason:
        return  # unusual, but no ground to refuse: it only must not break the others
    (skipped,) = [skipped for skipped in result.skipped if skipped.name == case]
    assert reason in skipped.reason
    assert case not in {kept.name for kept in result.pairs}
    with pytest.raises(InputError, match=f"{case}: .*{reason}"):
        fit([pair], RATE)


def test_no_pairs_and_unknown_estimators_are_refused(systems):
    with pytest.raises(InputError, match="no pairs"):
        fit([], RATE)
    with pytest.raises(UsageError, match="power-ratio"):
        fit(systems.recorded(systems.two_mass(RATE), RATE, count=1), RATE, "power-ration")


def test_the_summary_is_plain_json_and_says_what_was_found(fitted):
    facts = json.loads(json.dumps(sensor_summary(fitted), allow_nan=False))
    assert facts["num_pairs"] == 6
    assert facts["delay_ms"] == pytest.approx(-0.45, abs=0.05)
    assert facts["polarity"] == -1
    assert len(facts["pairs"]) == 6
    assert any("talker" in sentence for sentence in facts["advice"])
    assert not any("more speech" in sentence for sentence in facts["advice"])


def test_little_speech_asks_for_more(systems):
    pairs = systems.recorded(systems.two_mass(RATE), RATE, count=1, seconds=1.5, snr_db=0)
    advice = " ".join(sensor_summary(fit(pairs, RATE))["advice"])
    assert "more speech" in advice
    assert "spread" in advice


def test_drops_are_where_the_response_falls(systems):
    pairs = systems.recorded(signal.butter(2, 800, fs=RATE), RATE, count=3, snr_db=60)
    profile = fit(pairs, RATE).profile
    assert drop_hz(profile, 3.0) == pytest.approx(800, rel=0.08)
    assert drop_hz(profile, 20.0) == pytest.approx(800 * 99 ** (1 / 4), rel=0.08)


@pytest.mark.shared
def test_the_throat_microphone_is_what_it_is_known_to_be(shared):
    from bcsim.datasets.recordings import read_recordings

    folder = shared / "data" / "vibravox_throat"
    pairs, _ = read_recordings(folder / "air", folder / "bone", RATE)
    profile = fit(pairs, RATE).profile
    assert profile.delay_s == pytest.approx(-0.45e-3, abs=0.1e-3)  # bone leads
    assert profile.polarity == -1
    grid, magnitude_db = (
        profile.transfer_function.frequencies_hz,
        profile.transfer_function.magnitude_db,
    )
    treble = (grid > 1700) & (grid < 3200)
    peak_hz = grid[treble][np.argmax(magnitude_db[treble])]
    assert peak_hz == pytest.approx(2440, abs=150)
    around = np.interp([1900, 3200], grid, magnitude_db)
    assert magnitude_db[treble].max() > around.max() + 6
