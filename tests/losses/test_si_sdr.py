import math

import pytest
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

from bcsim.losses.si_sdr import SISDR
from bcsim.rng import stream


def noise(*names: str) -> torch.Tensor:
    return torch.from_numpy(stream(1, "si_sdr", *names).standard_normal((3, 1, 4000)))


def cost(estimate: torch.Tensor, target: torch.Tensor, max_db: float = 30.0) -> float:
    return SISDR(max_db).terms(estimate, target)["si_sdr"].item()


@pytest.fixture
def orthogonal():
    """A target and something of the same energy without any of it, both without a mean."""
    time = 2 * math.pi * torch.arange(4000, dtype=torch.float64) / 4000
    return torch.sin(5 * time).expand(2, 1, -1), torch.cos(7 * time).expand(2, 1, -1)


@pytest.mark.parametrize("ratio_db", [-10, 0, 20, 30, 50])
def test_a_mixture_of_known_ratio_costs_what_the_formula_says(orthogonal, ratio_db):
    target, other = orthogonal
    expected = 10 * math.log10(1 + 10 ** ((30 - ratio_db) / 10))
    assert cost(target + 10 ** (-ratio_db / 20) * other, target) == pytest.approx(expected)


def test_far_from_the_end_it_is_the_si_sdr_of_torchmetrics_upside_down():
    estimate, target = noise("a") + noise("b") + 0.3, noise("a") - 0.2
    ratio = scale_invariant_signal_distortion_ratio(estimate, target, zero_mean=True)
    assert cost(estimate, target, max_db=90) == pytest.approx(90 - ratio.mean().item(), abs=1e-4)


@pytest.mark.parametrize("gain", [-1.0, 0.002, 300.0])
def test_a_gain_or_an_offset_changes_nothing(gain):
    estimate, target = noise("a") + 0.1 * noise("b"), noise("a")
    expected = cost(estimate, target)
    assert cost(gain * estimate + 0.5, target) == pytest.approx(expected)
    assert cost(gain * target, target) == pytest.approx(0, abs=1e-9)


def test_silence_counts_as_0_db(orthogonal):
    target, _ = orthogonal
    zero_db = 10 * math.log10(1 + 10**3)
    assert cost(torch.zeros_like(target), target) == pytest.approx(zero_db)


def test_an_item_with_a_silent_target_costs_nothing_and_spoils_no_other():
    estimate = (noise("a") + noise("b")).requires_grad_()
    target = noise("a")
    target[1] = 0
    loss = SISDR().terms(estimate, target)["si_sdr"]
    loss.backward()
    others = torch.tensor([0, 2])
    expected = cost(estimate[others], target[others]) * 2 / 3
    assert loss.item() == pytest.approx(expected)
    assert estimate.grad is not None
    assert estimate.grad[1].abs().max() == 0
    assert (estimate.grad[others].abs().amax((1, 2)) > 0).all()


def test_the_slope_stays_finite_for_an_estimate_without_any_of_the_target(orthogonal):
    target, other = orthogonal
    estimate = other.float().clone().requires_grad_()
    SISDR().terms(estimate, target.float())["si_sdr"].backward()
    assert estimate.grad is not None
    assert estimate.grad.isfinite().all()
    assert (estimate.grad * target).sum() < 0  # more of the target would help


@pytest.mark.parametrize("max_db", [0.0, math.nan, math.inf])
def test_an_end_that_is_none_is_refused(max_db):
    with pytest.raises(ValueError, match="it wants a number above 0"):
        SISDR(max_db)
