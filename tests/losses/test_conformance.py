"""What every registered loss has to do, whoever wrote it."""

import inspect

import pytest
import torch

from bcsim.losses import LOSSES
from bcsim.rng import stream


def speech(*names: str) -> torch.Tensor:
    return torch.from_numpy(0.1 * stream(1, *names).standard_normal((2, 1, 4000))).float()


def total(terms: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(terms.values())).sum()


@pytest.fixture(params=LOSSES)
def loss(request):
    return LOSSES[request.param]()


def test_the_target_itself_costs_nothing_and_has_finite_slopes(loss):
    estimate = speech("a").requires_grad_()
    terms = loss.terms(estimate, speech("a"))
    for name, value in terms.items():
        assert value.shape == (), name
        assert value.item() == pytest.approx(0, abs=1e-6), name
    total(terms).backward()
    assert estimate.grad is not None
    assert estimate.grad.isfinite().all()


def test_called_it_gives_the_sum_of_its_terms_of_signals_with_or_without_a_channel(loss):
    estimate, target = speech("a"), speech("b")
    expected = total(loss.terms(estimate, target))
    assert torch.equal(loss(estimate, target), expected)
    assert torch.equal(loss(estimate[:, 0], target[:, 0]), expected)


@pytest.mark.parametrize("shapes", [((2, 1, 4000), (2, 4000)), ((2, 2, 4000),) * 2, ((4000,),) * 2])
def test_other_shapes_are_refused(loss, shapes):
    with pytest.raises(ValueError, match=r"it wants \(B, T\) or \(B, 1, T\), both alike"):
        loss(*(torch.zeros(shape) for shape in shapes))


def test_an_error_costs_more_the_larger_it_is(loss):
    target, error = speech("a"), speech("b")
    small, large = (total(loss.terms(target + gain * error, target)).item() for gain in (0.1, 0.5))
    assert 0 < small < large


def test_a_batch_of_the_same_item_twice_costs_what_the_item_costs(loss):
    """What one process has in a batch, two may have in one each."""
    estimate, target = speech("a")[:1], speech("b")[:1]
    once, twice = (
        total(loss.terms(estimate.repeat(n, 1, 1), target.repeat(n, 1, 1))).item() for n in (1, 2)
    )
    assert twice == pytest.approx(once, rel=1e-5)


@pytest.mark.parametrize("silent", ["estimate", "target", "both"])
def test_silence_gives_finite_losses_and_gradients(loss, silent):
    estimate, target = speech("a"), speech("b")
    if silent != "target":
        estimate = torch.zeros_like(estimate)
    if silent != "estimate":
        target = torch.zeros_like(target)
    estimate.requires_grad_()
    cost = total(loss.terms(estimate, target))
    cost.backward()
    assert cost.isfinite()
    assert estimate.grad is not None
    assert estimate.grad.isfinite().all()


def test_making_a_loss_leaves_the_global_generator_alone(loss):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    type(loss)()
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("name", LOSSES)
def test_every_parameter_has_a_default(name):
    for parameter in inspect.signature(LOSSES[name]).parameters.values():
        assert parameter.default is not inspect.Parameter.empty
