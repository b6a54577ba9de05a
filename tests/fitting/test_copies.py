"""A sensor that passes the bass evenly is no copy of the air microphone."""

from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch

from bcsim.dsp.spectra import cross_spectra
from bcsim.fitting.diagnosis.recognition import _copy

signal: Any = scipy.signal  # whose stubs take arrays for integers
RATE = 16_000


@pytest.fixture(scope="module")
def dark_speech():
    """Noise whose third-octaves above 900 Hz lie 25 dB and more under the bass, (T,)."""
    rng = np.random.default_rng(5)
    bass = signal.lfilter(
        *signal.butter(4, [100, 500], "band", fs=RATE), rng.standard_normal(80_000)
    )
    return bass / bass.std() + 0.03 * rng.standard_normal(80_000)


def is_copy(air, bone):
    active = torch.ones((len(air) - 512) // 128 + 1, dtype=torch.bool)
    spectra = cross_spectra(torch.from_numpy(air), torch.from_numpy(bone), 512, 128, active)
    return _copy(spectra, RATE) is not None


@pytest.mark.parametrize("snr_db", [80, 40, 20])
def test_a_sensor_that_dulls_speech_without_treble_is_no_copy(dark_speech, snr_db):
    """Only the bass of such speech is strong, and a low-pass passes that evenly."""
    bone = signal.lfilter(*signal.butter(2, 900, fs=RATE), dark_speech)
    noise = np.random.default_rng(6).standard_normal(len(bone))
    assert not is_copy(dark_speech, bone + bone.std() * 10 ** (-snr_db / 20) * noise)


@pytest.mark.parametrize("snr_db", [80, 40, 20])
def test_a_copy_under_noise_is_a_copy(dark_speech, snr_db):
    """Its weak bands are what they were, and may be hidden by noise."""
    noise = np.random.default_rng(6).standard_normal(len(dark_speech))
    assert is_copy(dark_speech, 0.1 * dark_speech + 0.1 * 10 ** (-snr_db / 20) * noise)


def test_a_copy_by_telephone_is_a_copy(dark_speech):
    """What a line of 3.4 kHz does not carry is no sign of a sensor."""
    line = signal.butter(8, 3700, fs=RATE, output="sos")
    assert is_copy(dark_speech, 0.5 * signal.sosfiltfilt(line, dark_speech))
