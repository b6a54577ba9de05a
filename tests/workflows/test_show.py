"""`bcsim show`: every effect, parameter and model, told from signatures and recipes."""

import dataclasses
import importlib
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from bcsim.effects import EFFECTS
from bcsim.effects.distributions import Seed
from bcsim.errors import UsageError
from bcsim.models import MODELS
from bcsim.registry import parameter_types
from bcsim.reports.model_text import model_table
from bcsim.sensors.profile import SensorProfile
from bcsim.workflows.presets import bundled_recipes


def show(*arguments: str) -> str:
    command = importlib.import_module("bcsim_cli.show").command
    return CliRunner().invoke(command, arguments, catch_exceptions=False).output


def settable(name: str) -> set[str]:
    hints = parameter_types(EFFECTS[name])
    return {
        field.name
        for field in dataclasses.fields(EFFECTS[name])
        if hints[field.name] is not SensorProfile and not isinstance(field.default, Seed)
    }


def test_every_effect_and_every_parameter_is_listed():
    listed = {entry["name"]: entry for entry in json.loads(show("recipe", "--json"))["effects"]}
    assert listed.keys() == set(EFFECTS)
    for name, entry in listed.items():
        assert {parameter["name"] for parameter in entry["parameters"]} == settable(name)
        assert all(parameter["description"] for parameter in entry["parameters"])
    text = show("recipe")
    assert all(name in text for name in EFFECTS)


def test_units_and_defaults_stand_beside_the_parameters():
    entry = next(e for e in json.loads(show("recipe", "--json"))["effects"] if e["name"] == "room")
    by_name = {parameter["name"]: parameter for parameter in entry["parameters"]}
    assert by_name["snr_db"]["unit"] == "dB"
    assert by_name["snr_db"]["default"] == {"uniform": [0.0, 20.0]}
    assert by_name["rt60_s"]["unit"] == "s"
    line = next(line for line in show("recipe", "room").splitlines() if "rt60_s" in line)
    assert "uniform: [0.2, 0.6]" in line


def test_a_bundled_recipe_is_listed_with_its_own_values():
    text = show("recipe", "temporal-transforms")
    assert "zero_phase_lowpass" in text
    assert "[480, 720]" in text


def test_an_unknown_effect_is_refused_with_the_nearest_name():
    with pytest.raises(UsageError, match="did you mean 'sensor_noise'"):
        show("recipe", "sensor_nois")


def test_a_sensor_in_a_file_called_recipe_can_still_be_shown(sensor, tmp_path):
    path = tmp_path / "recipe.sensor"
    sensor.save(path)
    assert sensor.name in show(str(path))


def test_lines_fit_a_terminal():
    assert max(map(len, show("recipe").splitlines())) <= 100


@pytest.fixture(scope="module")
def models():
    return json.loads(show("models", "--json"))


def test_every_model_is_listed_with_all_its_recipes(models):
    found = {entry["name"]: entry for entry in models["models"]}
    assert found.keys() == set(MODELS)
    listed = [size["recipe"] for entry in found.values() for size in entry["sizes"]]
    assert {name for name in listed if name} == set(bundled_recipes("training"))
    eben = {size["recipe"]: size for size in found["eben"]["sizes"]}
    assert eben["eben"]["num_parameters"] == 1_946_240
    assert [*eben] == ["eben", "eben-small"]  # the largest first
    assert found["envelope_mapper"]["sizes"][0]["look_ahead_ms"] is None
    assert found["seanet"]["sizes"][0]["channels"] == ["bone"]
    assert all(entry["summary"].endswith(".") for entry in found.values())


def test_one_model_is_shown_and_fits_a_terminal():
    text = show("models", "seanet")
    assert "seanet-streaming" in text
    assert "eben" not in text
    assert max(map(len, text.splitlines())) <= 100
    with pytest.raises(UsageError, match="did you mean 'seanet'"):
        show("models", "seannet")


def test_the_table_of_the_documentation_is_what_is_shown(models):
    page = (Path(__file__).resolve().parents[2] / "docs/models.md").read_text("utf-8")
    shown = model_table(models)
    rows = [line for line in page.splitlines() if line.count("|") == shown[0].count("|")]
    assert rows == shown


def test_the_documentation_has_a_section_for_every_model():
    page = (Path(__file__).resolve().parents[2] / "docs/models.md").read_text("utf-8")
    sections = re.findall(r"^### (.*)$", page.partition("## One by one")[2], re.MULTILINE)
    assert sorted(sections) == sorted(MODELS)
