"""Tables whose columns may have one of several names."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from bcsim.datasets.lists import Entry, entries_of_list, name_of
from bcsim.errors import InputError


@dataclass(frozen=True)
class Table:
    """A table with a heading, or JSON lines.

    Args:
        path: file of the table, for messages.
        columns: names of the columns in lower case, in the table's order.
        entries: rows by column in lower case; malformed ones have their problem.
    """

    path: Path
    columns: list[str]
    entries: list[Entry]

    def column(self, names: Collection[str]) -> str | None:
        """Return the first of several names that a column has, or None."""
        return next((name for name in names if name in self.columns), None)


def read_table(path: Path) -> Table:
    """Read a table (comma, semicolon or tab; the heading tells) or JSON lines.

    Raises:
        InputError: if the file cannot be read, is not UTF-8, its heading makes no sense, or it has
            no row that does.
    """
    entries = [
        entry._replace(content={str(key).strip().lower(): v for key, v in entry.content.items()})
        for entry in entries_of_list(path)
    ]
    if not entries:
        raise InputError(f"{path}: is empty, or has nothing below its heading")
    if all(entry.problem is not None for entry in entries):
        raise InputError(f"{entries[0].where}: {entries[0].problem}")
    return Table(path, [*dict.fromkeys(key for e in entries for key in e.content)], entries)


def text_of(entry: Entry, column: str) -> str:
    """Return a cell of a row as text without spaces around it; "" where it is empty.

    Raises:
        InputError: naming file and line, if the row is malformed, or the cell holds a list, an
            object or a truth value.
    """
    if entry.problem is not None:
        raise InputError(f"{entry.where}: {entry.problem}")
    try:
        return (name_of(entry.content.get(column)) or "").strip()
    except InputError as error:
        raise InputError(f"{entry.where}: {column}: {error}") from None
