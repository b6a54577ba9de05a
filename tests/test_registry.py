"""Registries: one name, one thing, and a hint where there is none."""

from typing import Any

import pytest

from bcsim.errors import UsageError
from bcsim.registry import Registry, build, convert_plain


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


@pytest.fixture
def shapes():
    registry = Registry("shape", "bcsim.dsp")

    @registry.register("square")
    class Square:
        def __init__(self, side: int, sample_rate: int = 8000, labels: tuple[str, ...] = ()):
            if side < 1:
                raise ValueError(f"side is {side}; it wants 1 or more")
            self.side, self.sample_rate, self.labels = side, sample_rate, labels

    @registry.register("worn")
    class Worn:
        def __init__(self, sensor: str):
            self.sensor = sensor

    return registry


def test_parameters_come_out_in_the_types_of_the_constructor(shapes):
    square = build(shapes, {"name": "square", "side": "3", "labels": ["a", "b"]}, "shapes")
    assert (square.side, square.labels) == (3, ("a", "b"))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "sqare"}, "unknown shape 'sqare'; did you mean 'square'"),
        ({"name": "square", "sid": 1}, "list: square: unknown key 'sid'; did you mean 'side'"),
        ({"name": "square"}, "list: square: the parameter 'side' is missing"),
        ({"name": "square", "side": 1.5}, r"list: square\.side: .*, not 1\.5"),
        ({"name": "square", "side": True}, r"list: square\.side is True; it wants a number"),
        ({"name": "square", "side": 10**10}, r"list: square\.side is 10000000000; it wants 1e9"),
        ({"name": "square", "side": 0}, "list: square: side is 0; it wants 1 or more"),
        ({"name": "worn"}, "list: worn needs a sensor"),
        ({"name": "worn", "sensor": "x"}, "list: worn: unknown key 'sensor'"),
        ({"side": 1}, "list: a shape is a mapping with a name"),
        ("square", "list: a shape is a mapping with a name"),
    ],
)
def test_a_spec_that_cannot_be_built_is_refused_with_its_place(shapes, spec, message):
    with pytest.raises(UsageError, match=message):
        build(shapes, spec, "list")


def test_sensor_and_sample_rate_are_filled_in_where_a_constructor_takes_them(shapes):
    filled = {"sensor": "throat", "sample_rate": 16_000}
    assert build(shapes, {"name": "worn"}, **filled).sensor == "throat"
    assert build(shapes, {"name": "square", "side": 1}, **filled).sample_rate == 16_000
    own = {"name": "square", "side": 1, "sample_rate": 48_000}
    assert build(shapes, own, **filled).sample_rate == 48_000


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (int, True),
        (float | None, True),
        (int | None, False),
        (tuple[float, float], [0.5, True]),
        (tuple[float, ...], [False]),
        (list[int], [1, True]),
        (dict[str, float], {"a": 1, "b": True}),
        (dict[str, list[int]], {"a": [True]}),
    ],
)
def test_a_truth_value_is_no_number_wherever_it_stands(hint, value):
    """`gradient_clip_norm: true` clipped at 1.0."""
    with pytest.raises(UsageError, match=r"key is (True|False); it wants a number"):
        convert_plain(hint, value, "key")


@pytest.mark.parametrize(
    ("hint", "value"), [(bool, True), (bool | None, False), (dict[str, Any], {"a": True})]
)
def test_a_truth_value_is_taken_where_one_is_wanted(hint, value):
    assert convert_plain(hint, value, "key") == value
