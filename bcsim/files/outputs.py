"""Where a command may write: one rule for all of them, looked at before any work starts.

- No output is an input. Files and folders are compared by device and inode, so that neither links,
  hard or symbolic, nor another spelling of a name hide one.
- No output is written through a link that is found at the output, or below an output folder.
- What is there already stays, unless the command wrote it or was told to overwrite it.
"""

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from bcsim.errors import UsageError
from bcsim.files.tree import walk

NUM_NAMED = 3  # files that are in the way

Inputs = Iterable[Path | None]


def nothing(path: Path) -> bool:
    """Tell that a path is of no earlier run: for a command that writes to new places alone."""
    return False


def check_output_file(
    out: Path,
    inputs: Inputs,
    is_own: Callable[[Path], bool] = nothing,
    overwrite: bool = False,
) -> None:
    """Check that a file may be written.

    Args:
        out: output file, which need not exist.
        inputs: input files and folders; None and missing ones are passed over.
        is_own: function that tells whether an existing file may be replaced unasked, because the
            command wrote it.
        overwrite: whether any other existing file may be replaced.

    Raises:
        UsageError: if the file is an input, a link, a folder, below a file, or somebody else's.
    """
    check_not_input(out, inputs)
    check_is_no_link(out)
    _check_above(out)
    if out.is_dir():
        raise UsageError(f"{out}: is a folder; choose another output")
    if out.exists() and not overwrite and not is_own(out):
        raise UsageError(
            f"{out}: is there already, and this command did not write it; choose another output, "
            "or overwrite it"
        )


def check_output_folder(
    out: Path,
    inputs: Inputs,
    is_own: Callable[[Path], bool] = nothing,
    overwrite: bool = False,
    links_below: bool = False,
) -> None:
    """Check that a folder may be written to.

    Args:
        out: output folder, which need not exist.
        inputs: input files and folders; None and missing ones are passed over.
        is_own: function that tells whether an output folder with something in it is one that the
            command may continue or replace.
        overwrite: whether any other folder may be written to.
        links_below: whether links to folders may be below, since each target is looked at
            (`check_targets`).

    Raises:
        UsageError: if the folder is a link, a file or below one, contains an input or is in one,
            holds a link to a folder, or is somebody else's.
    """
    for path in inputs:
        if path is not None:
            check_disjoint(path, out)
    check_is_no_link(out)
    _check_above(out)
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; choose another output folder")
    if not (overwrite or is_free(out) or is_own(out)):
        raise UsageError(
            f"{out}: is not empty, and holds what this command did not write; choose another "
            "output folder"
        )
    for parent, folders, _ in () if links_below else walk(out):
        for name in folders:
            check_is_no_link(parent / name)


def check_targets(
    out: Path,
    targets: Iterable[Path],
    inputs: Inputs,
    is_own: Callable[[Path], bool] = nothing,
    overwrite: bool = False,
) -> None:
    """Check files that are to be written below a folder, in which other things may be.

    Args:
        out: output folder.
        targets: paths of the files, below `out`.
        inputs: input files; None and missing ones are passed over.
        is_own: function that tells whether an existing target may be replaced unasked.
        overwrite: whether other existing targets may be replaced.

    Raises:
        UsageError: if a target is an input, a link, a folder, below a link, or somebody else's.
    """
    inside = os.path.realpath(out)
    taken = {identity for path in inputs if (identity := _identity(path)) is not None}
    looked_at: set[Path] = set()
    in_the_way: list[Path] = []
    for target in targets:
        if target.parent not in looked_at:
            looked_at.add(target.parent)
            place = os.path.normpath(os.path.join(inside, os.path.relpath(target.parent, out)))
            if os.path.realpath(target.parent) != place:
                raise UsageError(
                    f"{target.parent}: leads elsewhere through a link; remove it, or choose "
                    "another output folder"
                )
        identity = _identity(target)
        if identity is None and not target.is_symlink():
            continue
        if identity in taken:
            raise UsageError(f"{target}: is an input; choose another output folder")
        if target.is_dir():
            raise UsageError(f"{target}: is a folder; choose another output folder")
        if not overwrite and not is_own(target):
            in_the_way.append(target)
    if in_the_way:
        names = ", ".join(path.relative_to(out).as_posix() for path in in_the_way[:NUM_NAMED])
        more = f" and {len(in_the_way) - NUM_NAMED} more" if len(in_the_way) > NUM_NAMED else ""
        raise UsageError(
            f"{out}: holds {names}{more}, which this command did not write; choose another output "
            "folder, or overwrite it"
        )


def check_not_input(out: Path, inputs: Inputs) -> None:
    """Raise a UsageError if an output is an input, under this or another name."""
    for path in inputs:
        with contextlib.suppress(OSError):  # one of the two is not there
            if path is not None and path.samefile(out):
                raise UsageError(f"{out}: the output is an input ({path}); choose another output")


def check_disjoint(source: Path, out: Path) -> None:
    """Raise a UsageError if an output folder contains an input or is in it, links followed."""
    inside, outside = (Path(os.path.realpath(path)) for path in (source, out))
    if _is_within(inside, outside) or _is_within(outside, inside):
        raise UsageError(
            f"{out}: output folder and input must not contain each other; choose another"
        )


def _is_within(path: Path, folder: Path) -> bool:
    """Tell whether a path is a folder or lies in it, by its name or by what is there."""
    above = (path, *path.parents)
    found = _identity(folder)
    return folder in above or (found is not None and found in map(_identity, above))


def _identity(path: Path | None) -> tuple[int, int] | None:
    """Return device and inode of what is there, links followed, or None for nothing."""
    try:
        status = None if path is None else path.stat()
    except OSError:
        return None
    return None if status is None else (status.st_dev, status.st_ino)


def check_is_no_link(out: Path) -> None:
    """Raise a UsageError if an output is a link."""
    if out.is_symlink():
        raise UsageError(
            f"{out}: is a link, which nothing is written through; remove it, or choose another "
            "output"
        )


def _check_above(out: Path) -> None:
    """Raise a UsageError if an output would lie below a file, or a link that leads nowhere."""
    for above in out.parents:
        if os.path.lexists(above):
            if not above.is_dir():
                what = "a link that leads to no folder" if above.is_symlink() else "a file"
                raise UsageError(f"{out}: {above.name} is {what}, no folder; choose another output")
            return


def is_free(out: Path) -> bool:
    """Tell whether a folder is not there, or empty."""
    return not out.exists() or (out.is_dir() and not any(out.iterdir()))
