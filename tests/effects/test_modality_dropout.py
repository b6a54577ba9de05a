import pytest
import torch

from bcsim.effects.base import Scene, stack_draws
from bcsim.effects.modality_dropout import ModalityDropout

CHANCES = torch.tensor([0.0, 0.1, 0.3, 0.7, 0.95])


@pytest.mark.parametrize("noisy", [True, False])
def test_a_clip_is_without_its_sensor_or_without_speech_in_the_air_or_as_it_was(noisy):
    air = torch.rand(5, 100) + 1
    scene = Scene.from_air(air, 16_000).with_bone(2 * air)
    noise = torch.rand(5, 100) if noisy else torch.zeros(5, 100)
    if noisy:
        scene = scene.with_ambient(noise)
    out = ModalityDropout(0.5, 0.2, 0.1).apply(scene, {"chance": CHANCES})
    assert out.bone.abs().amax(-1).eq(0).tolist() == [True, True, False, False, False]
    assert torch.equal(out.bone[2:], scene.bone[2:])
    assert torch.equal(out.microphone[:4], scene.microphone[:4])
    assert torch.equal(out.microphone[4], noise[4])
    assert torch.equal(out.air, air)


def test_as_many_clips_are_dropped_as_asked():
    effect = ModalityDropout(bone_probability=0.2, air_probability=0.3)
    drawn = stack_draws([effect.sample(0, str(clip), "step") for clip in range(2000)])
    out = effect.apply(Scene.from_air(torch.ones(2000, 1), 16_000), drawn)
    assert (out.bone == 0).double().mean().item() == pytest.approx(0.2, abs=0.03)
    assert (out.microphone == 0).double().mean().item() == pytest.approx(0.3, abs=0.03)


def test_the_mean_rendering_has_both():
    effect = ModalityDropout()
    drawn = stack_draws([effect.sample(0, "clip", "step", mean=True)])
    out = effect.apply(Scene.from_air(torch.ones(1, 3), 16_000), drawn)
    assert torch.equal(out.bone, torch.ones(1, 3))
    assert torch.equal(out.microphone, torch.ones(1, 3))


def test_more_than_all_clips_cannot_be_dropped():
    with pytest.raises(ValueError, match="air_probability"):
        ModalityDropout(bone_probability=0.5, air_probability=0.6)
