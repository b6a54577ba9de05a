"""A folder that is whole or absent: written beside its place, then renamed."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from bcsim.errors import EnvironmentFault, UsageError
from bcsim.files.atomic import environment_faults, not_a_link, sync, sync_folders
from bcsim.files.hashing import hash_text

_LOCK_NAME = ".lock"


@contextlib.contextmanager
def staged_folder(out: Path, replace: bool = False) -> Iterator[Path]:
    """Give an empty folder to write to; on leaving, it becomes `out`.

    After an error it is removed; what a killed run left there is thrown away by the next one.

    Args:
        out: new or empty folder.
        replace: `out` may hold something, which goes when the new one is whole.

    Raises:
        UsageError: if `out` is a link, or there and not an empty folder.
        EnvironmentFault: if another run is writing there, or the disk is full or forbidden.
    """
    if out.is_symlink():
        raise UsageError(f"{out}: is a link; give the folder that it leads to as --out")
    out = out.resolve()
    if not replace and not is_free(out):
        raise UsageError(f"{out}: is there already, and not empty; choose another --out")
    staging, aside = (
        out.with_name(f".{hash_text(out.name)[:16]}.{ending}") for ending in ("part", "old")
    )
    with environment_faults(out):
        if staging.is_symlink():  # none of ours; what it leads to is left alone
            staging.unlink()
        staging.mkdir(parents=True, exist_ok=True)
        with open(staging / _LOCK_NAME, "w", opener=not_a_link) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise EnvironmentFault(
                    f"{out}: another run is writing there; wait for it, or choose another --out"
                ) from None
            try:
                _empty(staging)
                yield staging
                sync_folders(staging)
                shutil.rmtree(aside, ignore_errors=True)  # a killed run's
                if replace and out.is_dir():
                    os.replace(out, aside)  # at once: half of it would be nobody's folder
                os.replace(staging, out)
                (out / _LOCK_NAME).unlink()  # until now, nobody else could begin here
                for folder in (out, out.parent):
                    sync(folder)
                shutil.rmtree(aside, ignore_errors=True)
            except BaseException:
                shutil.rmtree(staging, ignore_errors=True)
                raise


def is_free(out: Path) -> bool:
    """Tell whether a folder is not there, or empty."""
    return not out.exists() or (out.is_dir() and not any(out.iterdir()))


def check_disjoint(source: Path, out: Path) -> None:
    """Refuse an output inside its input, or around it; links are followed, also endless ones.

    Raises:
        UsageError: if they do.
    """
    inside, outside = (Path(os.path.realpath(path)) for path in (source, out))
    if inside == outside or inside in outside.parents or outside in inside.parents:
        raise UsageError(f"{out}: --out and the input must not contain each other; choose another")


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != _LOCK_NAME:
            path.unlink()
