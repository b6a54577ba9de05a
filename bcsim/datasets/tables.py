"""Tables that people write by hand or export: CSV, with any usual delimiter, or JSON lines."""

import csv
import io
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bcsim.errors import InputError
from bcsim.files.text import decode_line, parse_json, read_bytes, reason_of, shown

MAX_TABLE_BYTES = 2**28
_DELIMITERS = (",", ";", "\t")
_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}  # byte-order marks of other encodings


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row of a table.

    Args:
        where: file and line of the row, for messages.
        cells: value of each cell by the name of its column in lower case.
    """

    where: str
    cells: dict[str, Any]

    def text(self, column: str) -> str:
        """Return a cell as text without spaces around it; "" where it is empty.

        Raises:
            InputError: if the cell holds a list, an object, true or false.
        """
        value = self.cells.get(column)
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise InputError(
                f"{self.where}: {column} is {shown(value)}, which is no name; write text there"
            )
        return str(value).strip()


@dataclass(frozen=True)
class Table:
    """A table with a heading.

    Args:
        path: file of the table, for messages.
        columns: names of the columns in lower case, in the table's order.
        rows: rows that are not empty, in the table's order.
    """

    path: Path
    columns: list[str]
    rows: list[TableRow]

    def column(self, names: Collection[str]) -> str | None:
        """Return the first of several names that a column has, or None."""
        return next((name for name in names if name in self.columns), None)


def read_table(path: Path, what: str) -> Table:
    """Read CSV (comma, semicolon or tab; a byte-order mark may stand before it) or JSON lines.

    Args:
        path: file of the table; a first line that begins with a brace tells JSON lines.
        what: what the table should be ("a table of talkers"), for messages.

    Raises:
        InputError: naming file and line, if the file is missing, is not UTF-8, has no heading, two
            columns of one name, or a row with more cells than the heading.
    """
    content = read_bytes(path, MAX_TABLE_BYTES, what)
    if content[:2] in _MARKS:
        raise InputError(f"{path}: not {what} ({_MARKS[content[:2]]}); save it as CSV in UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not {what} ({reason_of(error)}); save it as UTF-8") from error
    if text.lstrip().startswith("{"):
        return _json_lines(path, text, what)
    try:
        return _csv(path, text)
    except csv.Error as error:
        raise InputError(f"{path}: not {what} ({reason_of(error)}); mend the table") from error


def _csv(path: Path, text: str) -> Table:
    first, _, rest = text.partition("\n")
    offset = 0
    if first.startswith("sep=") and len(first.rstrip("\r")) == 5:  # a line that Excel writes
        delimiter, text, offset = first[4], rest, 1
    else:
        heading = next((line for line in text.splitlines() if line.strip()), "")
        delimiter = max(_DELIMITERS, key=heading.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: list[str] = []
    rows = []
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        where = f"{path} line {reader.line_num + offset}"
        if not columns:
            columns = [cell.strip().lower() for cell in cells]
            _check_columns(columns, where)
            continue
        if any(cell.strip() for cell in cells[len(columns) :]):
            raise InputError(
                f"{where}: has {len(cells)} cells, the heading {len(columns)}; put quotes around "
                f"what holds {delimiter!r}"
            )
        rows.append(TableRow(where, dict(zip(columns, cells, strict=False))))
    return Table(path, columns, rows)


def _check_columns(columns: list[str], where: str) -> None:
    name, count = Counter(filter(None, columns)).most_common(1)[0]
    if count > 1:
        raise InputError(
            f"{where}: the heading calls {count} columns {shown(name)!r}; give each its own name"
        )


def _json_lines(path: Path, text: str, what: str) -> Table:
    rows = [*_json_rows(path, text, what)]
    columns = dict.fromkeys(column for row in rows for column in row.cells)
    return Table(path, [*columns], rows)


def _json_rows(path: Path, text: str, what: str) -> Iterator[TableRow]:
    for number, line in enumerate(text.split("\n"), start=1):
        where = f"{path} line {number}"
        decode_line(line.encode("utf-8", "surrogatepass"), where, what)  # of a bounded length
        if not line.strip():
            continue
        try:
            content = parse_json(line)
        except ValueError as error:
            raise InputError(f"{where}: not JSON ({reason_of(error)}); mend the line") from error
        if not isinstance(content, dict):
            raise InputError(f"{where}: {shown(content)} is no row; write an object in braces")
        yield TableRow(where, {str(key).strip().lower(): value for key, value in content.items()})
