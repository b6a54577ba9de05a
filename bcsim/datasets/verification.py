"""Whether the files of a dataset are those that were written."""

import itertools
import os
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from bcsim.audio.infos import audio_infos
from bcsim.audio.read import read_audio
from bcsim.audio.validation.base import AudioInfo
from bcsim.datasets.checksums import Sums, read_sums
from bcsim.datasets.dataset import read_pairs
from bcsim.datasets.manifest import (
    CARD_NAME,
    DATASET_NAME,
    MANIFEST_NAME,
    RECIPE_NAME,
    SIGNALS,
    SPLITS,
    SUMS_NAME,
    PairRow,
    file_beneath,
)
from bcsim.errors import InputError
from bcsim.files.atomic import is_temporary
from bcsim.files.hashing import hash_files
from bcsim.files.name_table import NameTable
from bcsim.files.paths import beneath, printable
from bcsim.files.tree import walk
from bcsim.progress import track
from bcsim.workers.pool import num_cores

_HASHED_AT_ONCE = 4096  # files: the paths of a million take gigabytes
_OPENED_AT_ONCE = 16  # pairs whose files are open at the same time
_PAIR_FOLDERS = tuple(f"{signal}/" for signal in SIGNALS)


def verify_files(
    dataset: Path, splits: Sequence[str] = SPLITS, hashes: bool = True
) -> Iterator[str]:
    """Yield a line for each file of a dataset that is missing, changed, listed twice or unlisted.

    Args:
        dataset: folder of the dataset.
        splits: splits that are looked at; pairs that are in no split always are.
        hashes: read every file and compare its SHA-256; without, a change that keeps the length of
            a file is not found.
    """
    try:
        sums = read_sums(dataset)
    except InputError as error:
        yield str(error)
        return
    ids, manifests = NameTable(), array("B")  # and the number of the folder of each
    folders = ("", *(f"{split}/" for split in splits))
    for number, folder in enumerate(folders):
        manifest = folder + MANIFEST_NAME
        there = (dataset / manifest).is_file()
        if folder and not there and any(name.startswith(folder) for name in sums):
            yield f"{dataset / manifest}: is missing"
            continue
        if there:
            sums.note_listed(manifest)
        rows: list[PairRow] = []
        damage: str | None = None
        try:
            # Not `read_rows`, which remembers the names of a manifest once more.
            for pair in read_pairs(dataset / manifest) if there else ():
                row = pair.row
                place = ids.add(pair.id)
                if place == len(manifests):
                    manifests.append(number)
                elif manifests[place] != number:
                    other = folders[manifests[place]] + MANIFEST_NAME
                    yield f"{dataset / manifest}: {row.id!r} is in {other} as well"
                names = [folder + name for name in row.file_names.values()]
                twice = (name for name in names if sums.is_listed(name))
                yield from (f"{dataset / name}: is listed twice" for name in twice)
                for name in names:
                    sums.note_listed(name)
                rows.append(row)
                if len(rows) == _OPENED_AT_ONCE:
                    yield from unfit_files(dataset / folder, rows)
                    rows.clear()
        except InputError as error:
            damage = str(error)
        yield from unfit_files(dataset / folder, rows)
        if damage is not None:
            yield damage
            continue
        yield from _strays(dataset, folder, sums)
    if (dataset / DATASET_NAME).is_file():
        for name in (RECIPE_NAME, CARD_NAME, DATASET_NAME):
            sums.note_listed(name)
    yield from (f"{dataset / name}: is not in {SUMS_NAME}" for name in sums.listed_without())
    if hashes:
        left_out = {split for split in SPLITS if split not in splits}
        yield from _changed(dataset, sums, left_out)


def _changed(dataset: Path, sums: Sums, left_out: Collection[str]) -> Iterator[str]:
    """Yield a line for each file that has not the SHA-256 that `sums` says, but of some splits."""
    num_files = sum(1 for name in sums if name.split("/")[0] not in left_out)
    names = (name for name in sums if name.split("/")[0] not in left_out)
    for name, path, found in track(_hashed(dataset, names), num_files, "verifying"):
        if path is None:
            yield f"{dataset / SUMS_NAME}: {found}"
        elif found is None:
            yield f"{path}: is missing"
        elif found != (wanted := sums.digest(name)):
            yield f"{path}: is not what was written there (SHA-256 {found[:12]}, not {wanted[:12]})"


def _hashed(
    dataset: Path, names: Iterator[str]
) -> Iterator[tuple[str, Path, str | None] | tuple[str, None, str]]:
    """Yield name, path and SHA-256 of each file; few paths are in memory at a time.

    It ends at a name that leads out of the dataset, with None and the reason.
    """
    while block := [*itertools.islice(names, _HASHED_AT_ONCE)]:
        try:
            paths = [beneath(dataset, name) for name in block]
        except InputError as error:
            yield block[0], None, str(error)
            return
        yield from zip(block, paths, hash_files(paths, num_cores()), strict=True)


def unfit_files(folder: Path, rows: Iterable[PairRow]) -> Iterator[str]:
    """Yield a line for each file of pairs below `folder` that is missing or not as its row says."""
    waiting = iter(rows)
    while block := [*itertools.islice(waiting, _OPENED_AT_ONCE)]:
        wanted = [(row, name) for row in block for name in row.file_names.values()]
        problems: list[str | None] = []
        paths: list[Path] = []
        for _, name in wanted:
            try:
                paths.append(file_beneath(folder, name))
                problems.append(None)
            except InputError as error:
                problems.append(str(error))
        infos = iter(zip(paths, audio_infos(paths), strict=True))
        for (row, name), problem in zip(wanted, problems, strict=True):
            if problem is None:
                problem = _unfit(row, folder / name, *next(infos))
            if problem is not None:
                yield problem


def _unfit(row: PairRow, name: Path, path: Path, info: AudioInfo | None) -> str | None:
    """Return in what way a file is not as its row says, or None.

    Args:
        row: row of the file.
        name: path of the file as the manifest has it, for messages.
        path: path of the file, links followed.
        info: what its header says; None if it is no audio.
    """
    wanted = round(row.duration_s * row.sample_rate)
    if info is None:
        return f"{name}: is missing, or no audio"
    if (info.sample_rate, info.channels) != (row.sample_rate, 1):
        return (
            f"{name}: {info.sample_rate} Hz, channels: {info.channels}; its row says "
            f"{row.sample_rate} Hz, and one is wanted"
        )
    if info.frames < wanted:
        return f"{name}: holds {info.frames} samples, its row says {wanted}"
    if info.codec in ("FLOAT", "DOUBLE"):
        try:
            read_audio(path, is_recording=False)  # which may hold what is no number
        except InputError as error:
            return str(error)
    return None


def _strays(dataset: Path, folder: str, sums: Sums) -> Iterator[str]:
    """Yield a line for every file that neither the manifests nor `SHA256SUMS` list.

    `folder` is a split with a slash, or "" for the dataset's own folder, of which only the folders
    of pairs are looked at: people may keep notes beside a manifest.
    """
    for parent, folders, names in walk(dataset / folder):
        place = parent.relative_to(dataset).as_posix().removeprefix(".")
        at_top = not place
        if at_top:
            folders[:] = [name for name in SIGNALS if sums.is_listed(MANIFEST_NAME)]
        folders[:] = [name for name in folders if not name.startswith(".")]
        prefix = f"{place}/" if place else ""
        of_pairs = prefix.removeprefix(folder).startswith(_PAIR_FOLDERS)
        for name in sorted(names):
            path = printable(os.path.join(parent, name))
            if is_temporary(name):
                yield f"{path}: was left by a run that was killed; remove it"
            elif not (
                at_top
                or name.startswith(".")
                or sums.is_listed(f"{prefix}{name}")
                or (not of_pairs and f"{prefix}{name}" in sums)
            ):
                yield f"{path}: is in no manifest"
