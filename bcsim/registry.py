"""Registries: the one way in which a name in a recipe becomes a class or a function.

A registry belongs to a package (`bcsim.effects`, `bcsim.models`, ...). Reading it for the first
time imports every module of that package, then the plugins that other distributions declare under
the entry-point group of the same name. A new effect is therefore one new file.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar, cast

from bcsim.errors import UsageError, did_you_mean, one_line

T = TypeVar("T")
S = TypeVar("S")


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
        """Return a decorator that enters its object under `name`.

        Raises:
            ValueError: if the name is taken by another object.
        """

        # The entry keeps its own type: a decorated class is not merely what the registry holds.
        def enter(entry: S) -> S:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = cast(T, entry)
            return entry

        return enter

    def name_of(self, entry: object) -> str:
        """Return the name under which `entry` was registered.

        Raises:
            KeyError: if it never was.
        """
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


def constructor(
    registry: Registry[type[T]], spec: Mapping[str, Any], where: str = ""
) -> Callable[[], T]:
    """Look up the class that `spec` names; what is returned makes one of it.

    Two steps, because looking up may import: what is drawn while a network is made must not depend
    on whether that has been done.

    Args:
        registry: where the name is looked up.
        spec: `{name: ..., parameter: value, ...}`.
        where: what to call it in messages, if it has a place.

    Raises:
        UsageError: for an unknown name; when called, for an unknown parameter, or a value that the
            class refuses.
    """
    parameters = dict(spec)
    name = parameters.pop("name", None)
    if not isinstance(name, str):
        place = f"{where}: " if where else ""
        raise UsageError(f"{place}a {registry.kind} is a mapping with a name, not {dict(spec)!r}")
    registered = registry[name]

    def make() -> T:
        try:
            return registered(**parameters)
        except UsageError:
            raise
        except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: sizes beyond torch
            raise UsageError(f"{registry.kind} {name!r}: {one_line(error)}") from error

    return make
