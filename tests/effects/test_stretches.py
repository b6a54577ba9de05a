"""A long clip that is rendered in stretches comes out as the whole of it does."""

import dataclasses

import pytest
import torch

from bcsim.effects.base import Scene, stack_draws
from bcsim.recipe import build_effect

RATE = 16_000
STRETCH = slice(31_313, 80_000)  # starts on no frame of anything
EDGE = 3200  # samples that the nearest neighbours outside the stretch reach


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "body_noise", "footstep_rate_hz": 2.0, "friction_rate_per_min": 60.0},
        {"name": "contact_loss", "rate_per_min": 60.0},
        {"name": "dropouts", "rate_per_min": 200.0},
        {"name": "dropouts", "rate_per_min": 200.0, "fill": "hold"},
        {"name": "band_limit", "aliasing": False},
        {"name": "band_limit", "aliasing": True, "rate_hz": 3210.7},
        {"name": "saturation"},
        {"name": "quantisation", "dither": True},
        {"name": "wearer_drift"},
        {"name": "butterworth_lowpass"},
        {"name": "fir_lowpass"},
    ],
    ids=lambda spec: " ".join(map(str, spec.values())),
)
def test_a_stretch_comes_out_as_in_the_whole(spec, speaking_sensor, speech):
    effect = build_effect(spec, "test", speaking_sensor)
    assert not effect.needs_whole_clip
    drawn = stack_draws([effect.sample(3, "a", "step")])
    whole = Scene.from_air(speech[:1].repeat(1, 4), RATE)
    part = Scene.from_air(whole.air[:, STRETCH].clone(), RATE)
    part = dataclasses.replace(part, start=STRETCH.start, level=whole.speech_level())
    expected = effect.apply(whole, drawn).bone
    assert (expected - whole.bone).abs().max() > 1e-4  # or nothing would have been tested
    out = effect.apply(part, drawn).bone[:, EDGE:-EDGE]
    expected = expected[:, STRETCH][:, EDGE:-EDGE]
    assert torch.allclose(out, expected, rtol=0, atol=1e-10)
