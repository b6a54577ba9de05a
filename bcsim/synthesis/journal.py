"""The journal of a run: of every finished pair the manifest's line and what its files are.

The run itself writes it. The processes that render note down what they have finished as well, each
in a file of its own, pair by pair: what they hand over in batches would be lost with them.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bcsim.files.atomic import not_a_link

JOURNAL_NAME = "journal.jsonl"
_NOTES_NAME = f"{JOURNAL_NAME}.{os.urandom(6).hex()}"  # of this process


@dataclass(frozen=True, slots=True)
class Entry:
    """A finished pair.

    Args:
        line: of the manifest, without its end.
        sha256: of the pair's files, in the order of `PairRow.file_names`.
    """

    line: str
    sha256: tuple[str, ...]

    def to_text(self) -> str:
        """Return the entry as one line of text."""
        return f"{','.join(self.sha256)}\t{self.line}\n"

    @classmethod
    def from_text(cls, text: str) -> "Entry":
        """Read what `to_text` returned; what is torn gives an entry that no row can be read of."""
        sha256, _, line = text.removesuffix("\n").partition("\t")
        return cls(line, tuple(sha256.split(",")))


class Journal:
    """A file of entries, of which only the places are remembered: a corpus may be large.

    Args:
        file: open for reading and appending.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def add(self, entry: Entry) -> int:
        """Append an entry, flush it to the system and return its place."""
        place = self._file.seek(0, os.SEEK_END)
        self._file.write(entry.to_text().encode())
        self._file.flush()
        return place

    def read(self, place: int) -> Entry:
        """Return the entry at a place."""
        self._file.seek(place)
        return Entry.from_text(self._file.readline().decode("utf-8"))

    def entries(self) -> Iterator[tuple[int, Entry]]:
        """Yield place and entry, from the beginning; afterwards the file ends with a whole line.

        A kill while a line was written leaves part of it, which is not yielded.
        """
        end, line = 0, b"\n"
        self._file.seek(0)
        for line in self._file:
            place, end = end, end + len(line)
            if line.endswith(b"\n"):
                yield place, Entry.from_text(line.decode("utf-8", "replace"))
        if not line.endswith(b"\n"):
            self._file.seek(0, os.SEEK_END)
            self._file.write(b"\n")

    def adopt(self, folder: Path) -> None:
        """Take over what processes of an earlier run noted down in a folder."""
        for path in sorted(folder.glob(f"{JOURNAL_NAME}.*")):
            with open(path, "r+b", opener=not_a_link) as file:
                for _, entry in Journal(file).entries():
                    self.add(entry)
            path.unlink()


@contextlib.contextmanager
def own_notes(folder: Path) -> Iterator[Journal]:
    """Open what this process notes down in a folder."""
    with open(folder / _NOTES_NAME, "ab", opener=not_a_link) as file:
        yield Journal(file)
