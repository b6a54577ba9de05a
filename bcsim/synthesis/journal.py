"""The journal of a run: the manifest line of every finished pair, and the SHA-256 of its files.

The run itself writes it. The processes that render note down what they have finished as well, each
in a file of its own, pair by pair: what they hand over in batches would be lost with them.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from bcsim.datasets.manifest import WrittenPair
from bcsim.files.atomic import not_a_link

JOURNAL_NAME = "journal.jsonl"
_NOTES_NAME = f"{JOURNAL_NAME}.{os.urandom(6).hex()}"  # of this process


class Journal:
    """A file with a line for every finished pair, which is found again by its place in the file.

    Args:
        file: file that is open for reading and appending.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def add(self, pair: WrittenPair) -> int:
        """Append a pair, flush it to the system and return its place."""
        place = self._file.seek(0, os.SEEK_END)
        self._file.write(f"{','.join(pair.sha256)}\t{pair.line}\n".encode())
        self._file.flush()
        return place

    def read(self, place: int) -> WrittenPair:
        """Return the pair at a place."""
        self._file.seek(place)
        return _parse(self._file.readline())

    def pairs(self) -> Iterator[tuple[int, WrittenPair]]:
        """Yield place and pair, from the beginning; afterwards the file ends with a whole line.

        A kill while a line was written leaves part of it, which is not yielded.
        """
        end, line = 0, b"\n"
        self._file.seek(0)
        for line in self._file:
            place, end = end, end + len(line)
            if line.endswith(b"\n"):
                yield place, _parse(line)
        if not line.endswith(b"\n"):
            self._file.seek(0, os.SEEK_END)
            self._file.write(b"\n")

    def adopt(self, folder: Path) -> None:
        """Take over what processes of an earlier run noted down in a folder."""
        for path in sorted(folder.glob(f"{JOURNAL_NAME}.*")):
            with open(path, "r+b", opener=not_a_link) as file:
                for _, pair in Journal(file).pairs():
                    self.add(pair)
            path.unlink()


@contextlib.contextmanager
def own_notes(folder: Path) -> Iterator[Journal]:
    """Open what this process notes down in a folder."""
    with open(folder / _NOTES_NAME, "ab", opener=not_a_link) as file:
        yield Journal(file)


def _parse(line: bytes) -> WrittenPair:
    """Read a line of a journal; a torn one gives a pair whose line is no row of a manifest."""
    sha256, _, row = line.decode("utf-8", "replace").removesuffix("\n").partition("\t")
    return WrittenPair(row, tuple(sha256.split(",")))
