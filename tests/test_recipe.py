"""Recipes: data that is checked against signatures, with messages that help."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from bcsim.audio.write import write_audio
from bcsim.effects.base import Scene
from bcsim.effects.distributions import Choice, Constant, LogUniform, Normal, Uniform
from bcsim.errors import UsageError
from bcsim.files.strict_yaml import parse_yaml
from bcsim.recipe import (
    SynthesisRecipe,
    build_effect,
    build_simulator,
    distribution_from_data,
    distribution_to_data,
    from_mapping,
    override,
    read_yaml,
    write_yaml,
)
from bcsim.workflows.presets import bundled_recipes, resolve_simulator


def test_an_unknown_key_is_refused_with_the_nearest_one():
    with pytest.raises(UsageError, match=r"recipe: unknown key 'efects'; did you mean 'effects'"):
        from_mapping(SynthesisRecipe, {"efects": []}, "recipe")


def test_an_unknown_effect_is_refused_with_the_nearest_one(sensor):
    with pytest.raises(UsageError, match=r"unknown effect 'sensor_nois'; did you mean 'sensor_no"):
        build_effect({"name": "sensor_nois"}, "recipe", sensor)


def test_an_unknown_parameter_is_refused_with_the_nearest_one():
    with pytest.raises(UsageError, match=r"gain: unknown key 'gain'; did you mean 'gain_db'"):
        build_effect({"name": "gain", "gain": 3}, "recipe")


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
    with pytest.raises(UsageError, match="setting '"):
        override({"splits": {"test": 0.1}, "effects": [{"name": "gain"}], "seed": 0}, [setting])


def test_an_effect_of_a_sensor_needs_one():
    with pytest.raises(UsageError, match="needs a sensor; name its file"):
        build_effect({"name": "sensor_noise"}, "recipe")


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
    write_audio(tmp_path / "noise/hum.wav", 0.1 * np.sin(np.arange(4000)), 16_000)
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


BOMB = "\n".join(f"k{n}: &k{n} [{', '.join([f'*k{n - 1}'] * 9)}]" for n in range(1, 9))
CHAIN = "\n".join(f"k{n}: &k{n} [*k{n - 1}]" for n in range(1, 200))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 2020-13-45", "line 1: a timestamp; write it in quotes"),
        ("seed: !!binary aaaa", "line 1: a binary"),
        ("seed: !!int x", "invalid literal"),
        ("seed: !!bool x", "a value is not what its tag says"),
        (f"seed: {'1' * 5000}", "digits"),
        (f"seed: {'[' * 3000}{']' * 3000}", "too deep"),
        (f"seed: {'[' * 100}{']' * 100}", "deeper than 64 levels"),
        ("&a\nlosses: [*a]\nmodel: *a", "line 1: an alias stands within"),
        (f"k0: &k0 x\n{BOMB}", "too large"),
        (f"k0: &k0 x\n{CHAIN}", "deeper than 64 levels"),
        ("a: 1\nb: {c: 1, c: 2}", "line 2: the key 'c' is there twice"),
    ],
)
def test_yaml_that_cannot_be_meant_is_refused_with_its_place(tmp_path, text, message):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=rf"r\.yaml: not YAML \(.*{message}"):
        read_yaml(path)


@pytest.mark.parametrize("value", ["2020-13-45", "1" * 5000, "{a: 1, a: 2}", "[" * 3000, "&a [*a]"])
def test_a_setting_that_cannot_be_meant_is_refused_with_its_key(value):
    with pytest.raises(UsageError, match=r"setting 'seed=.*the value is not YAML \("):
        override({}, [f"seed={value}"])


def test_aliases_that_stand_for_something_are_fine(tmp_path):
    (tmp_path / "r.yaml").write_text("a: &a {x: 1, y: 2}\nb: [*a, *a]\nc: {<<: *a, y: 3}\n")
    same = {"x": 1, "y": 2}
    assert read_yaml(tmp_path / "r.yaml") == {"a": same, "b": [same, same], "c": {"x": 1, "y": 3}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"splits": {"test": float("inf")}}, r"splits\.test is inf; it wants a finite number"),
        ({"effects": [{"name": "gain", "gain_db": {"uniform": [0, float("nan")]}}]},
         r"effects\[0\]\.gain_db\.uniform\[1\] is nan"),
        ({"effects": [], "splits": {"test": "inf"}}, "splits: test: input should be a finite num"),
    ],
)  # fmt: skip
def test_numbers_that_are_not_finite_are_refused(content, message):
    with pytest.raises(UsageError, match=message):
        from_mapping(SynthesisRecipe, content, "recipe")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "a: [1", "a: !!python/object:os.system {}"])
def test_what_is_no_recipe_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"r\.yaml") as caught:
        read_yaml(tmp_path / "r.yaml")
    assert "\n" not in str(caught.value)


def test_a_recipe_that_is_no_file_is_neither_waited_for_nor_read_for_ever(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (tmp_path / "pipe.yaml", Path("/dev/zero"), tmp_path):
        with pytest.raises(UsageError, match="not a regular file; give a recipe"):
            read_yaml(path)
    (tmp_path / "large.yaml").write_bytes(b" " * (2 << 20))
    with pytest.raises(UsageError, match="larger than 1048576 bytes; this is not a recipe"):
        read_yaml(tmp_path / "large.yaml")


@pytest.mark.parametrize(
    "text",
    [
        *("a\u00a0b", "a\u00adb", "a\u200bb", "a\u2028b", "a\x85b", "\ufeffa", "a: b", "'a'"),
        *('"a"', "a # b", "- a", "-a", "\N{GRINNING FACE}", "yes", "3e-4", "---", " a ", "a\nb"),
    ],
)
def test_a_recipe_that_is_written_is_read_as_the_same(text):
    """A next-line character in the name of a folder became a space: another folder."""
    content = {text: text, "effects": [{"name": "n", "folder": text}]}
    assert parse_yaml(write_yaml(content)) == content


def test_a_recipe_that_could_not_be_read_again_is_refused_before_it_is_written():
    with pytest.raises(UsageError, match=r"with all its defaults: .*characters"):
        write_yaml({"name": "a" * (1 << 18)})
