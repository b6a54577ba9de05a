"""Names that are registered in a package, for `--help`: importing its modules imports torch."""

import importlib.util
import pkgutil
import re
from importlib.metadata import entry_points
from pathlib import Path


def registered_names(package: str) -> list[str]:
    """Return the names in the registry of a package, sorted, from its files' text."""
    spec = importlib.util.find_spec(package)
    folders = [] if spec is None else spec.submodule_search_locations or []
    found = {plugin.name for plugin in entry_points(group=package)}
    for module in pkgutil.iter_modules(folders):
        for folder in folders:
            text = Path(folder, f"{module.name}.py").read_text("utf-8")
            found.update(re.findall(r'^@[A-Z_]+\.register\("([^"]+)"\)', text, re.M))
    return sorted(found)
