"""Two clocks: a tone of one is a tone of another frequency on the other."""

import numpy as np
import pytest

from bcsim.dsp.resample import resample_clock

RATE = 16_000


@pytest.mark.parametrize("drift", [200e-6, -188e-6, 3.3e-6])
def test_a_tone_comes_out_at_the_frequency_of_the_other_clock(drift):
    time_s = np.arange(4 * RATE) / RATE
    resampled = resample_clock(np.sin(2 * np.pi * 700 * time_s), drift)
    time_s = np.arange(len(resampled)) / RATE
    expected = np.sin(2 * np.pi * 700 * (1 + drift) * time_s)
    inside = slice(300, -300)  # a resampler rings where a recording begins and ends
    np.testing.assert_allclose(resampled[inside], expected[inside], atol=2e-6)


def test_the_length_is_that_of_the_other_clock():
    assert len(resample_clock(np.zeros(1_000_000), 200e-6)) == pytest.approx(999_800, abs=1)
    assert len(resample_clock(np.zeros(1_000_000), -200e-6)) == pytest.approx(1_000_200, abs=1)


def test_equal_clocks_change_nothing():
    samples = np.random.default_rng(1).standard_normal(1000)
    np.testing.assert_array_equal(resample_clock(samples, 0.0), samples)
