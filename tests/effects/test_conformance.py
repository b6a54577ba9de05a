"""What every registered effect has to keep; a new one is tested the day it exists."""

import dataclasses

import pytest
import torch

from bcsim.effects import EFFECTS
from bcsim.effects.base import Scene, collate
from bcsim.recipe import build, resolve_effect

RATE = 16_000


@pytest.fixture(params=list(EFFECTS))
def effect(request, speaking_sensor):
    return build(EFFECTS, {"name": request.param}, "test", speaking_sensor)


def drawn_for(effect, clip_ids, seed=3):
    return collate([effect.sample(seed, clip_id, "step") for clip_id in clip_ids])


def scene_of(air):
    return Scene.from_air(air, RATE)


def test_the_same_draw_gives_the_same_signal(effect, speech):
    drawn = drawn_for(effect, ["a", "b"])
    first, second = (effect.apply(scene_of(speech), drawn) for _ in range(2))
    assert torch.equal(first.bone, second.bone)
    assert torch.equal(first.air, second.air)


def test_what_was_drawn_survives_json_and_depends_on_the_clip_alone(effect):
    draw = effect.sample(3, "a", "step")
    assert draw == effect.sample(3, "a", "step")
    for value in draw.values():
        assert isinstance(value, int | float | list)
        assert not isinstance(value, int) or abs(value) <= 2**53
    random = [f for f in draw if draw[f] != effect.sample(3, "b", "step")[f]]
    constant = [f for f in draw if f not in random]
    for name in constant:
        assert draw[name] == effect.sample(99, "c", "step")[name]


def test_a_batch_equals_its_clips_one_at_a_time(effect, speech):
    lengths = torch.tensor([speech.shape[1], 17_001])
    air = speech.clone()
    air[1, 17_001:] = 0
    drawn = drawn_for(effect, ["a", "b"])
    batch = effect.apply(Scene.from_air(air, RATE, lengths), drawn)
    for row, length in enumerate(lengths.tolist()):
        alone = effect.apply(
            scene_of(air[row : row + 1, :length]), {k: v[row : row + 1] for k, v in drawn.items()}
        )
        kept = alone.bone.shape[-1]
        for name in ("air", "bone"):
            together = getattr(batch, name)[row]
            assert torch.allclose(together[:kept], getattr(alone, name)[0], rtol=0, atol=1e-10)
            assert together[kept:].abs().max().item() == 0 if len(together) > kept else True


def test_the_scene_that_goes_in_stays_as_it_is(effect, speech):
    scene = scene_of(speech.clone())
    effect.apply(scene, drawn_for(effect, ["a", "b"]))
    assert torch.equal(scene.bone, speech)
    assert torch.equal(scene.air, speech)


@pytest.mark.parametrize("num_samples", [1, 2, 511, 5000])
def test_silence_of_any_length_stays_finite(effect, num_samples):
    scene = effect.apply(scene_of(torch.zeros(2, num_samples).double()), drawn_for(effect, "ab"))
    assert torch.isfinite(scene.bone).all()
    assert torch.isfinite(scene.air).all()


def test_clips_keep_their_length_where_the_effect_says_so(effect, speech):
    scene = effect.apply(scene_of(speech), drawn_for(effect, ["a", "b"]))
    assert scene.air.shape == scene.bone.shape
    assert (scene.bone.shape == speech.shape) == effect.keeps_length


def test_gradients_reach_the_air_where_the_effect_says_so(effect, speech):
    air = speech.clone().requires_grad_()
    scene = effect.apply(scene_of(air), drawn_for(effect, ["a", "b"]))
    scene.bone.square().sum().backward()
    assert (air.grad is not None and air.grad.abs().sum().item() > 0) == effect.differentiable


def test_single_precision_stays_single(effect, speech):
    scene = effect.apply(scene_of(speech.float()), drawn_for(effect, ["a", "b"]))
    assert scene.bone.dtype == scene.air.dtype == torch.float32


def test_a_recipe_can_say_what_the_effect_is(effect, speaking_sensor):
    again = build(EFFECTS, resolve_effect(effect), "test", speaking_sensor)
    for field in dataclasses.fields(effect):
        assert getattr(again, field.name) == getattr(effect, field.name)
