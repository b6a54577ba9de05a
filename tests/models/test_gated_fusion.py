from typing import Literal

import numpy as np
import pytest
import torch

from bcsim.models.gated_fusion import GatedFusion


def build(fusion: Literal["gated", "late", "air"] = "gated") -> GatedFusion:
    torch.manual_seed(0)
    return GatedFusion(fusion, **GatedFusion.small).double().eval()


def signals() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal((1, 2, 4096)))


def changed(channel: int) -> torch.Tensor:
    both = signals()
    both[:, channel] = both[:, channel].flip(-1)
    return both


@torch.no_grad()
@pytest.mark.parametrize("fusion", ["gated", "late"])
def test_the_gate_chooses_between_the_microphone_and_the_sensor(fusion):
    """With a gate that is open, late fusion is a mask of the microphone and knows no sensor."""
    model = build(fusion)
    model.gate.weight.zero_()
    model.gate.bias.fill_(100)
    # Single precision of the bands' weights leaves some 1e-7 of the sensor.
    difference = (model(signals()) - model(changed(0))).abs().max()
    assert (difference < 1e-4) == (fusion == "late")
    model.gate.bias.fill_(-100)
    quiet = signals()
    quiet[:, 0] = 0
    assert model(quiet).abs().max() < 1e-12


@torch.no_grad()
def test_the_form_without_the_sensor_does_not_look_at_it():
    model = build("air")
    assert torch.equal(model(signals()), model(changed(0)))
    assert not torch.allclose(model(signals()), model(changed(1)))


@torch.no_grad()
@pytest.mark.parametrize("gain_db", [-12, 12])
def test_the_gain_of_the_sensor_does_not_matter(gain_db):
    model, louder = build(), signals()
    louder[:, 0] *= 10 ** (gain_db / 20)
    # A level of silence is added before levels are compared, hence not to the last digit.
    torch.testing.assert_close(model(louder), model(signals()), rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_mask_attenuates_and_never_raises():
    model = build("air")
    model.mask.bias.fill_(100)
    torch.testing.assert_close(model(signals()), signals()[:, 1:])
    model.mask.bias.fill_(-100)
    assert model(signals()).abs().max() < 1e-12


def test_sizes_that_make_no_network_are_refused():
    with pytest.raises(ValueError, match="have to be positive"):
        GatedFusion(width=0)
