"""Each convention in closed form, on a model whose last layer is one weight per output."""

import pytest
import torch

from bcsim.training.balancing import Balancer, Terms, make_balancer
from bcsim.training.config import BalancingConfig

NAMES = ("gradient_norms", "last_layer_ratio", "inverse_last_layer_ratio", "output_norms")


def terms(gradients: dict[str, list[float]], weights: dict[str, float] | None = None) -> Terms:
    """Gradients at an output (2, 1, T) of two like items, and at a last layer that is its sum."""
    at_output = {
        name: [torch.tensor([values, values], dtype=torch.float64)[:, None]]
        for name, values in gradients.items()
    }
    return Terms(
        weights or dict.fromkeys(gradients, 1.0),
        at_output,
        at_last_layer=lambda gradient: gradient[0].sum((0, 1)),
        item_norm=lambda gradient: gradient[0].square().flatten(1).sum(1).sqrt().mean(),
    )


def balancer(name: str, decay: float = 0.9) -> Balancer:
    made = make_balancer(BalancingConfig(name, decay))  # pyright: ignore[reportArgumentType]
    assert made is not None
    return made


@pytest.mark.parametrize("name", NAMES)
def test_losses_a_factor_of_100_apart_pull_equally_hard(name):
    given = terms({"adversarial": [3.0, 4.0], "l1": [400.0, -300.0]})
    factors = balancer(name).factors(given)
    pulls = [factors[loss].item() * given.gradients[loss][0].norm().item() for loss in factors]
    assert pulls[0] == pytest.approx(pulls[1], rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_weight_says_how_much_harder(name):
    given = terms({"adversarial": [3.0, 4.0], "l1": [400.0, -300.0]}, {"adversarial": 5, "l1": 1})
    factors = balancer(name).factors(given)
    pulls = {n: factors[n].item() * given.gradients[n][0].norm().item() for n in factors}
    assert pulls["adversarial"] / pulls["l1"] == pytest.approx(5, rel=1e-4)


def test_gradient_norms_are_averaged_from_the_first_on():
    made = balancer("gradient_norms", decay=0.75)
    for length in (2.0, 4.0, 8.0):
        factor = made.factors(terms({"l1": [length / 2, 0.0]}))["l1"].item()
    average = 0.75 * (0.75 * 2 + 0.25 * 4) + 0.25 * 8
    assert factor == pytest.approx(1 / (average + 1e-4))


@pytest.mark.parametrize("name", NAMES[:3])
def test_no_factor_exceeds_ten_thousand(name):
    given = {"adversarial": [1e-12, 0.0], "l1": [1.0, 0.0]}
    if name.startswith("inverse"):
        given = {"adversarial": [1e9, 0.0], "l1": [1.0, 0.0]}
    assert max(f.item() for f in balancer(name).factors(terms(given)).values()) <= 1e4


def test_vqgan_weighs_the_adversarial_loss_and_the_inverse_all_others():
    given = terms({"l1": [1.0, 0.0], "feature_matching": [0.0, 1.0], "adversarial": [0.0, 8.0]})
    others, adversarial = 2 * 2**0.5, 16.0  # over two items
    vqgan = balancer("last_layer_ratio").factors(given)
    assert vqgan["adversarial"].item() == pytest.approx(others / (adversarial + 1e-4))
    assert vqgan["l1"].item() == vqgan["feature_matching"].item() == 1
    inverse = balancer("inverse_last_layer_ratio").factors(given)
    assert inverse["l1"].item() == pytest.approx(adversarial / (others + 1e-4))
    assert inverse["feature_matching"].item() == inverse["l1"].item()
    assert inverse["adversarial"].item() == 1


def test_before_the_adversarial_part_begins_ratios_change_nothing():
    for name in NAMES[1:3]:
        assert balancer(name).factors(terms({"l1": [3.0, 4.0]}))["l1"].item() == 1


def test_encodecs_shares_add_up_to_a_gradient_of_length_one_an_item():
    made = balancer("output_norms", decay=0.5)
    weights = {"l1": 3.0, "adversarial": 1.0}
    first = made.factors(terms({"l1": [3.0, 4.0], "adversarial": [0.0, 2.0]}, weights))
    assert first["l1"].item() == pytest.approx(3 / 4 / 5)
    assert first["adversarial"].item() == pytest.approx(1 / 4 / 2)
    second = made.factors(terms({"l1": [6.0, 8.0], "adversarial": [0.0, 2.0]}, weights))
    average = (0.5 * 5 + 10) / 1.5  # debiased
    assert second["l1"].item() == pytest.approx(3 / 4 / average)


def test_fixed_weights_need_no_balancer():
    assert make_balancer(BalancingConfig()) is None
