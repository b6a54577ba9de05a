"""Coherence lies at its ceiling for a linear sensor, and below it for one that is none."""

from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch

from bcsim.fitting.alignment.align import align
from bcsim.fitting.coherence import coherence_ceiling, within_pair_coherence
from bcsim.fitting.pairs import AlignedPair, NoiseFloor, frame_size
from bcsim.sensors.recorded_pair import RecordedPair

signal: Any = scipy.signal  # whose stubs take arrays for integers

RATE = 8000
NUM_FFT = frame_size(RATE)
BINS = NUM_FFT // 2 + 1
INSIDE = slice(4, -4)  # next to the ends the window mixes in the mirror image
SLOPE = ([1.0], [1.0, -0.6])  # 12 dB from one end of the band to the other


def pair_of(
    air: np.ndarray, bone: np.ndarray, air_noise: float, bone_noise: float, seed: int
) -> AlignedPair:
    """Return a pair to which white noise of known powers was added."""
    generator = np.random.default_rng([seed, 41])
    own_air, own_bone = generator.standard_normal((2, len(air)))
    frames = (len(air) - NUM_FFT) // (NUM_FFT // 4) + 1
    ones = torch.ones(BINS, dtype=torch.float64)
    return AlignedPair(
        name=str(seed), talker=None,
        air=torch.from_numpy(air + np.sqrt(air_noise) * own_air),
        bone=torch.from_numpy(bone + np.sqrt(bone_noise) * own_bone),
        sample_rate=RATE, active=torch.ones(frames, dtype=torch.bool), num_fft=NUM_FFT,
        noise=NoiseFloor(bone_noise * 2 / RATE * ones, 1.0, True),
        air_noise=NoiseFloor(air_noise * 2 / RATE * ones, 1.0, True),
        delay_s=0.0, level_db=0.0, seconds=len(air) / RATE, active_seconds=len(air) / RATE,
    )  # fmt: skip


def speech(seed: int, seconds: float = 40.0) -> np.ndarray:
    """Return white noise whose level comes and goes."""
    generator = np.random.default_rng([seed, 42])
    envelope = 1 + 0.9 * np.sin(2 * np.pi * 3 * np.arange(round(seconds * RATE)) / RATE)
    return envelope * generator.standard_normal(len(envelope))


@pytest.mark.parametrize(("air_noise", "bone_noise"), [(0.0, 0.5), (0.3, 0.0), (0.2, 1.0)])
def test_a_linear_sensor_is_as_coherent_as_its_noise_allows(air_noise, bone_noise):
    pairs = []
    for seed in range(3):
        air = speech(seed)
        pairs.append(pair_of(air, signal.lfilter(*SLOPE, air), air_noise, bone_noise, seed))
    ceiling, coherence = coherence_ceiling(pairs), within_pair_coherence(pairs)
    # The closed form, with the powers that went in: 1 + 0.9^2/2 of the envelope, times |H|^2.
    grid = np.linspace(0, RATE / 2, BINS)
    power = 1 + 0.9**2 / 2
    gain = np.abs(signal.freqz(*SLOPE, worN=grid, fs=RATE)[1]) ** 2
    known = power / (power + air_noise) * gain * power / (gain * power + bone_noise)
    np.testing.assert_allclose(ceiling[INSIDE], known[INSIDE], atol=0.02)
    assert abs(np.mean((coherence - ceiling)[INSIDE])) < 0.01
    assert np.maximum(ceiling - coherence, 0)[INSIDE].mean() < 0.03


def test_a_speech_dependent_sensor_shows_a_gap_where_it_depends():
    """Below 2 kHz one filter, above it a sign that changes every quarter of a second."""
    split = signal.firwin(129, 2000, fs=RATE)
    pairs = []
    for seed in range(3):
        air = speech(seed)
        low = signal.fftconvolve(air, split, mode="same")
        turn = np.random.default_rng([seed, 43]).choice([-1.0, 1.0], len(air) // 2000 + 1)
        pairs.append(pair_of(air, low + turn.repeat(2000)[: len(air)] * (air - low), 0, 0.1, seed))
    gap = np.maximum(coherence_ceiling(pairs) - within_pair_coherence(pairs), 0)
    grid = np.linspace(0, RATE / 2, BINS)
    assert gap[(grid > 100) & (grid < 1700)].mean() < 0.02
    assert gap[(grid > 2300) & (grid < 3900)].mean() > 0.7


def test_half_of_the_power_by_another_path_is_a_gap_of_a_half():
    air = speech(7)
    pairs = [pair_of(air, air + speech(8), 0, 0, 9)]
    gap = np.maximum(coherence_ceiling(pairs) - within_pair_coherence(pairs), 0)
    assert gap[INSIDE].mean() == pytest.approx(0.5, abs=0.03)


def test_recordings_count_by_their_length():
    long, short = speech(10, 30.0), speech(11, 10.0)
    quiet, noisy = pair_of(long, long, 0, 0, 12), pair_of(short, short, 0, 1.405, 13)
    assert coherence_ceiling([quiet, noisy])[INSIDE].mean() == pytest.approx(
        (3 * 1 + 1 * 0.5) / 4, abs=0.01
    )


def test_noise_that_is_measured_in_the_pauses_explains_the_coherence(systems):
    """From the recordings alone, alignment and noise floors included."""
    pairs = []
    for seed in range(4):
        air = systems.speech_like(seed, 16_000, 8.0)
        bone = signal.lfilter(*systems.two_mass(16_000), air)
        pairs.append(RecordedPair(str(seed), air, bone + systems.noise_at(bone, 5.0, seed)))
    aligned, _ = align(pairs, 16_000)
    ceiling, coherence = coherence_ceiling(aligned), within_pair_coherence(aligned)
    grid = np.linspace(0, 8000, len(ceiling))
    band = (grid > 150) & (grid < 3000)
    assert ceiling[band].min() < 0.5
    assert abs(np.mean((ceiling - coherence)[band])) < 0.05
