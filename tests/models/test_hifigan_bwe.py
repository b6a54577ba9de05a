import math
from typing import Any

import pytest
import torch
from torch.nn.functional import conv1d, pad

from bcsim.models.hifigan_bwe import HiFiGANBWE


def test_sizes_and_receptive_field_are_those_published():
    model = HiFiGANBWE()
    assert model.num_parameters == 1_061_378
    assert model.history_samples == model.latency_samples == 13_120 // 2
    assert HiFiGANBWE(weight_norm=False).num_parameters == 1_055_105


@torch.no_grad()
def test_the_signal_is_that_of_the_equations_layer_by_layer():
    """Against layers that pad themselves, far enough from the ends."""
    model = HiFiGANBWE(width=4, num_layers=3, weight_norm=False).double()
    signal = torch.rand(1, 1, 200, dtype=torch.float64) - 0.5
    margin = 2 * (1 + 3 + 9)
    assert model.latency_samples == margin
    hidden = model.first_conv(pad(signal, (margin, margin)))
    summed = torch.zeros(1, 4, 1, dtype=torch.float64)
    layers: list[Any] = list(model.layers)
    for number, layer in enumerate(layers):
        dilation = 3 ** (number % 3)
        weights = (layer.conv.weight, layer.conv.bias)
        out = conv1d(hidden, *weights, padding=dilation, dilation=dilation)
        gated = out[:, :2].tanh() * out[:, 2:].sigmoid()
        summed = summed + layer.skip_conv(gated)
        hidden = (hidden + layer.residual_conv(gated)) * math.sqrt(0.5)
    whole = torch.tanh(model.last_conv(summed * math.sqrt(1 / 6)))
    torch.testing.assert_close(model(signal), whole[..., margin:-margin])


def test_only_what_no_layer_follows_is_frozen():
    model = HiFiGANBWE(width=4, num_layers=2)
    frozen = {name for name, weights in model.named_parameters() if not weights.requires_grad}
    assert all(name.startswith("layers.3.residual_conv") for name in frozen)
    assert len(frozen) == 3  # length, direction and bias


@pytest.mark.parametrize("sizes", [{"width": 3}, {"num_layers": 9}, {"num_stacks": 0}])
def test_sizes_that_make_no_network_are_refused(sizes):
    with pytest.raises(ValueError, match="hifigan_bwe"):
        HiFiGANBWE(**sizes)
