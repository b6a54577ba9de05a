"""The output folder of `synthesize` and `merge`: lock, settings, and what a run resumes from."""

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bcsim.datasets.checksums import written_pairs
from bcsim.datasets.dataset import parse_dataset_metadata, read_dataset_metadata
from bcsim.datasets.manifest import (
    CARD_NAME,
    DATASET_NAME,
    MANIFEST_NAME,
    PROFILE_NAME,
    RECIPE_NAME,
    SIGNALS,
    SPLITS,
    STATE_FOLDER,
    SUMS_NAME,
)
from bcsim.errors import InputError, UsageError
from bcsim.files.atomic import is_temporary, replacing, sweep_temporaries, sync, to_json, write_text
from bcsim.files.outputs import Inputs, check_output_folder
from bcsim.files.run_folder import check_same_settings, locked
from bcsim.files.tree import make_folders, remove_tree, walk
from bcsim.synthesis.journal import JOURNAL_NAME, Journal
from bcsim.synthesis.rendering import RenderingOptions
from bcsim.workers.limits import sweep_semaphores

RUN_NAME, LOCK_NAME = "run.json", "lock"  # in the state folder
WRITTEN_SUFFIXES = (".flac", ".wav")

log = logging.getLogger(__name__)


@contextlib.contextmanager
def locked_output(out: Path, overwrite: bool) -> Iterator[Path]:
    """Lock an output folder, in which files are written in place.

    It may be missing, empty, a dataset, or an unfinished one; with `overwrite`, the dataset that
    is there is removed once the folder is locked.

    Yields:
        The state folder below the output folder, for what the run needs to be resumed.

    Raises:
        UsageError: if the folder is a file, a link, holds a link, or belongs to something else.
        EnvironmentFault: if another run is writing there.
    """
    state = out / STATE_FOLDER
    check_dataset_folder(out, ())
    make_folders(state)
    for folder in (out, out.parent):
        sync(folder)
    with locked(out, state / LOCK_NAME) as lock:
        # The lock holds the process id of the last run, whose semaphores a kill has left.
        lock.seek(0)
        earlier = lock.read(32)
        if earlier.isdecimal() and len(earlier) < 10:
            sweep_semaphores(int(earlier))
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        if overwrite:
            _clear(out)
        yield state


def check_dataset_folder(out: Path, inputs: Inputs) -> None:
    """Check that a folder may become a dataset: it is new, empty, or a dataset, perhaps unfinished.

    Args:
        out: output folder.
        inputs: files and folders that the dataset is made of.

    Raises:
        UsageError: as `check_output_folder` does.
    """
    check_output_folder(out, inputs, _is_dataset)


def _is_dataset(out: Path) -> bool:
    state = out / STATE_FOLDER
    return _is_ours(out / DATASET_NAME) or _is_ours(state / RUN_NAME) or _is_fresh(state)


def _is_ours(path: Path) -> bool:
    """Tell whether a JSON file is the metadata of a dataset that bcsim wrote."""
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
    """Remove what bcsim wrote, and nothing else; the files that mark it as bcsim's go last."""
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
    folders = []
    for place, _, names in walk(folder):
        folders.append(place)
        for path in (place / name for name in names):
            if path.suffix in WRITTEN_SUFFIXES and path.is_file() and not path.is_symlink():
                path.unlink()
    for place in reversed(folders):
        with contextlib.suppress(OSError):
            place.rmdir()


def continue_or_begin(out: Path, state: Path, settings: Mapping[str, Any]) -> None:
    """Check the settings of the run or dataset that is there; note down those of a new run.

    The settings are everything that decides what the pairs are; an option that was not there yet
    when the run was begun had its default. A finished dataset is opened again: its pairs go to the
    journal of the run, which renders what is missing.

    Raises:
        UsageError: if what is there was made with other settings.
    """
    begun, finished = state / RUN_NAME, out / DATASET_NAME
    earlier = next((path for path in (begun, finished) if path.is_file()), None)
    if earlier is not None:
        metadata = read_dataset_metadata(earlier)
        try:
            begun_with = {**RenderingOptions().settings(), **metadata}
            check_same_settings(out, {key: begun_with.get(key) for key in settings}, settings)
        except UsageError:
            if earlier == finished:
                remove_tree(state)  # as it was, then
            raise
    if earlier == finished:
        _reopen(out, state)
    if earlier != begun:
        text = to_json(dict(settings))
        parse_dataset_metadata(text.encode("utf-8"), begun)  # which finishing it will need
        write_text(begun, text)


def _reopen(out: Path, state: Path) -> None:
    """Make a journal of a finished dataset, so that what is missing there is rendered."""
    with replacing(state / JOURNAL_NAME) as temporary, temporary.open("w+b") as file:
        journal = Journal(file)
        for split in SPLITS:
            begin = file.seek(0, os.SEEK_END)
            try:
                for _, pair in written_pairs(out, split):
                    journal.add(pair)
            except InputError as error:
                file.truncate(begin)
                log.warning("%s; %s is rendered again", error, split)
