"""Errors by band against closed forms."""

import math

import numpy as np
import pytest
import torch

from bcsim.metrics.bands import band_errors
from bcsim.metrics.comparison import Comparison
from bcsim.metrics.ltas import CENTRES_HZ

RATE = 16_000
CENTRES = torch.tensor(CENTRES_HZ)


def noise(seed: int, seconds: float = 4.0) -> torch.Tensor:
    generator = np.random.default_rng([seed, 31])
    return torch.from_numpy(generator.standard_normal(round(seconds * RATE)))


def test_a_gain_in_one_band_is_the_bias_of_that_band_alone():
    real = noise(1)
    spectrum = torch.fft.rfft(real)
    frequencies = torch.fft.rfftfreq(len(real), 1 / RATE)
    gain = torch.where((frequencies > 1500) & (frequencies < 4200), 2.0, 1.0)
    estimate = torch.fft.irfft(spectrum * gain, len(real))
    bias_db, rms_db = band_errors(Comparison.prepare(estimate, real, RATE, match_level=False))
    raised = (CENTRES > 1900) & (CENTRES < 3500)
    flat = (CENTRES < 1200) | (CENTRES > 5500)
    expected = 20 * math.log10(2)
    for values in (bias_db, rms_db):
        torch.testing.assert_close(values[raised], torch.full((3,), expected).double(), **CLOSE)
        assert float(values[flat].abs().max()) < 0.01


CLOSE = {"rtol": 0, "atol": 0.02}


def test_errors_that_cancel_leave_no_bias_and_their_size_as_rms():
    """The first half 6 dB too loud, the second 6 dB too faint."""
    real = noise(2)
    swing = torch.where(torch.arange(len(real)) < len(real) // 2, 2.0, 0.5)
    bias_db, rms_db = band_errors(Comparison.prepare(swing * real, real, RATE, match_level=False))
    # one frame in 250 holds the step
    assert float(bias_db.abs().max()) < 0.1
    np.testing.assert_allclose(rms_db.numpy(), 20 * math.log10(2), rtol=0.01)


def test_an_estimate_that_is_not_finite_is_taken_for_silence_in_every_band():
    """It once had no error in any band, and so left the mean over recordings as it was."""
    real = noise(2)
    broken = real.index_fill(0, torch.tensor([9]), math.nan)
    of_broken, of_silence = (
        band_errors(Comparison.prepare(estimate, real, RATE))[0] for estimate in (broken, 0 * real)
    )
    assert torch.equal(of_broken, of_silence)
    assert bool((of_broken < -30).all())


def test_bands_above_half_the_sample_rate_and_silence_have_no_errors():
    low_rate = torch.from_numpy(np.random.default_rng(3).standard_normal(32_000))
    bias_db, _ = band_errors(Comparison.prepare(low_rate, low_rate, 8_000))
    assert bias_db[CENTRES < 3000].abs().max() == pytest.approx(0, abs=1e-9)
    assert bool(bias_db[CENTRES > 3800].isnan().all())
    silent = torch.zeros(RATE, dtype=torch.float64)
    assert bool(band_errors(Comparison.prepare(noise(4), silent, RATE))[1].isnan().all())
