"""SHA-256 of texts and files, in hexadecimal."""

import hashlib
import itertools
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

from bcsim.errors import BcsimError
from bcsim.files.opening import RANGE, open_regular

HASHED_AT_ONCE = 64  # files a thread
# What tells that a file has been neither written to nor replaced: number, size, and the times of
# the last change of its content and of anything, in ns.
Stamp: TypeAlias = tuple[int, int, int, int]
_OLD_NS = 2 * 10**9  # within a tick of a file system's clock, changes have one time


def hash_text(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(paths: Iterable[Path], num_threads: int) -> Iterator[str | None]:
    """Yield the SHA-256 of each file in order, or None where no regular file can be read."""
    return (digest for digest, _ in stamped_hashes(paths, num_threads))


def stamped_hashes(
    paths: Iterable[Path], num_threads: int
) -> Iterator[tuple[str | None, Stamp | None]]:
    """Yield SHA-256 and stamp of each file in order, as `stamped_hash` returns them.

    `num_threads` read at the same time; a few thousand paths are taken at a time.
    """
    waiting = iter(paths)
    with ThreadPoolExecutor(num_threads) as threads:
        while block := [*itertools.islice(waiting, num_threads * HASHED_AT_ONCE)]:
            parts = [block[at : at + HASHED_AT_ONCE] for at in range(0, len(block), HASHED_AT_ONCE)]
            for hashed in threads.map(lambda part: [*map(stamped_hash, part)], parts):
                yield from hashed


def hash_if_readable(path: Path) -> str | None:
    """Return the SHA-256 of a regular file, or None where none can be read."""
    return stamped_hash(path)[0]


def stamped_hash(path: Path) -> tuple[str | None, Stamp | None]:
    """Return the SHA-256 of a regular file, and its stamp: while it has that, it has that content.

    Returns:
        None for the first where none can be read; None for the second of a file that was changed
        just now, which might be changed again without another stamp.
    """
    try:
        with open_regular(path) as file:
            now_ns, stamp = time.time_ns(), stamp_of(os.fstat(file.fileno()))
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, BcsimError):
        return None, None
    return digest, stamp if stamp[-1] < now_ns - _OLD_NS else None


def stamp_of(status: os.stat_result) -> Stamp:
    """Return the stamp of a file from its status."""
    times_ns = status.st_mtime_ns % RANGE, status.st_ctime_ns % RANGE
    return status.st_ino % RANGE, status.st_size, *times_ns
