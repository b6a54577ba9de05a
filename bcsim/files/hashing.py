"""SHA-256 of texts and files, in hexadecimal."""

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bcsim.errors import BcsimError
from bcsim.files.opening import open_regular

HASHED_AT_ONCE = 64  # files a thread


def hash_text(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(paths: Iterable[Path], num_threads: int) -> Iterator[str | None]:
    """Yield the SHA-256 of each file in order, or None where no regular file can be read.

    `num_threads` read at the same time; a few thousand paths are taken at a time.
    """
    waiting = iter(paths)
    with ThreadPoolExecutor(num_threads) as threads:
        while block := [*itertools.islice(waiting, num_threads * HASHED_AT_ONCE)]:
            parts = [block[at : at + HASHED_AT_ONCE] for at in range(0, len(block), HASHED_AT_ONCE)]
            for digests in threads.map(lambda part: [*map(hash_if_readable, part)], parts):
                yield from digests


def hash_if_readable(path: Path) -> str | None:
    """Return the SHA-256 of a regular file, or None where none can be read."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, BcsimError):
        return None
