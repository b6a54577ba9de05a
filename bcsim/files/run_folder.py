"""The output folder of a run: one run at a time, continued with equal settings, or whole at once.

There are two ways to fill an output folder, each with a lock of its own:

- **In place** (`locked`): `synthesize`, `merge`, `train` and `demo` work in the folder itself.
  Files appear there one by one, each whole, and the same command continues a run that was killed.
  The lock is on a file inside the folder, which stays there for the next run.
- **Staged** (`staged_folder`): `convert`, `import` and `import-checkpoint` give a whole folder or
  none. They write to a hidden folder beside the output folder and rename it at the end; there is
  nothing to continue, and what a killed run left is thrown away. The output folder does not exist
  yet, so the lock is on a file in the hidden one; it goes once the folder has its final name. A
  run that was killed after that is finished by the same command: it finds the same content there.

Both locks are `flock`s: the kernel releases them when the process ends, however it ends, and a
second run in the same process is refused like one of another process. A forked child inherits the
open file, and with it the lock: it would keep the folder locked after its parent was killed, so
every child closes its copy first.
"""

import contextlib
import fcntl
import filecmp
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from bcsim.errors import EnvironmentFault, UsageError
from bcsim.files.atomic import environment_faults, not_a_link, sync, sync_folders
from bcsim.files.hashing import hash_text
from bcsim.files.outputs import check_is_no_link, is_free
from bcsim.files.text import shown
from bcsim.files.tree import make_folders, remove_tree, walk

LOCK_NAME = ".lock"
# What another hash means to whoever has to find out what was changed.
_HASHES = {
    "noise_sha256": "the recordings of noise are others, or silent ones and pauses in them were "
    "still drawn then, which are left out now",
    "sources_sha256": "recordings, their speakers or their splits are others",
    "speakers_sha256": "the speakers of recordings or their splits are others",
    "pairs_sha256": "the pairs are others, or were not synchronised then",
    "sensor_sha256": "the sensor is another",
}

_HELD: set[TextIO] = set()  # the locks of this process


@contextlib.contextmanager
def locked(out: Path, lock: Path) -> Iterator[TextIO]:
    """Keep every other run from writing to an output folder.

    Args:
        out: output folder, for the message.
        lock: path of the lock file, whose folder exists. The file is made if it is missing, and
            never removed here.

    Yields:
        The lock file, open for reading and appending: a run may leave a note there for the next.

    Raises:
        EnvironmentFault: if another run holds the lock, or the file cannot be made.
    """
    with contextlib.ExitStack() as stack:
        with environment_faults(out):
            file = stack.enter_context(open(lock, "a+", errors="replace", opener=not_a_link))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise EnvironmentFault(
                    f"{out}: another run is writing there; wait for it, or choose another folder"
                ) from None
        _HELD.add(file)
        stack.callback(_HELD.discard, file)
        yield file


def _close_inherited_locks() -> None:
    for file in _HELD:
        file.close()


os.register_at_fork(after_in_child=_close_inherited_locks)


@contextlib.contextmanager
def staged_folder(out: Path, replace: bool = False, again: bool = False) -> Iterator[Path]:
    """Give an empty folder to write to; on leaving, it becomes the output folder.

    After an error it is removed; what a killed run left there is thrown away by the next one.

    Args:
        out: new or empty output folder.
        replace: the output folder may hold something, which goes when the new one is whole.
        again: the output folder may hold what the new one will, file for file and byte for byte;
            it is left as it is then, but for the lock of a killed run.

    Raises:
        UsageError: if `out` is a link, or there and neither an empty folder nor what it may be.
        EnvironmentFault: if another run is writing there, or the disk is full or forbidden.
    """
    check_is_no_link(out)
    out = out.resolve()
    if not replace and not again:
        _check_free(out)
    staging, aside = (
        out.with_name(f".{hash_text(out.name)[:16]}.{ending}") for ending in ("part", "old")
    )
    with environment_faults(out):
        if staging.is_symlink():  # none of ours; what it leads to is left alone
            staging.unlink()
        make_folders(staging)
        with locked(out, staging / LOCK_NAME):
            try:
                clear_folder(staging, kept={LOCK_NAME})
                yield staging
                if again and not replace and not is_free(out):
                    if not _hold_the_same(staging, out):
                        _check_free(out)
                    remove_left_lock(out)
                    remove_tree(staging)
                    return
                sync_folders(staging)
                remove_tree(aside, ignore_errors=True)  # a killed run's
                if replace and out.is_dir():
                    os.replace(out, aside)  # at once: half of it would be nobody's folder
                os.replace(staging, out)
                (out / LOCK_NAME).unlink()  # until now, nobody else could begin here
                for folder in (out, out.parent):
                    sync(folder)
                remove_tree(aside, ignore_errors=True)
            except BaseException:
                remove_tree(staging, ignore_errors=True)
                raise


def remove_left_lock(out: Path) -> None:
    """Remove the lock that a killed run left in a folder which it had given its final name.

    Raises:
        EnvironmentFault: if the run is still at it.
    """
    lock = out / LOCK_NAME
    if lock.is_file():
        with locked(out, lock), environment_faults(lock):
            lock.unlink(missing_ok=True)
            sync(out)


def _check_free(out: Path) -> None:
    if not is_free(out):
        raise UsageError(f"{out}: is there already, and not empty; choose another output folder")


def _hold_the_same(one: Path, other: Path) -> bool:
    """Tell whether two folders hold the same files and folders, locks aside; no link is one."""
    found = [
        {
            (place / name).relative_to(folder): place / name
            for place, folders, files in walk(folder)
            for name in (*folders, *files)
        }
        for folder in (one, other)
    ]
    for paths in found:
        paths.pop(Path(LOCK_NAME), None)
    if found[0].keys() != found[1].keys():
        return False
    for name, path in found[0].items():
        there = found[1][name]
        if there.is_symlink() or path.is_dir() != there.is_dir():
            return False
        if not path.is_dir() and not filecmp.cmp(path, there, shallow=False):
            return False
    return True


def differences(begun: Any, now: Any, name: str = "") -> Iterator[str]:
    """Yield every difference between two settings, as JSON holds them, under the dotted `name`.

    Example:
        >>> list(differences({"seed": 0, "losses": [{"weight": 1}]}, {"losses": [{"weight": 2}]}))
        ['losses.0.weight 1, now 2', 'seed 0, now None']
    """
    if isinstance(begun, dict) and isinstance(now, dict):
        pairs = [(key, begun.get(key), now.get(key)) for key in {**now, **begun}]
    elif isinstance(begun, list) and isinstance(now, list) and len(begun) == len(now):
        pairs = list(zip(range(len(now)), begun, now, strict=True))
    else:
        if begun != now:
            yield f"{shown(name)} {shown(repr(begun))}, now {shown(repr(now))}"
        return
    for key, earlier, later in pairs:
        yield from differences(earlier, later, f"{name}.{key}".lstrip("."))


def check_same_settings(out: Path, begun: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise a UsageError if a run that was begun in `out` is to be continued with other settings.

    It names the first setting that differs, and both values; of a hash, what it is of.
    """
    found = [*differences(dict(begun), dict(now))]
    if found:
        more = f" (and {len(found) - 1} more differences)" if len(found) > 1 else ""
        meaning = told_by_hash(found[0].partition(" ")[0])
        raise UsageError(
            f"{out}: made with {found[0]}{more}{meaning}; nothing was changed: use the same "
            "settings, choose another output folder, or overwrite this one"
        )


def told_by_hash(setting: str) -> str:
    """Return what has changed where the hash in a setting has, to put behind it, or "".

    Args:
        setting: dotted name of the setting.
    """
    meaning = _HASHES.get(setting.rpartition(".")[2])
    return "" if meaning is None else f": {meaning}"


def clear_folder(folder: Path, kept: Collection[str]) -> None:
    """Remove everything in a folder but the files whose names are `kept`; follow no links."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            remove_tree(path)
        elif path.name not in kept:
            path.unlink()
