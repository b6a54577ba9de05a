"""What every registered discriminator has to do, whoever wrote it."""

import inspect

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bcsim.discriminators import DISCRIMINATORS
from bcsim.discriminators.base import Discriminator
from bcsim.dsp.randomness import torch_stream
from bcsim.rng import stream

# Sizes for what is slow at its default size; another discriminator is tested at its default.
SMALL = {
    "eben": {"min_channels": 4, "melgan_width": 4},
    "melgan": {"width": 4, "groups": [4, 4, 4, 4]},
    "multi_period": {"width": 2, "periods": [2, 5]},
    "multi_resolution_stft": {"width": 4, "fft_sizes": [256, 128]},
    "multi_scale": {"width": 16, "num_scales": 2},
}


def build(name: str, seed: int = 1) -> Discriminator:
    with torch_stream(seed, "discriminators", name):
        return DISCRIMINATORS[name](**SMALL.get(name, {}))


def noise(batch: int, num_samples: int = 3001) -> Tensor:
    samples = stream(1, "discriminators").standard_normal((batch, 1, num_samples))
    return torch.from_numpy(0.1 * samples)


@pytest.fixture(params=DISCRIMINATORS)
def discriminator(request) -> Discriminator:
    return build(request.param).double().eval()


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_every_parameter_has_a_default_and_a_type(name):
    for parameter in inspect.signature(DISCRIMINATORS[name]).parameters.values():
        assert parameter.default is not inspect.Parameter.empty
        assert parameter.annotation is not inspect.Parameter.empty


def test_each_network_gives_the_inner_features_that_its_score_is_made_of(discriminator):
    for *inner, score in discriminator(noise(2)):
        assert score.shape[:2] == (2, 1)
        assert inner
        assert all(len(feature) == 2 for feature in inner)
        for before, after in zip(inner, [*inner[1:], score], strict=True):
            (gradient,) = torch.autograd.grad(after.sum(), before, retain_graph=True)
            assert gradient.any()


@torch.no_grad()
@pytest.mark.parametrize("num_samples", [3000, 3007, 4097])
def test_any_length_gives_finite_features(discriminator, num_samples):
    for features in discriminator(noise(1, num_samples)):
        assert all(feature.numel() and feature.isfinite().all() for feature in features)


@torch.no_grad()
def test_a_row_is_judged_as_it_would_be_alone(discriminator):
    batch = noise(3)
    alone = [discriminator(row[None]) for row in batch]
    for network, together in enumerate(discriminator(batch)):
        for layer, feature in enumerate(together):
            rows = torch.cat([row[network][layer] for row in alone])
            torch.testing.assert_close(feature, rows, rtol=1e-9, atol=1e-12)


def test_every_weight_learns_from_the_scores_of_two_signals(discriminator):
    """In training mode, where the second pass may not overwrite what the first one has kept."""
    discriminator.train()
    real, fake = discriminator(noise(2)), discriminator(noise(2).flip(-1))
    loss = sum(
        (1 - wanted[-1]).square().mean() + unwanted[-1].square().mean()
        for wanted, unwanted in zip(real, fake, strict=True)
    )
    assert isinstance(loss, Tensor)
    loss.backward()
    for name, weights in discriminator.named_parameters():
        assert weights.grad is not None, name
        assert weights.grad.isfinite().all(), name
        assert weights.grad.any(), name


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_the_speech_gets_finite_gradients_even_where_it_is_silent(discriminator, level):
    speech = (level * noise(2)).requires_grad_()
    for features in discriminator(speech):
        (gradient,) = torch.autograd.grad(features[-1].square().sum(), speech, retain_graph=True)
        assert gradient.isfinite().all()
        assert gradient.any()


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_the_seed_decides_the_weights_and_nothing_else_does(name):
    first = build(name).state_dict()
    torch.rand(7)
    before = torch.get_rng_state()
    again, other = build(name).state_dict(), build(name, seed=2).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


@torch.no_grad()
@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_a_saved_discriminator_gives_the_same_scores(name, tmp_path):
    discriminator, loaded = build(name).eval(), build(name, seed=2).eval()
    save_file(discriminator.state_dict(), tmp_path / "discriminator.safetensors")
    loaded.load_state_dict(load_file(tmp_path / "discriminator.safetensors"))
    speech = noise(2).float()
    for ours, theirs in zip(discriminator(speech), loaded(speech), strict=True):
        assert torch.equal(ours[-1], theirs[-1])
