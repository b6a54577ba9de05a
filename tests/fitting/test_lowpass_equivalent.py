import numpy as np
import pytest
import torch

from bcsim.dsp.lowpass import biquad_power, lowpass_coefficients
from bcsim.fitting.lowpass_equivalent import fit_lowpass
from bcsim.sensors.transfer_function import TransferFunction


@pytest.mark.parametrize(
    ("cutoff_hz", "q", "gain_db"), [(600.0, 1.0, 0.0), (450.0, 0.8, -12.0), (1500.0, 2.0, 6.0)]
)
def test_a_low_pass_is_its_own_equivalent(cutoff_hz, q, gain_db):
    grid = torch.linspace(0, 8000, 513, dtype=torch.float64)
    coefficients = lowpass_coefficients(
        torch.tensor([cutoff_hz], dtype=torch.float64),
        torch.tensor([q], dtype=torch.float64),
        16_000,
    )
    power = biquad_power(coefficients, grid, 16_000)[0] * 10 ** (gain_db / 20)
    response = TransferFunction(
        grid.numpy(), power.numpy().astype(complex), np.ones(513), num_averages=1.0
    )
    fitted = fit_lowpass(response)
    # The grid is interpolated linearly in dB: hence not exactly.
    assert fitted.cutoff_hz == pytest.approx(cutoff_hz, rel=2e-3)
    assert fitted.q == pytest.approx(q, rel=5e-3)
    assert fitted.gain_db == pytest.approx(gain_db, abs=0.05)


def test_a_flat_response_has_a_cutoff_near_the_top():
    grid = np.linspace(0, 4000, 257)
    fitted = fit_lowpass(TransferFunction(grid, np.ones(257, complex), np.ones(257), 1.0))
    assert fitted.cutoff_hz > 2500
    assert fitted.gain_db == pytest.approx(0.0, abs=1.0)
