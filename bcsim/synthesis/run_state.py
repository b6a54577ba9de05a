"""The folder of a dataset in the making: whose it is, and whether a run may go on there."""

import contextlib
import fcntl
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from bcsim.datasets.checksums import CARD_NAME, RECIPE_NAME, SUMS_NAME, stored_entries
from bcsim.datasets.journal import JOURNAL_NAME, Journal
from bcsim.datasets.manifest import DATASET_FILE, MANIFEST_NAME, SIGNALS, SPLITS
from bcsim.errors import EnvironmentFault, InputError, UsageError
from bcsim.files.atomic import (
    is_temporary,
    not_a_link,
    replacing,
    sweep_temporaries,
    sync,
    write_json,
)
from bcsim.files.text import parse_json, read_bytes, reason_of
from bcsim.workers.limits import sweep_semaphores

DATASET_NAME, PROFILE_NAME = DATASET_FILE, "profile.sensor"
STATE_FOLDER, RUN_NAME, LOCK_NAME = ".bcsim.tmp", "run.json", "lock"
WRITTEN_SUFFIXES = (".flac", ".wav")
MAX_METADATA_BYTES = 1 << 24  # a recipe may name thousands of things; more is none of ours

log = logging.getLogger(__name__)


@contextlib.contextmanager
def claimed(out: Path, overwrite: bool) -> Iterator[Path]:
    """Claim the output folder; the kernel lets go of the lock when the process ends.

    Raises:
        UsageError: if it is a file, a link, holds one, or is the folder of something else.
        EnvironmentFault: if another run is at work there.
    """
    state = out / STATE_FOLDER
    if out.is_symlink():
        raise UsageError(f"{out}: is a link; give the folder that it leads to as --out")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; choose a folder for --out")
    ours = _is_ours(out / DATASET_NAME) or _is_ours(state / RUN_NAME) or _is_fresh(state)
    if out.is_dir() and not ours and any(out.iterdir()):
        raise UsageError(f"{out}: is not empty and no dataset of bcsim; choose another --out")
    _check_no_links(out)
    state.mkdir(parents=True, exist_ok=True)
    for folder in (out, out.parent):
        sync(folder)
    with open(state / LOCK_NAME, "a+", errors="replace", opener=not_a_link) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise EnvironmentFault(
                f"{out}: another run is writing there; wait for it, or choose another --out"
            ) from None
        _clean_up_after(lock)
        if overwrite:
            _clear(out)
        yield state


def _clean_up_after(lock: TextIO) -> None:
    """Remove what a killed run left to the system, and note down whose run this is."""
    lock.seek(0)
    earlier = lock.read(32)
    if earlier.isdecimal() and len(earlier) < 10:
        sweep_semaphores(int(earlier))
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()


def _check_no_links(out: Path) -> None:
    """Refuse a folder in which a link leads elsewhere: what is written there would go there."""
    for parent, folders, _ in os.walk(out):
        for name in folders:
            if (path := Path(parent, name)).is_symlink():
                raise UsageError(f"{path}: is a link; remove it, or choose another --out")


def read_dataset_metadata(path: Path) -> dict[str, Any]:
    """Return what a dataset, or a run that makes one, says of itself.

    Raises:
        InputError: if that cannot be read, or is no account of bcsim.
    """
    text = read_bytes(path, MAX_METADATA_BYTES, "the account of a dataset of bcsim")
    try:
        content = parse_json(text)
    except ValueError as error:
        raise InputError(
            f"{path}: damaged ({reason_of(error)}); begin anew in another place"
        ) from error
    wanted = {"schema": int, "bcsim": str, "recipe": dict, "seed": int}
    if isinstance(content, dict) and wanted == {key: type(content.get(key)) for key in wanted}:
        return content
    raise InputError(f"{path}: is no account of a dataset of bcsim; begin anew in another place")


def _is_ours(path: Path) -> bool:
    """Tell whether a JSON file is the account of a dataset that bcsim wrote."""
    try:
        return bool(read_dataset_metadata(path))
    except InputError:
        return False


def _is_fresh(state: Path) -> bool:
    """Tell whether a run was killed before it had written anything but its lock."""
    if not state.is_dir():
        return False
    names = {path.name for path in state.iterdir() if not is_temporary(path.name)}
    return names <= {LOCK_NAME}


def _clear(out: Path) -> None:
    """Remove what bcsim wrote, and nothing else; last of all what says that it is bcsim's."""
    sweep_temporaries(out)
    for split in SPLITS:
        for name in SIGNALS:
            _clear_audio(out / split / name)
        (out / split / MANIFEST_NAME).unlink(missing_ok=True)
    for path in (out / STATE_FOLDER).glob(f"{JOURNAL_NAME}*"):
        path.unlink()
    for name in (RECIPE_NAME, PROFILE_NAME, CARD_NAME, SUMS_NAME, DATASET_NAME):
        (out / name).unlink(missing_ok=True)
    (out / STATE_FOLDER / RUN_NAME).unlink(missing_ok=True)


def _clear_audio(folder: Path) -> None:
    """Remove audio files such as bcsim writes, and the folders that are empty then."""
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            path = Path(parent, name)
            if path.suffix in WRITTEN_SUFFIXES and path.is_file() and not path.is_symlink():
                path.unlink()
        with contextlib.suppress(OSError):
            os.rmdir(parent)


def check_settings(out: Path, state: Path, settings: Mapping[str, Any]) -> None:
    """Refuse to go on with a run of other settings; note down the settings of a new one."""
    begun = state / RUN_NAME
    earlier_path = begun if begun.is_file() else out / DATASET_NAME
    if not earlier_path.is_file():
        write_json(begun, dict(settings))
        return
    account = read_dataset_metadata(earlier_path)
    earlier = {key: account.get(key) for key in settings}
    difference = find_difference(earlier, settings)
    if difference is not None:
        if not begun.is_file():
            shutil.rmtree(state)
        raise UsageError(
            f"{out}: made with {difference}; nothing was changed: use the same settings, another "
            "--out, or --overwrite"
        )
    if not begun.is_file():
        _reopen(out, state)
        write_json(begun, dict(settings))


def find_difference(earlier: Any, now: Any, name: str = "") -> str | None:
    """Return the first difference of two settings, such as "seed 0, now 1", or None."""
    if isinstance(earlier, dict) and isinstance(now, dict):
        pairs = [(key, earlier.get(key), now.get(key)) for key in {**now, **earlier}]
    elif isinstance(earlier, list) and isinstance(now, list) and len(earlier) == len(now):
        pairs = list(zip(range(len(now)), earlier, now, strict=True))
    else:
        return None if earlier == now else f"{name} {earlier!r}, now {now!r}"
    found = (find_difference(a, b, f"{name}.{key}".lstrip(".")) for key, a, b in pairs)
    return next((difference for difference in found if difference is not None), None)


def _reopen(out: Path, state: Path) -> None:
    """Make a journal of a finished dataset, so that what is missing there is rendered."""
    with replacing(state / JOURNAL_NAME) as temporary, temporary.open("w+b") as file:
        journal = Journal(file)
        for split in SPLITS:
            begin = file.seek(0, os.SEEK_END)
            try:
                for _, entry in stored_entries(out, split):
                    journal.add(entry)
            except InputError as error:
                file.truncate(begin)
                log.warning("%s; %s is rendered again", error, split)
