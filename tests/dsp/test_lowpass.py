"""Windowed sincs against scipy."""

import numpy as np
import pytest
import torch
from scipy import signal

from bcsim.dsp.lowpass import filter_without_delay, taps_response, windowed_sinc

RATE = 16_000


@pytest.mark.parametrize(("cutoff_hz", "num_taps"), [(600, 255), (1234.5, 65), (7000, 501)])
def test_the_taps_are_those_of_scipy(cutoff_hz, num_taps):
    taps = windowed_sinc(torch.tensor([float(cutoff_hz)]), num_taps, RATE)[0].numpy()
    expected = signal.firwin(num_taps, cutoff_hz, window="blackman", fs=RATE)
    assert np.abs(taps - expected).max() < 1e-14


def test_it_passes_and_stops_where_it_says():
    taps = windowed_sinc(torch.tensor([2000.0]), 255, RATE)
    gain = taps_response(taps, 8193)[0]
    hz = torch.linspace(0, 8000, 8193)
    transition = 3 * RATE / 255
    assert (20 * gain[hz < 2000 - transition].log10()).abs().max() < 0.02
    assert 20 * gain[hz > 2000 + transition].abs().max().log10() < -74
    assert gain[2048].item() == pytest.approx(0.5, abs=1e-3)


def test_at_half_the_sample_rate_it_is_the_identity():
    noise = torch.randn(1, 1000, generator=torch.Generator().manual_seed(0)).double()
    taps = windowed_sinc(torch.tensor([RATE / 2.0]), 101, RATE)
    assert torch.allclose(filter_without_delay(noise, taps), noise, rtol=0, atol=1e-14)


def test_rows_are_convolved_each_with_its_own_taps():
    noise = torch.randn(2, 777, generator=torch.Generator().manual_seed(0)).double()
    taps = windowed_sinc(torch.tensor([500.0, 3000.0]), 101, RATE)
    out = filter_without_delay(noise, taps)
    for row in range(2):
        expected = np.convolve(noise[row].numpy(), taps[row].numpy())[50:-50]
        assert np.abs(out[row].numpy() - expected).max() < 1e-14
