"""Leakage of ambient noise against filters that are known."""

from typing import Any

import numpy as np
import pytest
import scipy.signal

from bcsim.errors import InputError
from bcsim.fitting.leakage import leakage_db, recorded_noise_psd
from bcsim.fitting.pairs import frame_size
from bcsim.sensors.recorded_pair import RecordedPair

signal: Any = scipy.signal  # whose stubs take arrays for integers

RATE = 16_000
BINS = frame_size(RATE) // 2 + 1
GRID = np.linspace(0, RATE / 2, BINS)
BAND = (GRID > 100) & (GRID < 7000)
EAR_CUP = signal.butter(1, 700, fs=RATE)  # isolates the more, the higher


def ambience(seed: int, seconds: float = 20.0) -> np.ndarray:
    """Return noise that falls by 6 dB an octave above 400 Hz, as traffic does."""
    white = np.random.default_rng([seed, 51]).standard_normal(round(seconds * RATE))
    return 0.05 * signal.lfilter(*signal.butter(1, 400, fs=RATE), white)


def own(seed: int, size: int, power: float) -> np.ndarray:
    return np.sqrt(power) * np.random.default_rng([seed, 52]).standard_normal(size)


def known_db(system: tuple = EAR_CUP, gain: float = 1.0) -> np.ndarray:
    return 20 * np.log10(gain * np.abs(signal.freqz(*system, GRID, fs=RATE)[1]) + 1e-12)


@pytest.mark.parametrize("gain", [1.0, 0.05])
def test_a_known_leakage_is_recovered_within_a_decibel(gain):
    air = ambience(1)
    bone = gain * signal.lfilter(*EAR_CUP, air) + 0.3  # a recorder's DC is no noise
    found = leakage_db(air, bone, RATE)
    assert found.shape == (BINS,)
    assert np.abs(found - known_db(gain=gain))[BAND].max() < 1.0
    assert np.sqrt(np.mean((found - known_db(gain=gain))[BAND] ** 2)) < 0.4


def test_the_sensors_own_noise_is_taken_out():
    air, power = ambience(2), 4e-6
    bone = signal.lfilter(*EAR_CUP, air) + own(2, len(air), power)
    psd = np.full(BINS, power * 2 / RATE)
    found = leakage_db(air, bone, RATE, psd)
    naive = leakage_db(air, bone, RATE)
    leaking = BAND & (GRID < 1500)
    assert np.abs(found - known_db())[leaking].max() < 1.0
    treble = (GRID > 2500) & (GRID < 3000)
    assert np.mean(naive[treble]) > np.mean(known_db()[treble]) + 2
    assert np.abs(np.mean((found - known_db())[treble])) < 1.5


def test_where_its_own_noise_hides_it_the_leakage_is_an_upper_bound():
    air, power = ambience(3), 1e-6
    bone = signal.lfilter(*signal.butter(4, 1000, fs=RATE), air) + own(3, len(air), power)
    found = leakage_db(air, bone, RATE, np.full(BINS, power * 2 / RATE))
    hidden = (GRID > 3500) & (GRID < 7000)
    assert (found > known_db(signal.butter(4, 1000, fs=RATE)))[hidden].all()
    # One decibel above the noise: a quarter of it, over the power of air.
    _, psd = signal.welch(air, RATE, nperseg=1024)
    bound = 10 * np.log10(0.25 * power * 2 / RATE / psd)
    assert np.abs(found - bound)[hidden].mean() < 1.0


def test_alignment_does_not_matter():
    air = ambience(4)
    bone = signal.lfilter(*EAR_CUP, air)
    late = leakage_db(air[:-4000], np.roll(bone, 3000)[4000:], RATE)
    assert np.abs(late - known_db())[BAND].max() < 1.0


def test_a_diffuse_field_leaks_though_nothing_is_coherent():
    air, elsewhere = ambience(5), ambience(6)
    found = leakage_db(air, signal.lfilter(*EAR_CUP, elsewhere), RATE)
    assert np.abs(found - known_db())[BAND].max() < 1.5  # two noises, each with its own chance


def test_noise_of_a_narrow_band_is_continued_to_both_sides():
    air = signal.sosfilt(
        signal.butter(8, [300, 2000], "band", fs=RATE, output="sos"), own(7, 20 * RATE, 1.0)
    )
    found = leakage_db(air, 0.1 * air, RATE)
    assert found == pytest.approx(-20, abs=0.5)


def test_the_own_noise_is_that_of_the_pauses_as_recorded(systems):
    power, pairs = 4e-6, []
    for index in range(3):
        air = systems.speech_like(index, RATE)
        bone = signal.lfilter(*systems.two_mass(RATE), air)
        pairs.append(RecordedPair(str(index), air, bone + own(index, len(air), power)))
    psd = recorded_noise_psd(pairs, RATE)
    found_db = 10 * np.log10(psd / (power * 2 / RATE))[5:-5]
    assert abs(found_db.mean()) < 0.5
    assert found_db.std() < 0.6
    steady = RecordedPair("steady", ambience(8), ambience(9))
    assert (recorded_noise_psd([steady], RATE) == 0).all()


@pytest.mark.parametrize(
    ("air", "bone", "message"),
    [
        (ambience(10), own(10, 20 * RATE, 1e-6), "above its own noise"),
        (np.zeros(20 * RATE), ambience(11), "air is silent"),
        (ambience(12), np.zeros(20 * RATE), "above its own noise"),
        (ambience(13, 0.5), ambience(14, 0.5), "0.50 s are too short"),
        (np.zeros((2, 20 * RATE)), ambience(15), "not one channel"),
        (np.full(20 * RATE, np.nan), ambience(16), "not finite"),
        (np.zeros(0), np.zeros(0), "too short"),
    ],
)
def test_what_says_nothing_is_refused(air, bone, message):
    with pytest.raises(InputError, match=message) as refusal:
        leakage_db(air, bone, RATE, np.full(BINS, 1e-6 * 2 / RATE))
    assert "\n" not in str(refusal.value)


def test_a_density_on_another_grid_is_refused():
    with pytest.raises(ValueError, match="own_noise_psd has shape"):
        leakage_db(ambience(17), ambience(18), RATE, np.zeros(100))
