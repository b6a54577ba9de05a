from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch

from bcsim.fitting.noise import estimate_noise_floor, pooled_noise
from bcsim.fitting.pairs import NoiseFloor

signal: Any = scipy.signal  # whose stubs take arrays for integers

RATE, NUM_FFT = 16_000, 1024


def coloured(seed: int, seconds: float) -> np.ndarray:
    generator = np.random.default_rng([seed, 8])
    return signal.lfilter([1e-3], [1, -0.9], generator.standard_normal(round(seconds * RATE)))


def test_a_coloured_noise_floor_is_recovered_with_its_absolute_density():
    """Speech of two thirds, pauses of one third: the density is that of the noise alone."""
    bone = coloured(1, 60.0)
    air = np.zeros_like(bone)
    speech = np.random.default_rng(2).standard_normal(40 * RATE)
    air[: len(speech)] += speech
    bone[: len(speech)] += speech
    floor = estimate_noise_floor(torch.from_numpy(air), torch.from_numpy(bone), RATE, NUM_FFT)
    _, response = signal.freqz([1e-3], [1, -0.9], np.linspace(0, np.pi, NUM_FFT // 2 + 1))
    known = 2 / RATE * np.abs(response) ** 2  # one-sided density of unit white noise is 2/fs
    known[[0, -1]] = np.nan  # the window mixes in neighbours of either side
    ratio_db = 10 * np.log10(floor.psd.numpy() / known)[2:-2]
    assert abs(np.mean(ratio_db)) < 0.1
    assert np.std(ratio_db) < 0.5
    assert floor.from_pauses
    assert floor.pause_seconds == pytest.approx(20.0, abs=0.2)


def test_its_integral_is_the_power_of_the_noise():
    bone = coloured(3, 30.0)
    floor = estimate_noise_floor(
        torch.zeros(len(bone), dtype=torch.float64), torch.from_numpy(bone), RATE, NUM_FFT
    )
    assert float(floor.psd.sum()) * RATE / NUM_FFT == pytest.approx(np.var(bone), rel=0.03)


def test_clicks_in_the_pauses_do_not_matter():
    bone = coloured(4, 20.0)
    quiet = estimate_noise_floor(
        torch.zeros(len(bone), dtype=torch.float64), torch.from_numpy(bone), RATE, NUM_FFT
    )
    clicked = bone.copy()
    clicked[:: 4 * RATE] += 1.0
    disturbed = estimate_noise_floor(
        torch.zeros(len(bone), dtype=torch.float64), torch.from_numpy(clicked), RATE, NUM_FFT
    )
    ratio_db = 10 * torch.log10(disturbed.psd / quiet.psd)
    assert float(ratio_db.mean()) < 0.5


def test_without_pauses_the_quietest_frames_do_and_say_so():
    generator = np.random.default_rng(5)
    loudness = np.tile([1.0, 0.02, 1.0, 0.02, 0.05, 0.02], 40)  # 34 dB: quiet, never for long
    envelope = np.repeat(loudness, RATE // 5)
    air = generator.standard_normal(len(envelope)) * envelope
    floor = estimate_noise_floor(torch.from_numpy(air), torch.from_numpy(air), RATE, NUM_FFT)
    assert not floor.from_pauses
    assert floor.pause_seconds == 0
    assert float(floor.psd.sum()) * RATE / NUM_FFT == pytest.approx(0.02**2, rel=0.2)


def test_a_pause_in_a_noisy_room_is_found_by_its_steadiness():
    """The air microphone's noise is 32 dB under speech: no frame is 45 dB down."""
    generator = np.random.default_rng(9)
    bone, noise = coloured(9, 12.0), 0.02 * generator.standard_normal(12 * RATE)
    air = noise.copy()
    moves = np.abs(np.sin(2 * np.pi * 2.3 * np.arange(10 * RATE) / RATE)) ** 3
    air[: 10 * RATE] += moves * generator.standard_normal(10 * RATE)
    with_speech = bone.copy()
    with_speech[: 10 * RATE] += moves * generator.standard_normal(10 * RATE)
    floor = estimate_noise_floor(
        torch.from_numpy(air), torch.from_numpy(with_speech), RATE, NUM_FFT
    )
    assert floor.from_pauses
    assert floor.pause_seconds == pytest.approx(2.0, abs=0.2)
    assert float(floor.psd.sum()) * RATE / NUM_FFT == pytest.approx(np.var(bone), rel=0.1)


def test_bands_without_anything_make_no_spread_of_the_noise_level():
    """Pauses of zeros and rumble beside real ones: the noise varied by 30 dB from clip to clip."""
    psd = torch.full((513,), 1e-9, dtype=torch.float64)
    psd[:10] = 1e-4
    padded = torch.where(torch.arange(513) < 10, psd, 0.0)
    pairs: Any = [
        SimpleNamespace(noise=NoiseFloor(floor, 1.0, from_pauses=True), sample_rate=RATE)
        for floor in (psd, padded, psd, 1.1 * padded)
    ]
    _, level_std_db = pooled_noise(pairs)
    assert level_std_db < 6.0


def test_a_pause_full_of_rumble_is_a_pause():
    """Both channels rumble below 150 Hz, 10 dB under speech: no pause was found."""
    generator = np.random.default_rng(10)
    low = signal.butter(6, 130, fs=RATE, output="sos")
    speech = generator.standard_normal(10 * RATE)
    speech[4 * RATE :] = 0
    rumble = signal.sosfilt(low, generator.standard_normal((2, 10 * RATE)))
    rumble *= 10 ** (-10 / 20) / rumble.std()
    air, bone = torch.from_numpy(speech + rumble + 1e-3 * coloured(11, 10.0))
    floor = estimate_noise_floor(air, bone, RATE, NUM_FFT)
    assert floor.from_pauses
    assert floor.pause_seconds == pytest.approx(6.0, abs=0.2)
    assert float(floor.psd.sum()) * RATE / NUM_FFT == pytest.approx(0.1, rel=0.1)


def test_of_a_steady_signal_nothing_is_known():
    """What is recorded may be speech from end to end; taking it for noise would leave nothing."""
    air = torch.from_numpy(np.random.default_rng(6).standard_normal(RATE * 4))
    floor = estimate_noise_floor(air, air, RATE, NUM_FFT)
    assert not floor.from_pauses
    assert (floor.psd == 0).all()


def test_digital_silence_is_padding_not_a_pause():
    bone = coloured(7, 20.0)
    bone[: 10 * RATE] = 0
    floor = estimate_noise_floor(
        torch.zeros(len(bone), dtype=torch.float64), torch.from_numpy(bone), RATE, NUM_FFT
    )
    assert float(floor.psd.sum()) * RATE / NUM_FFT == pytest.approx(
        np.var(bone[10 * RATE :]), rel=0.05
    )
