"""`bcsim show recipe`: what effects there are, read off their signatures and docstrings."""

import dataclasses
import inspect
import re
import typing
from pathlib import Path
from typing import Any

from bcsim.effects import EFFECTS
from bcsim.effects.distributions import (
    DISTRIBUTIONS,
    Choice,
    Constant,
    Distribution,
    Recordings,
    Seed,
)
from bcsim.errors import UsageError, did_you_mean
from bcsim.recipe import SynthesisRecipe, distribution_to_data, from_mapping, read_yaml
from bcsim.registry import check_keys, parameter_types
from bcsim.reports.recipe_text import unit_of
from bcsim.workflows.presets import bundled_recipes

Facts = dict[str, Any]

FOLDER = "path/to/recordings"  # stands in examples where a recipe has to name a folder
_SECTION = re.compile(r"^(Args|Returns|Yields|Raises|Examples?|Notes?|Attributes):$", re.M)
_ENTRY = re.compile(r"^ {1,4}\*{0,2}(\w+)(?: \([^)]*\))?: *", re.M)


def recipe_reference() -> Facts:
    """Return the facts of all `effects`, and `distributions`, the forms of a drawn value."""
    return {
        "distributions": distribution_forms(),
        "effects": [effect_facts(name) for name in EFFECTS],
    }


def recipe_or_effect_facts(name: str) -> Facts:
    """Return the facts of an effect, or of a recipe's effects in their order.

    Args:
        name: name of an effect or of a bundled synthesis recipe, or path of a recipe.

    Returns:
        `effect_facts`; for a recipe its `sample_rate` and a list of `effects`, with the `value`
        of each parameter: the recipe's own, or the default.

    Raises:
        UsageError: if it is neither, or the recipe is of another kind or wrong.
    """
    if name in EFFECTS:
        return effect_facts(name)
    bundled = bundled_recipes("synthesis")
    path = bundled.get(name, Path(name))
    if path.is_file():
        content = read_yaml(path)
        if content.get("kind", "synthesis") != "synthesis":
            raise UsageError(f"{path}: a recipe of kind {content['kind']!r}, not of a synthesis")
        recipe = from_mapping(SynthesisRecipe, content, path.name)
        return {
            "recipe": name,
            "sample_rate": recipe.sample_rate,
            "effects": [_step_facts(spec, path.name) for spec in recipe.effects],
        }
    if "/" in name or name.endswith((".yaml", ".yml")):
        raise UsageError(f"{name}: no such recipe file")
    hint = did_you_mean(name, [*EFFECTS, *bundled])
    raise UsageError(f"unknown effect or recipe {name!r}{hint}")


def effect_facts(name: str) -> Facts:
    """Return what an effect is and which parameters it has, read off its class.

    Args:
        name: name of the effect in the registry.

    Returns:
        `name`; `summary`, the docstring's first sentence, and `description`, the rest before its
        sections; `parameters`, those that a recipe may set, each with `name`, `unit` (from the
        name's last word; empty where it has none), `kind` ("drawn" once a clip, "folder" of
        recordings, or a fixed "setting"), `choices` (of a setting that is one of a few, else
        None), `required`, `default` as a recipe would write it, and `description`;
        `needs_sensor`; `differentiable`, `keeps_length`, `needs_whole_clip`; `example`, the
        effect as a recipe would write it.

    Raises:
        UsageError: if there is no such effect.
    """
    cls = EFFECTS[name]
    description, arguments = _read_docstring(inspect.getdoc(cls) or "")
    summary, _, rest = description.partition("\n\n")
    hints = parameter_types(cls)
    parameters = [
        _parameter_facts(field, hints[field.name], arguments.get(field.name, ""))
        for field in dataclasses.fields(cls)
        if field.name != "sensor" and not isinstance(field.default, Seed)
    ]
    return {
        "name": name,
        "summary": " ".join(summary.split()),
        "description": rest,
        "parameters": parameters,
        "needs_sensor": "sensor" in hints,
        "differentiable": cls.differentiable,
        "keeps_length": cls.keeps_length,
        "needs_whole_clip": cls.needs_whole_clip,
        "example": {"name": name} | {p["name"]: _example(p) for p in parameters},
    }


def distribution_forms() -> list[str]:
    """Return how a recipe writes a value that is drawn once a clip, one form a distribution."""
    forms = []
    for name, cls in DISTRIBUTIONS.items():
        if cls in (Seed, Constant):
            continue  # filled in by the program; written as a number
        fields = [field.name for field in dataclasses.fields(cls)]
        names = ["a", "b", "..."] if cls is Choice else fields
        arguments = ", ".join(names)
        forms.append(f"{{{name}: {arguments if len(names) == 1 else f'[{arguments}]'}}}")
    return forms


def _read_docstring(text: str) -> tuple[str, dict[str, str]]:
    r"""Return what stands before a Google docstring's sections, and its `Args`, a line each.

    Example:
        >>> _read_docstring("Turn.\n\nArgs:\n    gain_db: how\n        much.\n    q: what.")
        ('Turn.', {'gain_db': 'how much.', 'q': 'what.'})
    """
    description, *parts = _SECTION.split(text)
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    _, *entries = _ENTRY.split(sections.get("Args", ""))
    arguments = {
        name: _readable(" ".join(words.split()))
        for name, words in zip(entries[::2], entries[1::2], strict=True)
    }
    return _readable(description.strip()), arguments


def _readable(text: str) -> str:
    """Take the marks of reStructuredText and TeX away that hide a formula in a terminal."""
    text = re.sub(r"\\mathrm\{([^}]*)\}", r"\1", re.sub(r"\\[,;!:] ?", " ", text))
    return re.sub(r"^\.\. math:: *", "    ", re.sub(r":math:`([^`]*)`", r"\1", text), flags=re.M)


def _parameter_facts(field: "dataclasses.Field[Any]", hint: Any, description: str) -> Facts:
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    required = default is dataclasses.MISSING
    options = (hint, *typing.get_args(hint))
    kinds = {Recordings: "folder", Distribution: "drawn"}
    kind = next((kinds[option] for option in options if option in kinds), "setting")
    return {
        "name": field.name,
        "unit": unit_of(field.name),
        "kind": kind,
        "choices": list(options[1:]) if typing.get_origin(hint) is typing.Literal else None,
        "required": required,
        "default": None if required else _as_data(default),
        "description": description,
    }


def _as_data(value: Any) -> Any:
    if isinstance(value, Distribution):
        return distribution_to_data(value)
    return list(value) if isinstance(value, tuple) else value


def _example(parameter: Facts) -> Any:
    if not parameter["required"]:
        return parameter["default"]
    return FOLDER if parameter["kind"] == "folder" else "..."


def _step_facts(spec: Facts, where: str) -> Facts:
    """Return an effect's facts with the values that a recipe gives it."""
    if not isinstance(spec.get("name"), str):
        raise UsageError(f"{where}: an effect is a mapping with a name, not {spec!r}")
    facts = effect_facts(spec["name"])
    known = [parameter["name"] for parameter in facts["parameters"]]
    check_keys(spec, ["name", *known], f"{where}: {spec['name']}")
    for parameter in facts["parameters"]:
        parameter["value"] = spec.get(parameter["name"], parameter["default"])
    return facts
