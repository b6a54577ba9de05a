"""Registries: the one way in which a name in a recipe becomes a class, a function or an object.

A registry belongs to a package (`bcsim.effects`, `bcsim.models`, ...). Reading it for the first
time imports every module of that package, then the plugins that other distributions declare under
the entry-point group of the same name. A new effect is therefore one new file.

`build` makes whatever a recipe names: effect, loss, adversarial criterion, model or discriminator.
"""

import dataclasses
import functools
import importlib
import inspect
import json
import math
import pkgutil
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError

from bcsim.errors import UsageError, did_you_mean, fit_line, one_line

T = TypeVar("T")
S = TypeVar("S")
Convert = Callable[[Any, Any, str], Any]  # annotated type, plain data, name in messages

MAX_NUMBER = 1e9  # larger sizes are nobody's network, and would take all memory
MAX_ITEMS = 256  # of a list that is a parameter: levels, periods, resolutions
MAX_TOLD = 80  # characters of a refused value in a message


class Registry(Mapping[str, T], Generic[T]):
    """Names to objects, filled by the decorator `register`.

    Args:
        kind: what an entry is, in the singular, for messages ("effect").
        package: the package whose modules register the entries ("bcsim.effects"); it is also the
            entry-point group for plugins.

    Example:
        >>> colours = Registry("colour", "bcsim.dsp")
        >>> @colours.register("red")
        ... class Red: ...
        >>> "red" in colours
        True
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._entries: dict[str, T] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[S], S]:
        """Return a decorator that enters its object under `name`, which has to be free."""

        # The entry keeps its own type: a decorated class is not merely what the registry holds.
        def enter(entry: S) -> S:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = cast(T, entry)
            return entry

        return enter

    def name_of(self, entry: object) -> str:
        """Return the name under which `entry` was registered, or raise a KeyError."""
        for name in self:
            if self._entries[name] is entry:
                return name
        raise KeyError(f"{entry!r} is not a registered {self.kind}")

    def __getitem__(self, name: str) -> T:
        self._load()
        if name not in self._entries:
            raise UsageError(f"unknown {self.kind} {name!r}{did_you_mean(name, self._entries)}")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        self._load()
        return len(self._entries)

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        for module in pkgutil.iter_modules(importlib.import_module(self.package).__path__):
            importlib.import_module(f"{self.package}.{module.name}")
        for plugin in entry_points(group=self.package):
            if plugin.name not in self._entries:
                self.register(plugin.name)(plugin.load())


def build(
    registry: Registry[type[T]],
    spec: Mapping[str, Any],
    where: str = "",
    *,
    sensor: Any = None,
    sample_rate: int | None = None,
    convert: Convert | None = None,
    within: AbstractContextManager[Any] | None = None,
) -> T:
    """Make the registered class that `spec` names, with the parameters that it gives.

    Args:
        registry: registry in which the name is looked up.
        spec: `{name: ..., parameter: value, ...}`.
        where: place of the spec in messages, such as the name of the recipe's file.
        sensor: value of a parameter called `sensor`, which a spec cannot give.
        sample_rate: value of a parameter called `sample_rate` that the spec does not give, in Hz.
        convert: function that makes a parameter's value of plain data; `convert_plain` by default.
        within: context entered only while the object is made, such as a stream of random numbers:
            looking the class up may import modules, which must not change what is drawn.

    Raises:
        UsageError: for an unknown name or parameter, a missing parameter or sensor, or a value of
            another type than the constructor's or that it refuses.
    """
    name = spec.get("name") if isinstance(spec, Mapping) else None
    if not isinstance(name, str):
        place = f"{where}: " if where else ""
        told = fit_line(repr(spec))
        raise UsageError(f"{place}a {registry.kind} is a mapping with a name, not {told}")
    cls = registry[name]
    place, separator = (f"{where}: {name}", ".") if where else (f"{registry.kind} {name!r}", ": ")
    hints, parameters = parameter_types(cls), inspect.signature(cls).parameters
    given = {key: value for key, value in spec.items() if key != "name"}
    check_keys(given, [key for key in parameters if key != "sensor"], place)
    convert = convert or convert_plain
    values = {}
    for key, value in given.items():
        told = f"{place}{separator}{key}"
        if isinstance(value, int | float) and MAX_NUMBER < abs(value) < math.inf:
            raise UsageError(f"{told} is {fit_line(repr(value), MAX_TOLD)}; it wants 1e9 or less")
        value = values[key] = convert(hints.get(key, Any), value, told)
        if isinstance(value, Collection) and len(value) > MAX_ITEMS and not isinstance(value, str):
            raise UsageError(f"{told} has {len(value)} entries; it takes {MAX_ITEMS} at most")
    if "sensor" in parameters:
        if sensor is None:
            raise UsageError(f"{place} needs a sensor; name its file or a bundled one")
        values["sensor"] = sensor
    if sample_rate is not None and "sample_rate" in parameters:
        values.setdefault("sample_rate", sample_rate)
    for key, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and key not in values:
            wanted = getattr(hints.get(key), "written_as", "")
            remedy = f"; name {wanted}" if wanted else ""
            raise UsageError(f"{place}: the parameter {key!r} is missing{remedy}")
    with within or nullcontext():
        try:
            return cls(**values)
        except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: sizes beyond torch
            raise UsageError(f"{place}: {one_line(error)}") from error


def parameter_types(cls: type) -> dict[str, Any]:
    """Return the annotated types of the parameters that a class is made with."""
    return typing.get_type_hints(cls if dataclasses.is_dataclass(cls) else cls.__init__)


def check_keys(content: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Raise a UsageError for the first unknown key of a mapping, naming the nearest known one."""
    for key in content:
        if key not in known:
            raise UsageError(f"{where}: unknown key {key!r}{did_you_mean(str(key), known)}")


def convert_plain(hint: Any, value: Any, where: str, *, strict: bool = False) -> Any:
    """Return a value of plain data in the annotated type `hint` of a parameter.

    With `strict`, text that could be read as a number is refused: JSON has numbers of its own.

    Raises:
        UsageError: naming `where`, if the value is not of that type, or no finite number.

    Example:
        >>> convert_plain(tuple[float, ...], [1, "3e-4"], "betas")
        (1.0, 0.0003)
    """
    if not _mentions(hint, (bool, Any)) and (found := _first_bool(value)) is not None:
        raise UsageError(f"{where} is {found}; it wants a number")
    config = ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)
    try:
        adapter = TypeAdapter(hint, config=config)
        converted = adapter.validate_python(value)
        return adapter.validate_json(json.dumps(value), strict=True) if strict else converted
    except ValidationError as error:
        message = error.errors()[0]["msg"].lower()
        raise UsageError(f"{where}: {message}, not {fit_line(repr(value), MAX_TOLD)}") from error


def _mentions(hint: Any, kinds: tuple[Any, ...]) -> bool:
    """Tell whether an annotated type is one of some, or has one of them in it."""
    return hint in kinds or any(_mentions(inner, kinds) for inner in typing.get_args(hint))


def _first_bool(value: Any) -> bool | None:
    """Return the first truth value within plain data, which would pass for the number 0 or 1."""
    if isinstance(value, bool):
        return value
    inner = value.values() if isinstance(value, Mapping) else value
    nested = inner if isinstance(inner, Collection) and not isinstance(inner, str) else ()
    return next((found for item in nested if (found := _first_bool(item)) is not None), None)


convert_stored = functools.partial(convert_plain, strict=True)  # for the configs of networks
