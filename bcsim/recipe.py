"""Recipes: YAML text to dataclasses, and back.

A recipe is data. Its keys are the fields of a dataclass, and below a `name:` the parameters of
the registered class of that name, checked against the class's own signature. Nothing is
interpolated or inherited; an unknown key is refused with the nearest known one.
"""

import copy
import dataclasses
import inspect
import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from bcsim.datasets.noise_folder import NoiseFolder
from bcsim.effects import EFFECTS
from bcsim.effects.base import Effect
from bcsim.effects.distributions import (
    DISTRIBUTIONS,
    Choice,
    Constant,
    Distribution,
    Recordings,
    Seed,
)
from bcsim.errors import InputError, UsageError, did_you_mean
from bcsim.files.strict_yaml import parse_yaml
from bcsim.files.text import read_bytes, shown
from bcsim.registry import build, check_keys, convert_plain
from bcsim.sensors.profile import SensorProfile
from bcsim.simulator import Simulator

MAX_EFFECTS = 100  # of a recipe
MAX_RECIPE_BYTES = 1 << 20

T = TypeVar("T")


@dataclass(frozen=True)
class Splits:
    """Parts of the speakers in the validation and test splits, 0 to 1; the rest is for training."""

    validation: float = 0.05
    test: float = 0.05

    def __post_init__(self) -> None:
        if min(self.validation, self.test) < 0 or self.validation + self.test > 1:
            raise ValueError(f"validation {self.validation} and test {self.test} are no parts of 1")


@dataclass(frozen=True)
class WrittenAudio:
    """Kind of the samples of written files: 16 or 24 bits in fixed point, or floating point."""

    subtype: Literal["PCM_16", "PCM_24", "FLOAT"] = "PCM_16"


@dataclass(frozen=True)
class SynthesisRecipe:
    """What `bcsim synthesize` does to every clip.

    Args:
        effects: effects between mouth and recorded pair, first to last: `{name: ..., ...}` each.
        kind: kind of the recipe, which tells it from one for training.
        sample_rate: sample rate of the pairs in Hz.
        audio_format: format of the files, "flac" or "wav".
        splits: parts of the speakers in the splits.
        audio: kind of the files' samples.
    """

    effects: list[dict[str, Any]]
    kind: Literal["synthesis"] = "synthesis"
    sample_rate: int = 16_000
    audio_format: Literal["flac", "wav"] = "flac"
    splits: Splits = Splits()
    audio: WrittenAudio = WrittenAudio()

    def __post_init__(self) -> None:
        if (self.audio.subtype, self.audio_format) == ("FLOAT", "flac"):
            raise ValueError(
                "FLAC holds no FLOAT; set audio_format to wav, or audio.subtype to PCM_24"
            )
        if not 1000 <= self.sample_rate <= 384_000:
            raise ValueError(f"sample_rate is {self.sample_rate}; it wants 1000 to 384000 Hz")


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping, or raise a UsageError that names the file and what is wrong with it."""
    try:
        content = parse_yaml(read_bytes(path, MAX_RECIPE_BYTES, "a recipe").decode("utf-8"))
    except InputError as error:
        raise UsageError(str(error)) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text; a recipe is") from error
    except ValueError as error:
        raise UsageError(f"{path}: not YAML ({error})") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path}: a recipe is a mapping of keys to values")
    return content


def write_yaml(content: Mapping[str, Any]) -> str:
    """Return `content` as YAML, keys in their order, that `read_yaml` reads as the same.

    Raises:
        UsageError: if it is not plain data, or larger than what is read.
    """
    text = yaml.dump_all(
        [dict(content)], Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )
    try:
        back = parse_yaml(text)
    except ValueError as error:
        raise UsageError(f"the recipe with all its defaults: {error}; make it smaller") from error
    if json.dumps(back) != json.dumps(dict(content)):  # tuples are lists in both
        raise UsageError("the recipe is another one when it is read again; use plain names in it")
    return text


class _Dumper(yaml.SafeDumper):
    """Writes a text with NEL in quotes, without which PyYAML folds it to a space."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Return the node of a text."""
        style = '"' if "\x85" in data else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)


def override(content: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Apply `KEY=VALUE` settings to a recipe.

    Args:
        content: content of a recipe.
        settings: dotted keys with their values in YAML; an entry of a list is addressed by its
            position or its `name`.

    Raises:
        UsageError: if a setting has no `=` or leads through something that is no mapping.

    Example:
        >>> override({"effects": [{"name": "gain", "gain_db": 0}]}, ["effects.gain.gain_db=3"])
        {'effects': [{'name': 'gain', 'gain_db': 3}]}
    """
    result = copy.deepcopy(dict(content))
    for setting in settings:
        path, separator, text = setting.partition("=")
        if not separator or not path:
            raise UsageError(f"setting {setting!r}: write KEY=VALUE, such as splits.test=0.1")
        try:
            value = parse_yaml(text)
        except ValueError as error:
            named = f"setting {shown(setting)!r}"
            raise UsageError(f"{named}: the value is not YAML ({error})") from error
        *parents, last = path.split(".")
        target = result
        for name in parents:
            key = _key(target, name, setting)
            target = target.setdefault(key, {}) if isinstance(target, dict) else target[key]
        target[_key(target, last, setting)] = value
    return result


def from_mapping(cls: type[T], content: Mapping[str, Any], where: str) -> T:
    """Check a mapping against a dataclass and make one of it.

    Args:
        cls: dataclass, whose fields may be dataclasses too.
        content: plain data.
        where: name of the data in messages, such as the recipe's file.

    Raises:
        UsageError: naming the key: unknown, missing, of a wrong type, not finite or out of range.
    """
    _check_finite(content, where, "")
    hints, parameters = typing.get_type_hints(cls), inspect.signature(cls).parameters
    check_keys(content, parameters, where)
    values = {key: _convert(hints[key], value, f"{where}: {key}") for key, value in content.items()}
    for name, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and name not in values:
            raise UsageError(f"{where}: {name!r} is missing")
    try:
        return cls(**values)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error


def build_effect(
    spec: Mapping[str, Any], where: str, sensor: SensorProfile | None = None
) -> Effect:
    """Make the effect that `spec` names, with its parameters.

    Args:
        spec: `{name: ..., parameter: value, ...}`. A folder of recordings is given by its path,
            relative to the current folder.
        where: name of the recipe in messages.
        sensor: value of parameters called `sensor`.
    """
    return build(EFFECTS, spec, where, sensor=sensor, convert=_convert)


def takes_recordings(hint: Any) -> bool:
    """Tell whether a parameter of this type is given as a folder of recordings."""
    return hint is Recordings or Recordings in typing.get_args(hint)


def build_simulator(
    effects: Sequence[Mapping[str, Any]], sample_rate: int, sensor: SensorProfile | None, where: str
) -> Simulator:
    """Make a simulator from the `effects` of a recipe.

    Raises:
        UsageError: as `build_effect`, or if the sensor was fitted at another rate.
    """
    if len(effects) > MAX_EFFECTS:
        raise UsageError(f"{where}: {len(effects)} effects; it takes {MAX_EFFECTS} at most")
    built = tuple(build_effect(spec, where, sensor) for spec in effects)
    if sensor is not None and sensor.sample_rate != sample_rate:
        raise UsageError(
            f"sensor {sensor.name!r} was fitted at {sensor.sample_rate} Hz, {where} wants "
            f"{sample_rate}; set sample_rate, or fit the sensor again at that rate"
        )
    for effect in built:
        wanted = getattr(effect, "sample_rate", sample_rate)
        if wanted != sample_rate:
            raise UsageError(
                f"{where}: {EFFECTS.name_of(type(effect))} works at {wanted} Hz, not at "
                f"{sample_rate}; set sample_rate"
            )
    return Simulator(built, sample_rate)


def resolve_effect(effect: Effect) -> dict[str, Any]:
    """Return an effect as a recipe would write it, every default spelled out."""
    spec: dict[str, Any] = {"name": EFFECTS.name_of(type(effect))}
    for field in dataclasses.fields(effect):
        value = getattr(effect, field.name)
        if isinstance(value, SensorProfile | Seed):
            continue  # the sensor stands beside the recipe, and a seed has nothing to set
        if isinstance(value, NoiseFolder):
            value = str(value.folder)
        elif isinstance(value, Distribution):
            value = distribution_to_data(value)
        spec[field.name] = value
    return spec


def distribution_to_data(distribution: Distribution) -> Any:
    """Return a distribution as a recipe would write it; see `distribution_from_data`."""
    if isinstance(distribution, Constant):
        return distribution.value
    name = next(key for key, cls in DISTRIBUTIONS.items() if type(distribution) is cls)
    if isinstance(distribution, Choice):
        return {name: list(distribution.values)}
    arguments = [getattr(distribution, f.name) for f in dataclasses.fields(distribution)]
    return {name: [value for value in arguments if value is not None]}


def distribution_from_data(data: Any, where: str) -> Distribution:
    """Read a distribution: a number, or `{uniform: [low, high]}` and the like.

    Example:
        >>> distribution_from_data({"normal": [0, 2]}, "gain_db")
        Normal(mean=0, std=2, size=None)
    """
    if isinstance(data, bool) or not isinstance(data, int | float | str | Mapping):
        raise UsageError(f"{where}: {data!r} is neither a number nor a distribution")
    if not isinstance(data, Mapping):
        return Constant(convert_plain(float, data, where))
    if len(data) != 1:
        raise UsageError(f"{where}: a distribution has one key, such as {{uniform: [0, 1]}}")
    name, arguments = next(iter(data.items()))
    if name not in DISTRIBUTIONS:
        raise UsageError(
            f"{where}: unknown distribution {name!r}{did_you_mean(name, DISTRIBUTIONS)}"
        )
    cls = DISTRIBUTIONS[name]
    numbers = arguments if isinstance(arguments, list) else [arguments]
    if any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
        raise UsageError(f"{where}: {name} wants numbers, not {arguments!r}")
    try:
        return Choice(tuple(numbers)) if cls is Choice else cls(*numbers)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where}: {name} {arguments!r}: {error}") from error


def _convert(hint: Any, value: Any, where: str) -> Any:
    if Distribution in (hint, *typing.get_args(hint)):
        return distribution_from_data(value, where)
    if takes_recordings(hint) and isinstance(value, str | Path):
        try:
            return NoiseFolder(Path(value))
        except InputError as error:
            raise UsageError(f"{where}: {error}") from error
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise UsageError(f"{where}: {value!r} is no mapping of keys to values")
        return from_mapping(hint, value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType) and value is not None:
        nested = [option for option in arguments if dataclasses.is_dataclass(option)]
        if nested and isinstance(value, Mapping):
            return _convert(nested[0], value, where)
    return convert_plain(hint, value, where)


def _check_finite(value: Any, where: str, key: str) -> None:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check_finite(inner, where, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            _check_finite(inner, where, f"{key}[{number}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{where}: {shown(key)} is {value}; it wants a finite number")


def _key(container: Any, key: str, setting: str) -> Any:
    """Return the key of a mapping, or the position in a list, that a part of a setting names."""
    if isinstance(container, dict):
        return key
    if not isinstance(container, list):
        raise UsageError(f"setting {setting!r}: {key!r} stands below a value that holds no keys")
    names = [entry.get("name") if isinstance(entry, dict) else None for entry in container]
    if key in names:
        return names.index(key)
    if key.isdecimal() and int(key) < len(container):
        return int(key)
    known = [name for name in names if name]
    raise UsageError(f"setting {setting!r}: unknown entry {key!r}{did_you_mean(key, known)}")
