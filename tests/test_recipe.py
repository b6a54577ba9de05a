"""Recipes: data that is checked against signatures, with messages that help."""

import dataclasses

import numpy as np
import pytest
import torch

from bcsim.data.audio import write_audio
from bcsim.effects import EFFECTS
from bcsim.effects.base import Scene
from bcsim.effects.distributions import Choice, Constant, LogUniform, Normal, Uniform
from bcsim.errors import UsageError
from bcsim.recipe import (
    SynthesisRecipe,
    build,
    build_simulator,
    distribution_from_data,
    distribution_to_data,
    from_mapping,
    override,
    read_yaml,
)
from bcsim.workflows.presets import bundled_recipes, resolve_simulator


def test_an_unknown_key_is_refused_with_the_nearest_one():
    with pytest.raises(UsageError, match=r"recipe: unknown key 'efects'; did you mean 'effects'"):
        from_mapping(SynthesisRecipe, {"efects": []}, "recipe")


def test_an_unknown_effect_is_refused_with_the_nearest_one(sensor):
    with pytest.raises(UsageError, match=r"unknown effect 'sensor_nois'; did you mean 'sensor_no"):
        build(EFFECTS, {"name": "sensor_nois"}, "recipe", sensor)


def test_an_unknown_parameter_is_refused_with_the_nearest_one():
    with pytest.raises(UsageError, match=r"gain: unknown key 'gain'; did you mean 'gain_db'"):
        build(EFFECTS, {"name": "gain", "gain": 3}, "recipe")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"effects": 3}, "effects"),
        ({"effects": [], "sample_rate": "fast"}, "sample_rate"),
        ({"effects": [], "audio_format": "mp3"}, "audio_format"),
        ({"effects": [], "splits": {"validation": 0.9, "test": 0.2}}, "no parts of 1"),
        ({"effects": [], "splits": {"valid": 0.1}}, "did you mean 'validation'"),
        ({"effects": [], "splits": 0.1}, "splits: 0.1 is no mapping"),
        ({}, "'effects' is missing"),
        ({"effects": [], "kind": "training"}, "kind"),
    ],
)
def test_wrong_values_are_named(content, message):
    with pytest.raises(UsageError, match=message):
        from_mapping(SynthesisRecipe, content, "recipe")


@pytest.mark.parametrize(
    ("data", "distribution"),
    [
        (3, Constant(3.0)),
        ("3e-4", Constant(3e-4)),  # PyYAML reads this number as text
        ({"uniform": [1, 2]}, Uniform(1, 2)),
        ({"log_uniform": [1, 2]}, LogUniform(1, 2)),
        ({"normal": [0, 1]}, Normal(0, 1)),
        ({"normal": [0, 1, 8]}, Normal(0, 1, 8)),
        ({"choice": [1, 2, 4]}, Choice((1, 2, 4))),
    ],
)
def test_distributions_are_read_and_written(data, distribution):
    assert distribution_from_data(data, "x") == distribution
    assert distribution_from_data(distribution_to_data(distribution), "x") == distribution


@pytest.mark.parametrize(
    "data",
    [
        "loud", True, None, [1, 2], {"uniform": [2, 1]}, {"uniform": [1]}, {"unifrom": [1, 2]},
        {"normal": [0, -1]}, {"choice": []}, {"uniform": [0, 1], "normal": [0, 1]},
        {"uniform": ["a", "b"]}, {"log_uniform": [0, 1]},
    ],
)  # fmt: skip
def test_what_is_no_distribution_is_refused(data):
    with pytest.raises(UsageError, match="gain_db"):
        distribution_from_data(data, "gain_db")


def test_overrides_reach_every_depth():
    content = {"splits": {"test": 0.1}, "effects": [{"name": "gain"}, {"name": "crop"}]}
    changed = override(
        content,
        ["splits.test=0.3", "effects.crop.duration_s=2", "effects.0.gain_db={uniform: [0, 1]}"],
    )
    assert changed["splits"]["test"] == 0.3
    assert changed["effects"][1] == {"name": "crop", "duration_s": 2}
    assert changed["effects"][0]["gain_db"] == {"uniform": [0, 1]}
    assert content["splits"]["test"] == 0.1


@pytest.mark.parametrize(
    "setting", ["splits", "=3", "effects.gian.gain_db=1", "splits.test.deep=1", "seed=[1"]
)
def test_overrides_that_lead_nowhere_are_refused(setting):
    with pytest.raises(UsageError, match="--set"):
        override({"splits": {"test": 0.1}, "effects": [{"name": "gain"}], "seed": 0}, [setting])


def test_an_effect_of_a_sensor_needs_one():
    with pytest.raises(UsageError, match="needs a sensor; give --sensor"):
        build(EFFECTS, {"name": "sensor_noise"}, "recipe")


def test_a_sensor_of_another_rate_is_refused(sensor):
    with pytest.raises(UsageError, match="fitted at 16000 Hz, recipe wants 8000"):
        build_simulator([{"name": "sensor_noise"}], 8000, sensor, "recipe")


@pytest.mark.parametrize("name", list(bundled_recipes("synthesis")))
def test_what_is_written_beside_the_output_says_the_same_again(name, sensor, tmp_path):
    sensor.save(tmp_path / "known.sensor")
    recipe = bundled_recipes("synthesis")[name]
    wants_sensor = "name: sensor_" in recipe.read_text()
    given = str(tmp_path / "known.sensor") if wants_sensor else None
    first = resolve_simulator(given, recipe)
    (tmp_path / "again.yaml").write_text(first.recipe_text)
    again = resolve_simulator(given, tmp_path / "again.yaml")
    assert again.recipe_text == first.recipe_text
    for one, other in zip(first.simulator.effects, again.simulator.effects, strict=True):
        for field in dataclasses.fields(one):
            if field.name != "sensor":
                assert getattr(one, field.name) == getattr(other, field.name)


def test_a_noisy_room_takes_its_noise_by_a_setting(sensor, tmp_path):
    sensor.save(tmp_path / "known.sensor")
    write_audio(tmp_path / "noise/hum.wav", 0.1 * np.sin(np.arange(400)), 16_000)
    noisy = resolve_simulator(
        str(tmp_path / "known.sensor"),
        bundled_recipes("synthesis")["noisy-room"],
        (f"effects.room.noise={tmp_path / 'noise'}",),
    )
    draws = noisy.simulator.sample(0, "clip")
    assert draws["room"]["noise"] == "hum.wav"
    assert f"noise: {tmp_path / 'noise'}" in noisy.recipe_text
    scene = noisy.simulator.apply(
        Scene.from_air(torch.linspace(-1, 1, 8000)[None], 16_000), [draws]
    )
    assert scene.noisy_air is not None
    assert scene.ambient is not None
    assert scene.ambient.norm() > 0


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "a: [1", "a: !!python/object:os.system {}"])
def test_what_is_no_recipe_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"r\.yaml") as caught:
        read_yaml(tmp_path / "r.yaml")
    assert "\n" not in str(caught.value)
