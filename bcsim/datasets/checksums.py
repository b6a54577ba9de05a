"""`SHA256SUMS`: what every file of a dataset must be, as `sha256sum -c` reads it.

Where `synthesize` or `merge` wrote it, the lines of the pairs come first, split by split, in the
order of the manifests. A run resumes, a merge joins and a verification judges by it.
"""

import hashlib
import itertools
import os
from collections.abc import Container, Iterator, Sequence
from pathlib import Path

from bcsim.audio.read import audio_info, read_audio
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
    read_manifest,
)
from bcsim.errors import InputError
from bcsim.files.atomic import is_temporary, write_text
from bcsim.files.hashing import hash_files
from bcsim.files.opening import open_regular
from bcsim.files.paths import beneath, printable
from bcsim.files.text import MAX_LINE_BYTES, numbered_lines, shown
from bcsim.progress import track
from bcsim.synthesis.journal import Entry
from bcsim.workers.pool import num_cores

BLOCK_BYTES = 1 << 16  # of a text that are in memory
_DIGITS = frozenset("0123456789abcdef")
_PAIR_FOLDERS = tuple(f"{signal}/" for signal in SIGNALS)


def sum_line(digest: str, name: str) -> str:
    """Return the line of a file, whose name is relative to the dataset and printable."""
    return f"{digest}  {name}\n"


def parse_sum(line: str, where: str) -> tuple[str, str]:
    """Return the digest and the name that a line holds.

    Args:
        line: without its end.
        where: file and line, for the message.

    Raises:
        InputError: if it is no such line.
    """
    digest, separator, name = line.partition("  ")
    if not separator or len(digest) != 64 or not _DIGITS.issuperset(digest):
        raise InputError(f"{where}: no line of sha256sum; make the dataset again")
    return digest, name


def read_sums(dataset: Path) -> dict[str, str]:
    """Read `SHA256SUMS`.

    Returns:
        Name, relative to the dataset, to digest.

    Raises:
        InputError: if it is missing, or damaged.
    """
    path, what = dataset / SUMS_NAME, "a list of sha256sum"
    if not path.is_file():
        raise InputError(f"{path}: no such file; run the command that made the dataset again")
    sums: dict[str, str] = {}
    with open_regular(path, what) as file:
        for number, line in numbered_lines(file, path, what):
            digest, name = parse_sum(line.removesuffix("\n"), f"{path} line {number}")
            if name in sums:
                raise InputError(f"{path} line {number}: '{shown(name)}' stands there twice")
            sums[name] = digest
    return sums


def stored_entries(dataset: Path, split: str) -> Iterator[tuple[PairRow, Entry]]:
    """Yield the rows of a split with the sums of their files, few of them in memory.

    Args:
        dataset: its folder.
        split: train, validation or test; nothing is yielded where it is not there.

    Raises:
        InputError: naming file and line, if either list is damaged, or they do not go together;
            after the last row, if the manifest is not the one that was written. Until then no row
            is to be believed.
    """
    manifest, sums_path = dataset / split / MANIFEST_NAME, dataset / SUMS_NAME
    sums = (
        parse_sum(line, f"{sums_path} line {number}")
        for number, line in _lines_of(sums_path)
        if line[66:].startswith(f"{split}/")
    )
    digest, written = hashlib.sha256(), []
    for number, line in _lines_of(manifest):
        digest.update(f"{line}\n".encode())
        row = PairRow.from_json(line, f"{manifest} line {number}")
        found = [*itertools.islice(sums, len(row.file_names))]
        if [name for _, name in found] != [f"{split}/{name}" for name in row.file_names.values()]:
            raise InputError(
                f"{sums_path}: does not go with {manifest} line {number}; run the command that "
                "made the dataset again"
            )
        yield row, Entry(line, tuple(sha256 for sha256, _ in found))
        written = [(digest.hexdigest(), f"{split}/{MANIFEST_NAME}")]
    if [*sums] != written:
        raise InputError(
            f"{manifest}: is not what was written there; run the command that made the dataset "
            "again"
        )


def _lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a text; in between the file is closed: there may be many."""
    number = offset = 0
    while path.is_file():
        with path.open("rb") as file:
            file.seek(offset)
            block = file.read(BLOCK_BYTES)
            rest = file.readline(MAX_LINE_BYTES + 1)
            offset = file.tell()
        if not block:
            return
        lines = (block + rest).removesuffix(b"\n").split(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            raise InputError(
                f"{path} line {number + len(lines)}: longer than {MAX_LINE_BYTES} bytes; run the "
                "command that made it again"
            )
        for content in lines:
            number += 1
            try:
                yield number, content.decode("utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path} line {number}: not UTF-8; run the command that made it again"
                ) from error


def write_sums(dataset: Path) -> None:
    """Write `SHA256SUMS` of everything that is in a folder now."""
    names = [path.relative_to(dataset).as_posix() for path in dataset.rglob("*") if path.is_file()]
    names = sorted(name for name in names if not name.startswith("."))
    digests = hash_files([dataset / name for name in names], num_cores())
    hashed = track(digests, len(names), "hashing")
    lines = [sum_line(digest or "", name) for name, digest in zip(names, hashed, strict=True)]
    write_text(dataset / SUMS_NAME, "".join(lines))


def verify_files(
    dataset: Path, splits: Sequence[str] = SPLITS, hashes: bool = True
) -> Iterator[str]:
    """Look for what is wrong with the files of a dataset.

    Args:
        dataset: its folder.
        splits: that are looked at; imported pairs may be in none, and are looked at in any case.
        hashes: read every file and compare its SHA-256; without, what was changed and kept its
            length is not found.

    Yields:
        One line for everything that is missing, changed, torn, listed twice or not listed.
    """
    try:
        sums = read_sums(dataset)
    except InputError as error:
        yield str(error)
        return
    listed: set[str] = set()
    seen: dict[str, str] = {}
    for folder in ("", *(f"{split}/" for split in splits)):
        manifest = folder + MANIFEST_NAME
        there = (dataset / manifest).is_file()
        if folder and not there and any(name.startswith(folder) for name in sums):
            yield f"{dataset / manifest}: is missing"
            continue
        listed.update([manifest] if there else [])
        try:
            rows = read_manifest(dataset / manifest) if there else []
        except InputError as error:
            yield str(error)
            continue
        for row in rows:
            if seen.setdefault(row.id, manifest) != manifest:
                yield f"{dataset / manifest}: {row.id!r} is in {seen[row.id]} as well"
            names = [folder + name for name in row.file_names.values()]
            yield from (f"{dataset / name}: is listed twice" for name in names if name in listed)
            listed.update(names)
            yield from unfit_files(dataset / folder, row)
        yield from _strays(dataset, folder, listed, sums)
    if (dataset / DATASET_NAME).is_file():
        listed.update((RECIPE_NAME, CARD_NAME, DATASET_NAME))
    yield from (f"{dataset / name}: is not in {SUMS_NAME}" for name in sorted(listed - sums.keys()))
    if hashes:
        left_out = {split for split in SPLITS if split not in splits}
        yield from _changed(
            dataset, {n: digest for n, digest in sums.items() if n.split("/")[0] not in left_out}
        )


def _changed(dataset: Path, sums: dict[str, str]) -> Iterator[str]:
    paths = []
    for name in sums:
        try:
            paths.append(beneath(dataset, name))
        except InputError as error:
            yield f"{dataset / SUMS_NAME}: {error}"
            return
    hashed = track(hash_files(paths, num_cores()), len(paths), "verifying")
    for path, wanted, found in zip(paths, sums.values(), hashed, strict=True):
        if found is None:
            yield f"{path}: is missing"
        elif found != wanted:
            yield f"{path}: is not what was written there (SHA-256 {found[:12]}, not {wanted[:12]})"


def unfit_files(folder: Path, row: PairRow) -> Iterator[str]:
    """Yield a line for each file of a pair that is missing, or not what its row says.

    Args:
        folder: of the manifest.
        row: of it.
    """
    wanted = round(row.duration_s * row.sample_rate)
    for name in row.file_names.values():
        try:
            path = file_beneath(folder, name)
            found = audio_info(path)
            if found is None:
                yield f"{folder / name}: is missing, or no audio"
            elif (found.sample_rate, found.channels) != (row.sample_rate, 1):
                yield (
                    f"{folder / name}: {found.sample_rate} Hz, channels: {found.channels}; its row "
                    f"says {row.sample_rate} Hz, and one is wanted"
                )
            elif found.frames < wanted:
                yield f"{folder / name}: holds {found.frames} samples, its row says {wanted}"
            elif found.codec in ("FLOAT", "DOUBLE"):
                read_audio(path)  # which may hold what is no number
        except InputError as error:
            yield str(error)


def _strays(
    dataset: Path, folder: str, listed: Container[str], sums: Container[str]
) -> Iterator[str]:
    """Yield a line for every file that nobody listed; beside the manifests, people may keep notes.

    Args:
        dataset: its folder.
        folder: of a split, which holds nothing else; or "", where only the pairs' folders count,
            if there are pairs.
        listed: by manifests.
        sums: that there are.
    """
    for parent, folders, names in os.walk(dataset / folder):
        place = Path(parent).relative_to(dataset).as_posix().removeprefix(".")
        at_top = not place
        if at_top:
            folders[:] = [name for name in SIGNALS if MANIFEST_NAME in listed]
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
                or f"{prefix}{name}" in listed
                or (not of_pairs and f"{prefix}{name}" in sums)
            ):
                yield f"{path}: is in no manifest"
