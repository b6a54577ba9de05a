"""Optional packages, imported when they are needed and named when they are missing."""

import importlib
from types import ModuleType

from bcsim.errors import UsageError


def optional_import(module: str, extra: str) -> ModuleType:
    """Import an optional package.

    Args:
        module: what to import, such as `"pystoi"`.
        extra: the extra of bcsim that installs it.

    Raises:
        UsageError: if it is not installed; the message is the command that mends it.

    Example:
        >>> optional_import("json", extra="train").__name__
        'json'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise  # the package is there, and one of *its* needs is not: show that
        raise UsageError(
            f"{module.split('.')[0]} is not installed; run: pip install 'bcsim[{extra}]'"
        ) from None
