"""Effects and recipes as lines of text, for `bcsim show recipe`."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

Facts = Mapping[str, Any]

_TIE = "\N{NO-BREAK SPACE}"
MIN_TEXT = 24  # columns of the narrowest description

# Units are the last words of a parameter's name (`cutoff_hz`): the longest that fits.
UNITS = {
    "db_per_octave": "dB/oct", "db_per_s": "dB/s", "per_minute": "1/min", "per_s": "1/s",
    "samples": "samples", "ppm": "ppm", "bits": "bits", "deg": "deg",
    "hz": "Hz", "khz": "kHz", "db": "dB", "ms": "ms", "m": "m", "s": "s",
}  # fmt: skip


def reference_lines(facts: Facts, width: int) -> list[str]:
    """Return all effects, each with its first sentence and a line or more a parameter.

    Args:
        facts: result of `bcsim.workflows.show.recipe_reference`.
        width: length of a line in characters.
    """
    effects = facts["effects"]
    layout = _Layout([p for effect in effects for p in effect["parameters"]], "default", width)
    lines = []
    for effect in effects:
        lines += _heading(effect, effect["name"], width)
        lines += [*layout.lines(effect["parameters"]), ""]
    forms = _forms(facts["distributions"])
    lines += _wrapped(f"Marked with *: drawn once a clip. Write a number, or {forms}.", width)
    lines += _wrapped(
        "All of one effect, with an example: bcsim show recipe EFFECT. Of a recipe: bcsim show "
        "recipe FILE.",
        width,
    )
    return lines


def effect_lines(effect: Facts, distributions: Sequence[str], width: int) -> list[str]:
    """Return one effect in full.

    Args:
        effect: result of `bcsim.workflows.show.effect_facts`.
        distributions: forms in which a recipe writes a drawn value.
        width: length of a line in characters.
    """
    lines = _heading(effect, effect["name"], width)
    for paragraph in effect["description"].split("\n\n"):
        if paragraph.strip():
            is_formula = paragraph.startswith("    ")
            formula = textwrap.indent(paragraph, "  ").splitlines()
            lines += ["", *(formula if is_formula else _wrapped(paragraph, width, 2))]
    if effect["parameters"]:
        layout = _Layout(effect["parameters"], "default", width)
        lines += ["", "Parameters", *layout.lines(effect["parameters"])]
        if any(parameter["kind"] == "drawn" for parameter in effect["parameters"]):
            forms = _forms(distributions)
            lines += _wrapped(f"* drawn once a clip: a number, or {forms}", width, 2)
    entry = [f"    {key}: {flow(value)}" for key, value in effect["example"].items()]
    entry[0] = entry[0].replace("    ", "  - ", 1)
    lines += ["", "In a recipe", *entry]
    remarks = [
        ("needs a sensor profile", effect["needs_sensor"]),
        ("no gradient reaches the air signal through it", not effect["differentiable"]),
        ("clips come out of another length", not effect["keeps_length"]),
        ("sees a clip from end to end: long ones are not rendered in segments",
         effect["needs_whole_clip"]),
    ]  # fmt: skip
    found = [text for text, holds in remarks if holds]
    if found:
        lines += ["", "Good to know", *(f"  {text}" for text in found)]
    return lines


def recipe_lines(facts: Facts, width: int) -> list[str]:
    """Return the effects of a recipe in their order, with the values that it gives them.

    Args:
        facts: result of `bcsim.workflows.show.recipe_or_effect_facts` for a recipe.
        width: length of a line in characters.
    """
    effects = facts["effects"]
    layout = _Layout([p for effect in effects for p in effect["parameters"]], "value", width)
    lines = [f"recipe {facts['recipe']}, {facts['sample_rate']} Hz, {len(effects)} effects"]
    for number, effect in enumerate(effects, start=1):
        lines += ["", *_heading(effect, f"{number}. {effect['name']}", width)]
        lines += layout.lines(effect["parameters"])
    if any(p["kind"] == "drawn" for effect in effects for p in effect["parameters"]):
        lines += ["", "Marked with *: drawn once a clip."]
    return lines


def flow(value: Any) -> str:
    """Return a value as a recipe would write it on one line.

    Example:
        >>> flow({"uniform": [480.0, 720.5]}), flow(0.00005), flow(None)
        ('{uniform: [480, 720.5]}', '5.0e-05', 'null')
    """
    text = yaml.safe_dump(_round(value), default_flow_style=True, width=2**20, allow_unicode=True)
    return text.strip().removesuffix("...").strip()


def unit_of(parameter: str) -> str:
    """Return the unit that a parameter's name ends with, or nothing.

    Example:
        >>> unit_of("cutoff_hz"), unit_of("slope_db_per_octave"), unit_of("q"), unit_of("rooms")
        ('Hz', 'dB/oct', '', '')
    """
    return next((unit for word, unit in UNITS.items() if f"_{parameter}".endswith(f"_{word}")), "")


class _Layout:
    """Columns that fit a set of parameters: name, unit, value, description."""

    def __init__(self, parameters: Sequence[Facts], shown: str, width: int) -> None:
        self.shown = shown
        self.width = width
        self.names = max((len(p["name"]) for p in parameters), default=0) + 4
        self.units = max((len(p["unit"]) for p in parameters), default=0) + 1
        # The long path of one folder must not narrow the descriptions of all other rows.
        wanted = max((len(self._value(p)) for p in parameters), default=0) + 2
        self.values = min(wanted, max(12, width - self.names - self.units - 2 * MIN_TEXT))

    def lines(self, parameters: Sequence[Facts]) -> list[str]:
        lines = []
        for parameter in parameters:
            mark = "*" if parameter["kind"] == "drawn" else " "
            name = f"  {mark} {parameter['name']}"
            start = f"{name:<{self.names}} {parameter['unit']:<{self.units}}"
            value = self._value(parameter)
            indent = self.names + 1 + self.units + self.values
            text = textwrap.wrap(_description(parameter), max(self.width - indent, MIN_TEXT))
            if len(value) + 2 > self.values:
                lines.append(f"{start}{value}")
            else:
                first = text.pop(0) if text else ""
                lines.append(f"{start}{value:<{self.values}}{first}".rstrip())
            lines += [" " * indent + line for line in text]
        return lines

    def _value(self, parameter: Facts) -> str:
        value = parameter.get(self.shown)
        return "(required)" if value is None and parameter["required"] else flow(value)


def _heading(effect: Facts, name: str, width: int) -> list[str]:
    return [name, *_wrapped(effect["summary"], width, 2)]


def _description(parameter: Facts) -> str:
    text = parameter["description"]
    if parameter["choices"]:
        text = f"{text.rstrip('.')}: one of {', '.join(map(str, parameter['choices']))}."
    return text


def _forms(distributions: Sequence[str]) -> str:
    # No break within a form: its two halves would read like two forms.
    return ", ".join(form.replace(" ", _TIE) for form in distributions)


def _wrapped(text: str, width: int, indent: int = 0) -> list[str]:
    margin = " " * indent
    words = re.sub(r"[ \n]+", " ", text)
    lines = textwrap.wrap(words, width, initial_indent=margin, subsequent_indent=margin)
    return [line.replace(_TIE, " ") for line in lines]


def _round(value: Any) -> Any:
    """Return whole numbers without their `.0`: a recipe takes either."""
    if isinstance(value, Mapping):
        return {key: _round(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_round(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
