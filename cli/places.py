"""What stands for files and folders on the command line, looked at before any work starts."""

import errno
import os
import stat
from pathlib import Path
from typing import Any

import click

from bcsim.files.opening import KINDS
from bcsim.files.text import check_text

from .unexpected_errors import OF_NAMES

_REASONS = {
    **OF_NAMES,
    errno.EACCES: "permission denied; give another one, or ask for permission",
}


class Place(click.Path):
    """A file or a folder, which need not be there; a pipe or a device is refused.

    Args:
        is_output: whether the command writes to it.
    """

    def __init__(self, is_output: bool = False) -> None:
        super().__init__(path_type=Path)  # permissions are the environment's: exit code 5
        self.is_output = is_output

    def convert(
        self,
        value: "str | os.PathLike[str]",
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:
        _check_place(self, value, param, ctx)
        if self.is_output:
            try:
                check_text("the name", os.fspath(value), several_lines=False)
            except ValueError:
                told = "the name holds control characters, or bytes that are no text"
                self.fail(f"{value}: {told}; give another one", param, ctx)
        return super().convert(value, param, ctx)


class NameOrPlace(click.ParamType):
    """A file or a folder, or the name of something that comes with bcsim or from a hub."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        _check_place(self, value, param, ctx)
        return value


def _check_place(
    kind: click.ParamType, value: Any, param: click.Parameter | None, ctx: click.Context | None
) -> None:
    """Refuse an empty name, one that no file can have, and what is neither file nor folder."""
    name = os.fspath(value)
    if not name:  # which stands for the working folder elsewhere
        kind.fail("the name is empty; give one, or . for the working folder", param, ctx)
    try:
        kind_there = stat.S_IFMT(os.stat(name).st_mode)
        found = None if kind_there == stat.S_IFDIR else KINDS.get(kind_there)
    except OSError as error:  # nothing there is told by the command, which may make it
        found = _REASONS.get(error.errno or 0)
    else:
        found = found and f"{found}; give a file or a folder"
    if found is not None:
        kind.fail(f"{name}: {found}", param, ctx)
