"""Multiply-adds against counts by hand, and the time on one core."""

import pytest
import torch
from torch import Tensor, nn

from bcsim.models import cost
from bcsim.models.base import Enhancer
from bcsim.models.cost import look_ahead_ms, multiply_adds_per_s, real_time_factor

RATE = 100
LAYERS = {
    "conv": (lambda: nn.Conv1d(1, 6, 5, padding=2), 6 * 5),
    "strided": (lambda: nn.Conv1d(1, 6, 4, stride=4), 6),
    "grouped": (lambda: nn.Sequential(nn.Conv1d(1, 4, 1), nn.Conv1d(4, 6, 3, 1, 1, groups=2)), 40),
    "transposed": (lambda: nn.ConvTranspose1d(1, 6, 2, stride=2), 12),
    "lstm": (lambda: Recurrent(nn.LSTM(1, 5, 2, bidirectional=True)), 2 * 20 * (6 + 15)),
    "gru": (lambda: Recurrent(nn.GRU(1, 5)), 15 * 6),
    "linear": (lambda: Recurrent(nn.Linear(1, 7)), 7),
}


class Recurrent(nn.Module):
    """A layer over (T, 1, 1)."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, signal: Tensor) -> Tensor:
        found = self.layer(signal.permute(2, 0, 1))
        return (found[0] if isinstance(found, tuple) else found).permute(1, 2, 0)


class OneLayer(Enhancer):
    def __init__(self, layer: str = "conv", looks_at_values: bool = False) -> None:
        super().__init__()
        self.config = {"layer": layer, "looks_at_values": looks_at_values}
        self.sample_rate, self.channels, self.latency_samples = RATE, ("bone",), 32
        self.layer = LAYERS[layer][0]()

    def valid_length(self, num_samples: int) -> int:
        return num_samples

    def enhance_valid(self, signal: Tensor) -> Tensor:
        if self.config["looks_at_values"]:
            assert float(signal.abs().max()) == 0
        return self.layer(signal)[:, :1]

    @property
    def last_layer(self) -> Tensor:
        return next(self.parameters())


@pytest.mark.parametrize("layer", LAYERS)
def test_multiply_adds_are_those_counted_by_hand(layer):
    assert multiply_adds_per_s(OneLayer(layer)) == RATE * LAYERS[layer][1]


def test_a_network_that_looks_at_its_input_is_counted_too():
    """On a device without values it cannot run."""
    assert multiply_adds_per_s(OneLayer("lstm", looks_at_values=True)) == RATE * LAYERS["lstm"][1]


def test_the_real_time_factor_is_time_over_the_length_of_the_input(monkeypatch):
    now = iter([0.0, 0.5, 1.0, 1.1, 2.0, 9.0])
    monkeypatch.setattr(cost.time, "perf_counter", lambda: next(now))
    threads = torch.get_num_threads()
    assert real_time_factor(OneLayer().eval()) == pytest.approx(0.05)  # the quickest: 0.1 s of 2 s
    assert torch.get_num_threads() == threads


def test_a_look_ahead_is_told_in_milliseconds():
    model = OneLayer()
    assert look_ahead_ms(model) == 320.0
    model.latency_samples = None
    assert look_ahead_ms(model) is None
