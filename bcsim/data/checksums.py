"""`SHA256SUMS`: what every file of a dataset must be, as `sha256sum -c` reads it.

Where `synthesize` or `merge` wrote it, the lines of the pairs come first, split by split, in the
order of the manifests. A run resumes, a merge joins and a verification judges by it.
"""

import errno
import hashlib
import itertools
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bcsim.data.audio import num_frames
from bcsim.data.journal import Entry
from bcsim.data.manifest import MANIFEST_NAME, SIGNALS, SPLITS, PairRow, file_beneath, read_manifest
from bcsim.errors import InputError
from bcsim.files import beneath, printable, write_text
from bcsim.parallel import num_cores
from bcsim.progress import track

SUMS_NAME = "SHA256SUMS"
HASHED_AT_ONCE = 64  # files a thread
BLOCK_BYTES = 1 << 16  # of a text that are in memory
_DIGITS = frozenset("0123456789abcdef")


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
    path = dataset / SUMS_NAME
    if not path.is_file():
        raise InputError(f"{path}: no such file; run the command that made the dataset again")
    sums: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                digest, name = parse_sum(line.removesuffix("\n"), f"{path} line {number}")
                if name in sums:
                    raise InputError(f"{path} line {number}: {name!r} stands there twice")
                sums[name] = digest
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text; make the dataset again") from error
    return sums


def stored_entries(dataset: Path, split: str) -> Iterator[tuple[PairRow, Entry]]:
    """Yield the rows of a split with the sums of their files, few of them in memory.

    Args:
        dataset: its folder.
        split: train, validation or test; nothing is yielded where it is not there.

    Raises:
        InputError: naming file and line, if either list is damaged, or they do not go together.
    """
    manifest, sums_path = dataset / split / MANIFEST_NAME, dataset / SUMS_NAME
    sums = (
        parse_sum(line, f"{sums_path} line {number}")
        for number, line in _lines_of(sums_path)
        if line[66:].startswith(f"{split}/")
    )
    for number, line in _lines_of(manifest):
        row = PairRow.from_json(line, f"{manifest} line {number}")
        found = [*itertools.islice(sums, len(row.file_names))]
        if [name for _, name in found] != [f"{split}/{name}" for name in row.file_names.values()]:
            raise InputError(
                f"{sums_path}: does not go with {manifest} line {number}; run the command that "
                "made the dataset again"
            )
        yield row, Entry(line, tuple(digest for digest, _ in found))


def _lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a text; in between the file is closed: there may be many."""
    number = offset = 0
    while path.is_file():
        with path.open("rb") as file:
            file.seek(offset)
            lines = file.readlines(BLOCK_BYTES)
            offset = file.tell()
        if not lines:
            return
        for content in lines:
            number += 1
            try:
                yield number, content.decode("utf-8").removesuffix("\n")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path} line {number}: not UTF-8; run the command that made it again"
                ) from error


def write_sums(dataset: Path) -> None:
    """Write `SHA256SUMS` of everything that is in a folder now."""
    names = [path.relative_to(dataset).as_posix() for path in dataset.rglob("*") if path.is_file()]
    names = sorted(name for name in names if not name.startswith("."))
    hashed = track(hash_files([dataset / name for name in names]), len(names), "hashing")
    lines = [sum_line(digest or "", name) for name, digest in zip(names, hashed, strict=True)]
    write_text(dataset / SUMS_NAME, "".join(lines))


def hash_files(paths: Iterable[Path]) -> Iterator[str | None]:
    """Yield the SHA-256 of each file, or None where there is none that can be read; in order."""
    count = num_cores()
    waiting = iter(paths)
    with ThreadPoolExecutor(count) as threads:
        while block := [*itertools.islice(waiting, count * HASHED_AT_ONCE)]:
            parts = [block[at : at + HASHED_AT_ONCE] for at in range(0, len(block), HASHED_AT_ONCE)]
            for digests in threads.map(_hash_each, parts):
                yield from digests


def _hash_each(paths: Sequence[Path]) -> list[str | None]:
    return [_hash_if_there(path) for path in paths]


def _hash_if_there(path: Path) -> str | None:
    try:
        with open(path, "rb", opener=_open_regular) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _open_regular(path: str, flags: int) -> int:
    """Open a file, and refuse a pipe, which would be waited for."""
    handle = os.open(path, flags | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise OSError(errno.EINVAL, "not a regular file", path)


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
        if not (dataset / manifest).is_file():
            if any(name.startswith(folder) for name in sums) and folder:
                yield f"{dataset / manifest}: is missing"
            continue
        listed.add(manifest)
        try:
            rows = read_manifest(dataset / manifest)
        except InputError as error:
            yield str(error)
            continue
        for row in rows:
            if seen.setdefault(row.id, manifest) != manifest:
                yield f"{dataset / manifest}: {row.id!r} is in {seen[row.id]} as well"
            names = [folder + name for name in row.file_names.values()]
            yield from (f"{dataset / name}: is listed twice" for name in names if name in listed)
            listed.update(names)
            yield from short_files(dataset / folder, row)
        yield from _strays(dataset, folder, listed)
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
    hashed = track(hash_files(paths), len(paths), "verifying")
    for path, wanted, found in zip(paths, sums.values(), hashed, strict=True):
        if found is None:
            yield f"{path}: is missing"
        elif found != wanted:
            yield f"{path}: is not what was written there (SHA-256 {found[:12]}, not {wanted[:12]})"


def short_files(folder: Path, row: PairRow) -> Iterator[str]:
    """Yield a line for each file of a pair that is missing, or shorter than its row says.

    Args:
        folder: of the manifest.
        row: of it.
    """
    wanted = round(row.duration_s * row.sample_rate)
    for name in row.file_names.values():
        try:
            found = num_frames(file_beneath(folder, name))
        except InputError as error:
            yield str(error)
            continue
        if found is None:
            yield f"{folder / name}: is missing, or no audio"
        elif found < wanted:
            yield f"{folder / name}: holds {found} samples, its row says {wanted}"


def _strays(dataset: Path, folder: str, listed: set[str]) -> Iterator[str]:
    for signal in SIGNALS:
        for parent, _, names in os.walk(dataset / folder / signal):
            for name in sorted(name for name in names if not name.startswith(".")):
                path = Path(parent) / name
                if path.relative_to(dataset).as_posix() not in listed:
                    yield f"{printable(str(path))}: is in no manifest"
