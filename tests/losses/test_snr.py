import math

import pytest
import torch

from bcsim.losses.snr import SNR


def cost(estimate: torch.Tensor, target: torch.Tensor, max_db: float = 30.0) -> float:
    return SNR(max_db).terms(estimate, target)["snr"].item()


@pytest.fixture
def orthogonal():
    """A target and something of the same energy without any of it."""
    time = 2 * math.pi * torch.arange(4000, dtype=torch.float64) / 4000
    return torch.sin(5 * time).expand(2, 1, -1), torch.cos(7 * time).expand(2, 1, -1)


@pytest.mark.parametrize("ratio_db", [-10, 0, 20, 50])
def test_a_mixture_of_known_ratio_costs_what_the_formula_says(orthogonal, ratio_db):
    target, other = orthogonal
    expected = 10 * math.log10(1 + 10 ** ((30 - ratio_db) / 10))
    found = cost(target + 10 ** (-ratio_db / 20) * other, target)
    assert found == pytest.approx(expected, rel=1e-6)  # less what is added to the target's power


def test_a_wrong_level_costs_what_a_right_one_does_not(orthogonal):
    """Half the target is an SNR of 6 dB, whatever SI-SDR says."""
    target, _ = orthogonal
    expected = 10 * math.log10(1 + 10**9 * 0.25)
    assert cost(0.5 * target, target, max_db=90) == pytest.approx(expected, rel=1e-6)


def test_each_item_counts_by_its_ratio_and_not_by_its_level(orthogonal):
    target, other = (signal.clone() for signal in orthogonal)
    even = cost(target + 0.1 * other, target)
    levels = torch.tensor([1.0, 0.1])[:, None, None]
    assert cost(levels * (target + 0.1 * other), levels * target) == pytest.approx(even, rel=1e-4)


def test_noise_over_a_silent_target_costs_more_the_louder_it_is(orthogonal):
    _, noise = orthogonal
    silent = torch.zeros_like(noise)
    assert 0 == cost(silent, silent) < cost(1e-4 * noise, silent) < cost(noise, silent)


@pytest.mark.parametrize("max_db", [0.0, math.nan, math.inf])
def test_an_end_that_is_none_is_refused(max_db):
    with pytest.raises(ValueError, match="it wants a number above 0"):
        SNR(max_db)
