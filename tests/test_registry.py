"""Registries: one name, one thing, and a hint where there is none."""

import pytest

from bcsim.errors import UsageError
from bcsim.registry import Registry


@pytest.fixture
def colours():
    registry = Registry("colour", "bcsim.dsp")
    registry.register("red")("#f00")
    registry.register("green")("#0f0")
    return registry


def test_a_name_is_given_once(colours):
    with pytest.raises(ValueError, match="colour 'red' is registered twice"):
        colours.register("red")("#e00")


def test_an_unknown_name_is_answered_with_the_nearest(colours):
    with pytest.raises(UsageError, match=r"unknown colour 'gren'; did you mean 'green'\?"):
        colours["gren"]


def test_names_come_sorted_and_lead_back(colours):
    assert list(colours) == ["green", "red"]
    assert colours.name_of("#0f0") == "green"
    with pytest.raises(KeyError, match="not a registered colour"):
        colours.name_of("#00f")


def test_plugins_are_found_by_their_entry_point(monkeypatch):
    class Plugin:
        name = "blue"

        def load(self):
            return "#00f"

    monkeypatch.setattr("bcsim.registry.entry_points", lambda group: [Plugin()])
    assert Registry("colour", "bcsim.dsp")["blue"] == "#00f"
