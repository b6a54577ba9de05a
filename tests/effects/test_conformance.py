"""What every registered effect has to keep; a new one is tested the day it exists."""

import dataclasses
import json

import pytest
import torch

from bcsim.dsp.noise import white_noise
from bcsim.effects import EFFECTS
from bcsim.effects.base import Scene, stack_draws
from bcsim.effects.distributions import Constant, Distribution, Recordings, Seed, Uniform
from bcsim.effects.gain import Gain
from bcsim.effects.polarity import Polarity
from bcsim.recipe import build_effect, resolve_effect
from bcsim.simulator import Simulator

RATE = 16_000
SIGNALS = ("air", "bone", "ambient", "noisy_air")


@pytest.fixture(params=list(EFFECTS))
def effect(request, speaking_sensor, required):
    spec = {"name": request.param, **required(request.param)}
    return build_effect(spec, "test", speaking_sensor)


def drawn_for(effect, clip_ids, seed=3):
    return stack_draws([effect.sample(seed, clip_id, "step") for clip_id in clip_ids])


def scene_of(air):
    return Scene.from_air(air, RATE)


def noisy_scene_of(air, ambient, lengths=None):
    return Scene.from_air(air, RATE, lengths).with_ambient(ambient)


def test_a_plain_number_is_taken_as_a_constant(effect):
    for field in dataclasses.fields(effect):
        value = getattr(effect, field.name)
        if isinstance(value, Distribution) and not isinstance(value, Seed | Recordings):
            centre = value.centre()
            if isinstance(centre, float):
                plain, constant = (
                    dataclasses.replace(effect, **{field.name: given})
                    for given in (centre, Constant(centre))
                )
                assert getattr(plain, field.name) == Constant(centre)
                assert plain == constant


def test_the_same_draw_gives_the_same_signal(effect, speech):
    drawn = drawn_for(effect, ["a", "b"])
    first, second = (effect.apply(scene_of(speech), drawn) for _ in range(2))
    assert torch.equal(first.bone, second.bone)
    assert torch.equal(first.air, second.air)


def test_what_was_drawn_survives_json_and_depends_on_the_clip_alone(effect):
    draw = effect.sample(3, "a", "step")
    assert draw == effect.sample(3, "a", "step")
    for value in draw.values():
        assert isinstance(value, int | float | str | list)
        assert not isinstance(value, int) or abs(value) <= 2**53
    others = [effect.sample(3, str(clip), "step") for clip in range(30)]
    random = [f for f in draw if any(draw[f] != other[f] for other in others)]
    constant = [f for f in draw if f not in random]
    for name in constant:
        assert draw[name] == effect.sample(99, "c", "step")[name]


def test_a_row_of_the_manifest_renders_the_same_again(effect, speech):
    draws = [effect.sample(3, clip, "step") for clip in "ab"]
    again = json.loads(json.dumps(draws))
    first, second = (effect.apply(scene_of(speech), stack_draws(drawn)) for drawn in (draws, again))
    assert torch.equal(first.bone, second.bone)
    assert torch.equal(first.air, second.air)
    assert torch.equal(first.microphone, second.microphone)


def test_beside_another_effect_it_draws_what_it_drew_before(effect):
    alone = Simulator((effect,), RATE).sample(3, "clip")
    other = Polarity() if isinstance(effect, Gain) else Gain(Uniform(-3, 3))
    for effects in ((effect, other), (other, effect)):
        beside = Simulator(effects, RATE).sample(3, "clip")
        assert all(beside[step] == draw for step, draw in alone.items())


def test_a_stretch_of_a_long_clip_comes_out_as_in_the_whole(effect, speech):
    if effect.needs_whole_clip:
        pytest.skip("this effect has to see a clip from end to end, and says so")
    drawn = drawn_for(effect, ["a"])
    long = torch.cat([speech[:1], speech[1:], speech[:1]], dim=1)
    ambient = 0.01 * long.roll(5000)
    whole = noisy_scene_of(long, ambient)
    inside = slice(128 * 100, 128 * 300)
    context = 128 * 64
    part = slice(inside.start - context, inside.stop + context)
    stretch = dataclasses.replace(
        noisy_scene_of(long[:, part], ambient[:, part]),
        start=part.start,
        level=whole.speech_level(),
    )
    expected, out = effect.apply(whole, drawn), effect.apply(stretch, drawn)
    for name in SIGNALS:
        kept = getattr(out, name)[:, context:-context]
        error = (kept - getattr(expected, name)[:, inside]).square().mean()
        # What counts as active speech is decided anew in every stretch, hence not nothing.
        assert error < 1e-4 * getattr(expected, name)[:, inside].square().mean()


def test_a_batch_equals_its_clips_one_at_a_time(effect, speech):
    lengths = torch.tensor([speech.shape[1], 17_001])
    air = speech.clone()
    air[1, 17_001:] = 0
    ambient = 0.01 * white_noise(torch.tensor([1, 2]), speech.shape[1])
    drawn = drawn_for(effect, ["a", "b"])
    batch = effect.apply(noisy_scene_of(air, ambient, lengths), drawn)
    for row, length in enumerate(lengths.tolist()):
        alone = effect.apply(
            noisy_scene_of(air[row : row + 1, :length], ambient[row : row + 1, :length]),
            {k: v[row : row + 1] for k, v in drawn.items()},
        )
        kept = alone.bone.shape[-1]
        for name in SIGNALS:
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
    silence = torch.zeros(2, num_samples).double()
    scene = effect.apply(noisy_scene_of(silence, silence), drawn_for(effect, "ab"))
    for name in SIGNALS:
        assert torch.isfinite(getattr(scene, name)).all()


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
    air = speech.float()
    scene = effect.apply(noisy_scene_of(air, 0.01 * air.roll(5000)), drawn_for(effect, ["a", "b"]))
    assert {getattr(scene, name).dtype for name in SIGNALS} == {torch.float32}


def test_a_recipe_can_say_what_the_effect_is(effect, speaking_sensor):
    again = build_effect(resolve_effect(effect), "test", speaking_sensor)
    for field in dataclasses.fields(effect):
        assert getattr(again, field.name) == getattr(effect, field.name)
