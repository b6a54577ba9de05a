"""`SHA256SUMS`: what every file of a dataset must be, as `sha256sum -c` reads it.

Where `synthesize` or `merge` wrote it, the lines of the pairs come first, split by split, in the
order of the manifests. A run that resumes, a merge and a verification compare the files with it.
"""

import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path

from bcsim.datasets.manifest import MANIFEST_NAME, SUMS_NAME, PairRow, WrittenPair, lines_of
from bcsim.errors import InputError
from bcsim.files.atomic import replacing
from bcsim.files.hashing import hash_files
from bcsim.files.name_table import NameTable
from bcsim.files.text import shown
from bcsim.files.tree import files_below
from bcsim.progress import track
from bcsim.workers.pool import num_cores

CHECKED_AT_ONCE = 256  # pairs whose files are hashed while others wait
_REMEDY = "run the command that made the dataset again"
_DIGITS = frozenset("0123456789abcdef")


def sum_line(digest: str, name: str) -> str:
    """Return the line of a file, whose name is relative to the dataset and printable."""
    return f"{digest}  {name}\n"


def parse_sum(line: str, where: str) -> tuple[str, str]:
    """Return the digest and the name that a line holds; an InputError names file and line."""
    digest, separator, name = line.partition("  ")
    if not separator or len(digest) != 64 or not _DIGITS.issuperset(digest):
        raise InputError(f"{where}: no line of sha256sum; make the dataset again")
    return digest, name


class Sums:
    """SHA-256 of the files of a dataset, by paths below its folder, and which a manifest lists.

    There may be millions of files: each takes its path and some 60 bytes.
    """

    def __init__(self) -> None:
        self._names = NameTable()
        self._digests, self._is_listed = bytearray(), bytearray()
        self._others: set[str] = set()  # that a manifest lists, and have no SHA-256

    def add(self, name: str, digest: str) -> None:
        """Add a file that is not there yet, with its SHA-256 in hexadecimal."""
        self._names.add(name)
        self._digests += bytes.fromhex(digest)
        self._is_listed.append(False)

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def digest(self, name: str) -> str:
        """Return the SHA-256 of a file in hexadecimal."""
        place = self._names.place(name)
        if place is None:
            raise KeyError(name)
        start = 32 * place
        return self._digests[start : start + 32].hex()

    def note_listed(self, name: str) -> None:
        """Remember that a manifest lists a file, or that it is one itself."""
        place = self._names.place(name)
        if place is None:
            self._others.add(name)
        else:
            self._is_listed[place] = True

    def is_listed(self, name: str) -> bool:
        """Tell whether `note_listed` was told of a file."""
        place = self._names.place(name)
        return name in self._others if place is None else bool(self._is_listed[place])

    def listed_without(self) -> list[str]:
        """Return the files that are listed and have no SHA-256, sorted."""
        return sorted(self._others)


def read_sums(dataset: Path) -> Sums:
    """Return the SHA-256 of each file of a dataset.

    Raises:
        InputError: if `SHA256SUMS` is missing or damaged.
    """
    path = dataset / SUMS_NAME
    if not path.is_file():
        raise InputError(f"{path}: no such file; {_REMEDY}")
    sums = Sums()
    for where, line in lines_of(path, "a list of sha256sum"):
        digest, name = parse_sum(line, where)
        if name in sums:
            raise InputError(f"{where}: '{shown(name)}' stands there twice")
        sums.add(name, digest)
    return sums


def written_pairs(dataset: Path, split: str) -> Iterator[tuple[PairRow, WrittenPair]]:
    """Yield the rows of a split with the sums of their files, few of them in memory.

    Nothing is yielded for a split that the dataset does not have.

    Raises:
        InputError: naming file and line, if manifest or `SHA256SUMS` is damaged, or they differ;
            after the last row, if the manifest is not the one that was written. Until then no row
            can be trusted.
    """
    manifest, sums_path = dataset / split / MANIFEST_NAME, dataset / SUMS_NAME
    sums = (
        parse_sum(line, where)
        for where, line in (lines_of(sums_path) if sums_path.is_file() else ())
        if line[66:].startswith(f"{split}/")
    )
    digest, written = hashlib.sha256(), []
    for where, line in lines_of(manifest) if manifest.is_file() else ():
        digest.update(f"{line}\n".encode())
        row = PairRow.from_json(line, where)
        found = [*itertools.islice(sums, len(row.file_names))]
        if [name for _, name in found] != [f"{split}/{name}" for name in row.file_names.values()]:
            raise InputError(f"{sums_path}: does not go with {where}; {_REMEDY}")
        yield row, WrittenPair(line, tuple(sha256 for sha256, _ in found))
        written = [(digest.hexdigest(), f"{split}/{MANIFEST_NAME}")]
    if [*sums] != written:
        raise InputError(f"{manifest}: is not what was written there; {_REMEDY}")


def write_sums(dataset: Path) -> None:
    """Write `SHA256SUMS` of everything that is in a folder now."""
    found = (path for path in files_below(dataset) if path.is_file())
    names = [path.relative_to(dataset).as_posix() for path in found]
    names = sorted(name for name in names if not name.startswith("."))
    digests = hash_files((dataset / name for name in names), num_cores())
    hashed = track(digests, len(names), "hashing")
    path = dataset / SUMS_NAME
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        for name, digest in zip(names, hashed, strict=True):  # one by one: there may be millions
            file.write(sum_line(digest or "", name))
