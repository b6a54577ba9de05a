"""The gradients of one step, against the plain way of getting them."""

import pytest
import torch
from accelerate import Accelerator

from bcsim.discriminators import DISCRIMINATORS
from bcsim.models.storage import build_enhancer
from bcsim.rng import stream
from bcsim.training.adversarial import AdversarialObjective
from bcsim.training.balancing import Balancer, GradientNorms
from bcsim.training.config import AdversarialConfig
from bcsim.training.optimization import WeightedObjectives
from bcsim.training.step import Gradients

EBEN = {"name": "eben", "width": 2, "latent": 2}
SEANET = {"name": "seanet", "width": 2, "latent": 2}
SMALL = {
    "eben": {"min_channels": 4, "melgan_width": 4},
    "melgan": {"width": 4, "groups": (4, 4, 4, 4), "num_scales": 2},
    "multi_period": {"width": 2, "periods": (2, 3)},
    "multi_scale": {"width": 16, "num_scales": 2},
    "multi_resolution_stft": {"width": 2, "fft_sizes": (128, 64)},
}
LOSSES = [{"name": "l1", "weight": 10.0}, {"name": "mse", "weight": 3.0}]


def noise(*names: str | int) -> torch.Tensor:
    return torch.from_numpy(0.1 * stream(5, *names).standard_normal((4, 1, 4064)))


def gradients(
    model_spec: dict, discriminator: str = "eben", balancer: Balancer | None = None, **config
) -> Gradients:
    accelerator = Accelerator(cpu=True)
    spec = {"name": discriminator, **SMALL[discriminator]}
    settings = AdversarialConfig(spec, weight=2.0, feature_matching_weight=5.0, **config)
    adversarial = AdversarialObjective(settings, 1, accelerator)
    adversarial.discriminator.double()
    model = build_enhancer(model_spec, 1).double()
    return Gradients(model, WeightedObjectives(LOSSES, 16_000), adversarial, balancer, accelerator)


def grads(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    found = {name: w.grad for name, w in module.named_parameters() if w.grad is not None}
    module.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("discriminator", DISCRIMINATORS)
@pytest.mark.parametrize("model", [EBEN, SEANET], ids=["eben", "seanet"])
def test_generator_and_discriminator_get_the_gradients_of_the_plain_way(model, discriminator):
    """The plain way: one backward pass of the whole sum, and one of the other player's loss."""
    step = gradients(model, discriminator)
    assert step.adversarial is not None
    network = step.adversarial.discriminator.eval()  # a spectral norm moves as it is looked at
    signals = noise("signals")[..., : step.model.valid_length(3900)]
    target = noise("target")[..., : signals.shape[-1]]
    values = step.add(signals, target, step=0)
    ours, theirs = grads(step.model), grads(network)

    speech, bands = step.model.forward_with_bands(signals)
    terms, weights = step.objectives(speech, target)
    terms |= step.adversarial.generator_terms(network(target), network(speech, bands))
    weights |= step.adversarial.weights
    total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
    total.backward()
    torch.testing.assert_close(grads(step.model), ours)
    assert values["loss"].item() == pytest.approx(total.item())
    network.zero_grad(set_to_none=True)
    detached = None if bands is None else bands.detach()
    loss = step.adversarial.criterion.discriminator_loss(
        network(target), network(speech.detach(), detached)
    )
    loss.backward()
    torch.testing.assert_close(grads(network), theirs)
    assert values["discriminator"].item() == pytest.approx(loss.item())


def test_balanced_gradients_are_those_of_the_weighted_sum():
    """Norms at the last layer by the plain way, then the sum of the losses so weighed."""
    step = gradients(EBEN, balancer=GradientNorms(0.9))
    assert step.adversarial is not None
    signals, target = noise("signals"), noise("target")
    step.add(signals, target, step=0)
    ours = grads(step.model)

    network = step.adversarial.discriminator
    speech, bands = step.model.forward_with_bands(signals)
    terms, weights = step.objectives(speech, target)
    terms |= step.adversarial.generator_terms(network(target), network(speech, bands))
    weights |= step.adversarial.weights
    total = torch.zeros(())
    for name, term in terms.items():
        (last,) = torch.autograd.grad(term, step.model.last_layer, retain_graph=True)
        total = total + weights[name] / (last.norm() + 1e-4) * term
    total.backward()
    torch.testing.assert_close(grads(step.model), ours)


def test_parts_of_a_batch_add_up_to_the_batch():
    whole, parts = gradients(EBEN), gradients(EBEN)
    assert whole.adversarial is not None
    assert parts.adversarial is not None
    # but for what is relative to the size of a batch's features
    for step in (whole, parts):
        assert step.adversarial is not None
        step.adversarial.feature_matching = None
    signals, target = noise("signals"), noise("target")
    whole.add(signals, target, step=0)
    for half in (slice(0, 2), slice(2, 4)):
        parts.add(signals[half], target[half], step=0, share=0.5)
    torch.testing.assert_close(grads(parts.model), grads(whole.model))
    torch.testing.assert_close(
        grads(parts.adversarial.discriminator), grads(whole.adversarial.discriminator)
    )


def test_generator_and_discriminator_begin_and_take_turns_as_configured():
    step = gradients(EBEN, discriminator_start_step=2, start_step=3, enhancer_steps=2)
    assert step.adversarial is not None
    learns, is_heard = [], []
    for number in range(7):
        values = step.add(noise("signals", number), noise("target", number), number)
        is_heard.append("adversarial" in values)
        learns.append("discriminator" in values)
        assert bool(grads(step.adversarial.discriminator)) == learns[-1]
        assert grads(step.model)
    assert learns == [False, False, True, False, True, False, True]
    assert is_heard == [False, False, False, True, True, True, True]


def test_the_enhancer_rests_while_the_discriminator_takes_its_further_steps():
    step = gradients(SEANET, "multi_period", start_step=1, discriminator_steps=3)
    assert step.adversarial is not None
    signals, target = noise("signals")[..., :1024], noise("target")[..., :1024]
    enhancer_learns = []
    for number in range(5):
        values = step.add(signals, target, number)
        assert grads(step.adversarial.discriminator)
        enhancer_learns.append(bool(grads(step.model)))
        assert ("loss" in values) == enhancer_learns[-1]
        assert "l1" in values
    assert enhancer_learns == [True, True, False, False, True]
