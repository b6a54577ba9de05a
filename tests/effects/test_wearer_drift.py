"""The slow drift of a wearer: how far, how fast, and along what."""

import dataclasses

import numpy as np
import pytest
import torch

from bcsim.effects.base import Scene, stack_draws
from bcsim.effects.distributions import Constant
from bcsim.effects.wearer_drift import WearerDrift

RATE = 16_000


def apply(effect, air, mean=False):
    drawn = stack_draws([effect.sample(0, str(k), "step", mean) for k in range(len(air))])
    return effect.apply(Scene.from_air(air, RATE), drawn).bone


def test_the_mean_rendering_does_not_drift(sensor, speech):
    assert torch.allclose(apply(WearerDrift(sensor), speech, True), speech, rtol=0, atol=1e-12)


def gains_db(sensor, frequency_hz, num_clips, seconds, **settings):
    """The gain at a frequency over time, from a tone there, every 8 ms."""
    time_s = torch.arange(round(seconds * RATE)).double() / RATE
    phasor = torch.polar(torch.ones_like(time_s), -2 * np.pi * frequency_hz * time_s)
    air = phasor.real.repeat(num_clips, 1)
    product = 2 * apply(WearerDrift(sensor, **settings), air) * phasor
    size = 64 * RATE // 1000
    envelope = product.unfold(-1, size, 128).mean(dim=-1).abs()[:, 8:-8]
    return 20 * envelope.log10()


@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_gains_spread_by_the_scale_at_all_times(sensor, scale):
    course = gains_db(sensor, 1000.0, 60, 5.0, scale=Constant(scale))
    expected = scale * sensor.spread_db[32]
    assert course.mean().item() == pytest.approx(0, abs=4 * expected / np.sqrt(60 * 3))
    assert course.square().mean().sqrt().item() == pytest.approx(expected, rel=0.15)
    # at a knot as between knots: the first lies at 0 s, the next at 2 and 4 s
    for position in (250 - 8 - 4, 375 - 8 - 4):
        spread = course[:, position].square().mean().sqrt().item()
        assert spread == pytest.approx(expected, rel=0.35)


def test_it_moves_along_the_sensors_components_alone(sensor):
    """With one component, the gain in dB at any frequency is in proportion to it."""
    component = sensor.spread_components_db[1:2]
    narrow = dataclasses.replace(sensor, spread_components_db=component)
    low, high = (
        gains_db(narrow, hz, 1, 6.0, scale=Constant(1.0))[0].numpy() for hz in (1000.0, 6000.0)
    )
    expected = component[0, 192] / component[0, 32]
    slope = np.dot(low, high) / np.dot(low, low)
    assert slope == pytest.approx(expected, rel=0.05)
    assert np.abs(high - slope * low).max() < 0.05 * np.abs(high).max()


def test_a_longer_time_constant_moves_more_slowly(sensor):
    fast, slow = (
        gains_db(sensor, 1000.0, 20, 8.0, scale=Constant(1.0), time_constant_s=constant)
        for constant in (0.5, 2.0)
    )
    ratio = fast.diff(dim=-1).square().mean().sqrt() / slow.diff(dim=-1).square().mean().sqrt()
    assert ratio.item() == pytest.approx(4.0, rel=0.25)


def test_a_sensor_without_spread_does_not_drift(sensor, speech):
    rigid = dataclasses.replace(sensor, spread_components_db=np.zeros((0, 257)))
    assert torch.allclose(apply(WearerDrift(rigid), speech), speech, rtol=0, atol=1e-12)


def test_a_time_constant_of_nothing_is_refused(sensor):
    with pytest.raises(ValueError, match=r"time_constant_s is 0; it wants 0\.01 to 3600"):
        WearerDrift(sensor, time_constant_s=0)
