"""An equaliser whose gains are those that were drawn."""

import math

import pytest
import torch

from bcsim.effects.base import Scene, stack_draws
from bcsim.effects.distributions import Constant
from bcsim.effects.smooth_eq import SmoothEq

RATE = 16_000


def level_db(signal):
    return 10 * math.log10(float(signal[4000:-4000].square().mean()))


def test_a_tone_at_a_point_gets_the_gain_of_that_point_and_air_gets_none():
    mels = 2595 * math.log10(1 + 8000 / 700) / 7 * torch.arange(8).double()
    gains = [3.0, -4.0, 5.0, 0.0, -6.0, 2.0, 1.0, -2.0]
    for point in (2, 4, 5):
        hz = 700 * (10 ** (float(mels[point]) / 2595) - 1)
        air = torch.sin(2 * math.pi * hz / RATE * torch.arange(RATE).double())[None]
        scene = SmoothEq().apply(Scene.from_air(air, RATE), stack_draws([{"gains_db": gains}]))
        assert torch.equal(scene.air, air)
        change_db = level_db(scene.bone[0]) - level_db(air[0])
        assert change_db == pytest.approx(gains[point], abs=0.3)  # corners are rounded


def test_one_number_is_a_gain_everywhere(speech):
    effect = SmoothEq(Constant(6.0))
    drawn = stack_draws([effect.sample(0, "a", "step")] * len(speech))
    bone = effect.apply(Scene.from_air(speech, RATE), drawn).bone
    assert torch.allclose(bone, speech * 10 ** (6 / 20), atol=1e-5)
