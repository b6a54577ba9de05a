import numpy as np
import pytest
import torch

from bcsim.dsp.delay import delay_response, delay_signal


def test_whole_delays_shift_and_lose_what_leaves():
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((2, 300)))
    later = delay_signal(x, torch.tensor([10.0, -10.0]))
    torch.testing.assert_close(later[0, 10:], x[0, :-10], rtol=0, atol=1e-12)
    torch.testing.assert_close(later[1, :-10], x[1, 10:], rtol=0, atol=1e-12)
    assert float(later[0, :10].abs().max()) < 1e-12
    assert float(later[1, -10:].abs().max()) < 1e-12


@pytest.mark.parametrize("delay", [0.5, -7.25, 100.125])
def test_a_fractional_delay_of_a_band_limited_pulse_is_exact(delay):
    time = np.arange(1024.0)

    def pulse(centre: float) -> torch.Tensor:
        wave = np.exp(-0.5 * ((time - centre) / 8) ** 2) * np.cos(0.9 * (time - centre))
        return torch.from_numpy(wave)[None]

    moved = delay_signal(pulse(400.0), torch.tensor([delay]))
    torch.testing.assert_close(moved, pulse(400.0 + delay), rtol=0, atol=1e-9)


def test_a_row_that_is_moved_out_of_view_is_silent():
    x = torch.ones(1, 100, dtype=torch.float64)
    assert float(delay_signal(x, torch.tensor([1e9])).abs().max()) < 1e-9
    assert float(delay_signal(x, torch.tensor([-1e9])).abs().max()) < 1e-9


def test_a_positive_delay_has_a_falling_phase():
    response = delay_response(torch.tensor([0.0, 100.0]), torch.tensor([0.001]))
    assert torch.angle(response[0, 1]) == pytest.approx(-2 * np.pi * 0.1, rel=1e-6)
