"""Recorders that were started apart, whose clocks differ by any amount, and that lose buffers.

Each test names what users of such recorders met; the truth is known, for the pairs are made here.
"""

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal

from bcsim.fitting.alignment.align import align
from bcsim.fitting.diagnosis.diagnose import diagnose
from bcsim.fitting.fit import fit_pairs
from bcsim.sensors.recorded_pair import RecordedPair

signal: Any = scipy.signal  # whose stubs take arrays for integers

RATE = 16_000
DELAY_S = 7 / RATE


def babble(seed: int, seconds: float) -> np.ndarray:
    """Return syllables of random length, colour and loudness: nothing repeats as in speech."""
    rng = np.random.default_rng([seed, 21])
    speech = 1e-5 * rng.standard_normal(round(seconds * RATE))
    place = 0.1
    while place < seconds - 0.4:
        length_s = rng.uniform(0.08, 0.3)
        size, start = round(length_s * RATE), round(place * RATE)
        low = rng.uniform(100, 500)
        colour = signal.butter(1, [low, low * rng.uniform(3, 10)], "band", fs=RATE)
        sound = signal.lfilter(*colour, rng.standard_normal(size)) * np.hanning(size)
        speech[start : start + size] += 0.2 * rng.uniform(0.3, 1) * sound
        place += length_s + rng.choice([0.03, 0.1, 0.4], p=[0.5, 0.4, 0.1])
    return speech


def body(air: np.ndarray, seed: int) -> np.ndarray:
    """Return what a sensor makes of air: a low-pass of 900 Hz, 7 samples later, and noise."""
    bone = 0.6 * np.roll(signal.lfilter(*signal.butter(2, 900, fs=RATE), air), 7)
    return bone + 2e-4 * np.random.default_rng([seed, 22]).standard_normal(len(bone))


def on_clock(bone: np.ndarray, *rates_ppm: float) -> np.ndarray:
    """Return bone as a recorder takes it whose clock is off by each rate for an equal time."""
    steps = np.repeat(rates_ppm, -(-len(bone) // len(rates_ppm)))[: len(bone)]
    place = np.concatenate([[0.0], np.cumsum(1 + 1e-6 * steps)])
    moments = np.interp(np.arange(int(place[-1])), place, np.arange(len(place)))
    return scipy.ndimage.map_coordinates(bone, moments[None], order=5, mode="nearest")


def recorded(seconds: float, *rates_ppm: float, seed: int = 1) -> RecordedPair:
    air = babble(seed, seconds)
    return RecordedPair(f"pair {seed}", air, on_clock(body(air, seed), *(rates_ppm or (0.0,))))


def kinds_of(pair: RecordedPair) -> set[str]:
    (found,) = diagnose([pair], RATE)
    return {finding.kind for finding in found.findings}


def noise_before(samples: np.ndarray, seconds: float) -> np.ndarray:
    noise = 1e-3 * np.random.default_rng(5).standard_normal(round(seconds * RATE))
    return np.concatenate([noise, samples])


@pytest.mark.parametrize(("role", "seconds"), [("bone", 1.5), ("air", 1.5), ("air", 5.0)])
def test_a_recorder_that_was_started_seconds_earlier_is_an_offset_and_no_other_speech(
    role, seconds
):
    pair = recorded(6.0)
    pair = replace(pair, **{role: noise_before(getattr(pair, role), seconds)})
    (found,) = diagnose([pair], RATE)
    assert [finding.kind for finding in found.findings] == ["offset"]
    sign = 1 if role == "bone" else -1
    assert found.delay_s == pytest.approx(sign * seconds + DELAY_S, abs=0.3e-3)


@pytest.mark.parametrize("rate_ppm", [3000.0, -40_000.0])
def test_a_clock_that_is_far_off_drifts_and_loses_no_buffer(rate_ppm):
    (found,) = diagnose([recorded(8.0, rate_ppm)], RATE)
    assert [finding.kind for finding in found.findings] == ["drift"]
    assert found.drift_ppm == pytest.approx(rate_ppm, abs=20)


def test_pairs_of_a_clock_that_is_far_off_give_the_sensor_that_was_recorded():
    pairs = [recorded(8.0, 3000.0, seed=seed) for seed in (1, 2, 3)]
    truth = [recorded(8.0, seed=seed) for seed in (1, 2, 3)]
    fitted, expected = (
        fit_pairs(p, RATE, estimator="power-ratio", cross_validate=False).profile
        for p in (pairs, truth)
    )
    assert fitted.delay_s == pytest.approx(DELAY_S, abs=0.1e-3)
    assert fitted.lowpass.cutoff_hz == pytest.approx(expected.lowpass.cutoff_hz, rel=0.03)


def test_a_drift_that_changes_is_followed():
    pair = recorded(24.0, 50.0, 250.0, 50.0)
    (aligned,), _ = align([pair], RATE)
    (undisturbed,), _ = align([recorded(24.0)], RATE)
    band = slice(20, 60)  # 300 to 900 Hz
    assert float(aligned.spectra.coherence[band].mean()) == pytest.approx(
        float(undisturbed.spectra.coherence[band].mean()), abs=0.02
    )
    assert kinds_of(pair) <= {"drift"}


@pytest.mark.parametrize("role", ["air", "bone"])
def test_all_but_the_surroundings_of_a_lost_buffer_is_kept(role):
    pair = recorded(14.0)
    gone = slice(round(6.3 * RATE), round(6.4 * RATE))
    pair = replace(pair, **{role: np.delete(getattr(pair, role), gone)})
    (aligned,), _ = align([pair], RATE)
    ((jump,), size_s) = aligned.jumps, 0.1 if role == "air" else -0.1
    assert jump.size_s == pytest.approx(size_s, abs=0.3e-3)
    assert aligned.seconds > 13.0
    assert aligned.seconds + aligned.left_out_s == pytest.approx(13.95, abs=0.1)
    assert aligned.start_delay_s == pytest.approx(DELAY_S, abs=0.1e-3)
    (found,) = diagnose([pair], RATE)
    assert [finding.kind for finding in found.findings] == ["jump"]


def test_noise_that_both_channels_share_in_pauses_is_no_lost_buffer():
    """A body's rumble takes another way than the voice: it once made a jump at the first word."""
    pair = recorded(3.5)
    rng = np.random.default_rng(9)
    size = len(pair.air) + 2 * RATE
    rumble = 1.5e-3 * signal.lfilter(
        *signal.butter(2, [100, 250], "band", fs=RATE), rng.standard_normal(size)
    )
    silence = np.zeros(RATE)
    air = np.concatenate([silence, pair.air, silence]) + rumble
    early = np.roll(rumble, -round(0.0035 * RATE))
    bone = np.concatenate([silence, pair.bone, silence]) + 2 * early
    assert "jump" not in kinds_of(replace(pair, air=air, bone=bone))


def test_a_delay_of_the_recorders_does_not_get_into_the_profile(caplog):
    pair = recorded(6.0)
    late = replace(pair, bone=noise_before(pair.bone, 0.3))
    with caplog.at_level(logging.WARNING):
        fitted = fit_pairs([late], RATE, estimator="power-ratio", cross_validate=False)
    assert fitted.profile.delay_s == 0.0
    assert "is that of the recorders" in caplog.text
    fitted = fit_pairs([pair], RATE, estimator="power-ratio", cross_validate=False)
    assert fitted.profile.delay_s == pytest.approx(DELAY_S, abs=0.1e-3)


def test_a_fit_to_less_than_half_of_the_recordings_warns(caplog):
    pair, other = recorded(6.0), recorded(9.0, seed=2)
    strange = replace(other, bone=recorded(9.0, seed=3).bone)
    with caplog.at_level(logging.WARNING):
        fit_pairs([pair, strange], RATE, estimator="power-ratio", cross_validate=False)
    assert "only 6 of 15 s" in caplog.text
