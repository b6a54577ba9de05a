"""A network as a sensor: what it gives is the network's output, whatever it is rendered with."""

import dataclasses
import json
import pickle
import shutil

import pytest
import torch
import yaml

from bcsim.audio.write import write_audio
from bcsim.effects.base import Scene
from bcsim.effects.gain import Gain
from bcsim.effects.neural_response import NeuralResponse
from bcsim.errors import UsageError
from bcsim.models.storage import AIR_TO_BONE, build_enhancer, load_enhancer, save_enhancer
from bcsim.recipe import build_simulator, resolve_effect
from bcsim.simulator import Simulator
from bcsim.workers.pool import Workers
from bcsim.workflows.synthesize import plan_synthesis, synthesize

RATE = 16_000
SPEC = {"name": "eben", "p": 4, "width": 4, "latent": 4}


@pytest.fixture
def run(air_to_bone_run, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(air_to_bone_run, tmp_path / "reversed")


def replace_network(run, seed=9):
    save_enhancer(run, build_enhancer(SPEC, seed), {}, AIR_TO_BONE)


@torch.no_grad()
def test_bone_is_what_the_network_makes_of_the_air_alone(run, speech):
    network = load_enhancer(run).double()
    scene = dataclasses.replace(Scene.from_air(speech, RATE), bone=0 * speech)
    out = NeuralResponse(str(run)).apply(scene, {})
    assert out.air is scene.air
    torch.testing.assert_close(out.bone, network(speech[:, None])[:, 0], rtol=0, atol=1e-12)
    assert out.bone.abs().max() > 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_to_the_last_bit_a_clip_does_not_depend_on_its_batch(run, speech, dtype):
    effect = NeuralResponse(str(run))
    lengths = torch.tensor([24_000, 300, 17_001, 1, 256, 999])
    inside = torch.arange(24_000) < lengths[:, None]
    clips = speech.to(dtype).repeat(3, 1) * inside
    together = effect.apply(Scene.from_air(clips, RATE, lengths), {}).bone
    for row, length in enumerate(lengths.tolist()):
        alone = effect.apply(Scene.from_air(clips[row : row + 1, :length], RATE), {}).bone[0]
        assert torch.equal(together[row, :length], alone)
        assert not together[row, length:].any()


@torch.no_grad()
@pytest.mark.parametrize("start", [20_480, 20_500, 30_001])
def test_a_stretch_comes_out_as_in_the_whole_wherever_it_starts(run, speech, start):
    """EBEN works in frames of 256: off them, these weights would be off by 1 to 2 %."""
    effect = NeuralResponse(str(run))
    whole = Scene.from_air(speech[:1].repeat(1, 3), RATE)
    part = dataclasses.replace(Scene.from_air(whole.air[:, start:], RATE), start=start)
    expected = effect.apply(whole, {}).bone[:, start:]
    network = load_enhancer(run)
    error = (effect.apply(part, {}).bone - expected)[:, network.history_samples :]
    assert error.abs().max() < 1e-10
    assert expected.abs().max() > 0.01


def test_gradients_pass_although_it_was_first_used_where_there_are_none(run, speech):
    effect = NeuralResponse(str(run))
    with torch.inference_mode():
        effect.apply(Scene.from_air(speech[:1, :600].float(), RATE), {})
    air = speech[:1, :600].float().requires_grad_()
    effect.apply(Scene.from_air(air, RATE), {}).bone.sum().backward()
    assert air.grad is not None
    assert air.grad.any()


def test_another_sample_rate_is_refused_with_the_one_to_set(run, speech):
    effect = NeuralResponse(str(run))
    with pytest.raises(
        UsageError, match="for 16000 Hz, the pairs have 8000; set sample_rate to 16"
    ):
        effect.apply(Scene.from_air(speech, 8000), {})


def test_a_network_from_bone_to_air_is_refused(run):
    save_enhancer(run, build_enhancer(SPEC, seed=1), {})
    with pytest.raises(UsageError, match=r"recipe: neural_response: .*turns bone into air; give"):
        build_simulator([{"name": "neural_response", "model": str(run)}], RATE, None, "recipe")


def test_a_folder_that_holds_no_network_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"config\.json: no such file"):
        build_simulator([{"name": "neural_response", "model": str(tmp_path)}], RATE, None, "recipe")


def test_a_resolved_recipe_notices_another_network(run):
    spec = resolve_effect(NeuralResponse(str(run)))
    assert spec == resolve_effect(NeuralResponse(**{k: v for k, v in spec.items() if k != "name"}))
    replace_network(run)
    with pytest.raises(
        UsageError, match=r"another network than the one that was used .* give that"
    ):
        build_simulator([spec], RATE, None, "recipe")


def test_a_network_that_is_exchanged_under_a_worker_is_noticed(run, speech):
    """A worker loads what it is to render with when the first clip comes."""
    effect = pickle.loads(pickle.dumps(NeuralResponse(str(run))))
    replace_network(run)
    with pytest.raises(UsageError, match="was changed during the run"):
        effect.apply(Scene.from_air(speech[:, :500].float(), RATE), {})


def test_a_relative_path_means_the_same_wherever_a_worker_stands(run, monkeypatch, speech):
    monkeypatch.chdir(run.parent)
    effect = NeuralResponse(run.name)
    assert effect.model == run.name
    monkeypatch.chdir("/")
    scene = Scene.from_air(speech[:, :500].float(), RATE)
    assert torch.isfinite(pickle.loads(pickle.dumps(effect)).apply(scene, {}).bone).all()


def test_it_stands_among_other_effects(run, speech):
    alone = Simulator((NeuralResponse(str(run)),), RATE).render(speech, ["a", "b"], seed=0).bone
    gain = Gain(gain_db=Gain().gain_db)
    after = Simulator((NeuralResponse(str(run)), gain), RATE).render(speech, ["a", "b"], 0).bone
    ratio = after.norm(dim=1) / alone.norm(dim=1)
    torch.testing.assert_close(after, alone * ratio[:, None])


def test_a_corpus_is_not_continued_with_another_network(run, speech, tmp_path):
    write_audio(tmp_path / "air" / "s1" / "a.wav", speech[0, :4000].numpy(), RATE)
    recipe = tmp_path / "neural.yaml"
    effects = [{"name": "neural_response", "model": str(run)}]
    recipe.write_text(yaml.safe_dump({"kind": "synthesis", "effects": effects}))

    def plan():
        return plan_synthesis(tmp_path / "air", tmp_path / "pairs", None, recipe, device="cpu")

    assert synthesize(plan(), Workers()).num_pairs == 1
    made = json.loads((tmp_path / "pairs" / "dataset.json").read_text())
    assert made["recipe"]["effects"][0]["fingerprint"] == NeuralResponse(str(run)).fingerprint
    replace_network(run)
    with pytest.raises(UsageError, match=r"made with recipe.effects.0.fingerprint '.*', now"):
        synthesize(plan(), Workers())
