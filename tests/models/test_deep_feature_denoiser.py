from typing import Any

import pytest
import torch
from torch.nn.functional import conv1d, leaky_relu

from bcsim.dsp.randomness import torch_stream
from bcsim.models.deep_feature_denoiser import DeepFeatureDenoiser, Statistics


def small(statistics: Statistics = "utterance") -> DeepFeatureDenoiser:
    with torch_stream(1, "denoiser"):
        return DeepFeatureDenoiser(width=3, num_dilated=4, statistics=statistics)


def layers_of(model: DeepFeatureDenoiser) -> list[Any]:
    return list(model.layers)


def test_size_and_receptive_field_are_those_published():
    model = DeepFeatureDenoiser(statistics="running")
    assert model.num_parameters == DeepFeatureDenoiser().num_parameters == 160_925
    assert model.history_samples == model.latency_samples == 2**13


@torch.no_grad()
@pytest.mark.parametrize("statistics", ["utterance", "running"])
def test_as_it_begins_it_is_a_stack_of_convolutions(statistics):
    model = small(statistics).eval()
    signal = torch.rand(2, 1, 300)
    hidden = signal
    for layer, dilation in zip(layers_of(model), [1, 2, 4, 8, 1], strict=True):
        hidden = conv1d(hidden, layer.conv.weight, padding=dilation, dilation=dilation)
        hidden = leaky_relu(hidden, 0.2)
    torch.testing.assert_close(model(signal), model.last_conv(hidden))


@torch.no_grad()
def test_an_utterance_is_normalised_by_its_own_statistics_in_use_as_in_training():
    model = small()
    for layer in layers_of(model):
        layer.norm_weight.fill_(0.7)
    signal = torch.rand(2, 1, 300)
    used, trained = model.eval()(signal), model.train()(signal)
    assert torch.equal(used, trained)
    # Of half the recording the statistics are others, far from where it ends.
    half = model.eval()(signal[..., :150])
    assert (half - used[..., :150])[..., :100].abs().max() > 1e-3


def test_a_normalised_channel_has_no_mean_and_the_variance_of_one():
    layer = layers_of(small())[0]
    normal = layer.norm(5 + 3 * torch.randn(2, 3, 1000, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(normal.mean(-1), torch.zeros(2, 3), rtol=0, atol=1e-5)
    torch.testing.assert_close(normal.var(-1, correction=0), torch.ones(2, 3), rtol=0, atol=1e-3)


@torch.no_grad()
def test_running_statistics_are_learnt_in_training_and_used_afterwards():
    model = small("running")
    layers_of(model)[0].norm_weight.fill_(1.0)
    signal = 3 + torch.rand(2, 1, 300)
    before = model.eval()(signal)
    for _ in range(100):
        model.train()(signal)
    after = model.eval()(signal)
    assert (after - before).abs().max() > 1e-3
    torch.testing.assert_close(after, model.train()(signal), rtol=1e-2, atol=1e-3)


@torch.no_grad()
def test_the_signal_keeps_its_size_through_the_first_weights():
    """With torch's own initial weights a millionth of it would be left after fourteen layers."""
    with torch_stream(2, "denoiser"):
        model = DeepFeatureDenoiser(width=32)
        signal = 0.1 * torch.randn(1, 1, 4000)
    hidden = signal
    for layer in model.layers:
        hidden = layer(hidden)
    assert 0.01 < hidden.std() < 1.0


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ({"num_dilated": 17}, "1 to 16 dilated layers"),
        ({"statistics": "corpus"}, "'corpus'; it wants utterance or running"),
        ({"causal": True}, "not causal; use running ones"),
    ],
)
def test_what_makes_no_network_is_refused(sizes, told):
    with pytest.raises(ValueError, match=told):
        DeepFeatureDenoiser(**sizes)
