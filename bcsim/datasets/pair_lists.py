"""Lists of pairs: tables with a column for each side."""

import logging
import os
import unicodedata
from dataclasses import replace
from pathlib import Path

from bcsim.datasets.dataset import PairFiles
from bcsim.datasets.lists import (
    SPLIT_COLUMNS,
    TALKER_COLUMNS,
    Entry,
    end_of_part,
    has_ending,
    part_told_by,
    split_told,
)
from bcsim.datasets.pairing import pair_ids
from bcsim.datasets.speaker_names import known_name
from bcsim.datasets.tables import Table, read_table, text_of
from bcsim.datasets.told_facts import DURATION_KEYS, RATE_KEYS, check_told_of_files
from bcsim.errors import InputError
from bcsim.files.paths import existing_spelling, printable
from bcsim.files.text import shown

LIST_SUFFIXES = frozenset({".csv", ".tsv", ".txt", ".jsonl"})
AIR_COLUMNS = ("air", "air_file_name", "air_file", "air_path")
BONE_COLUMNS = ("bone", "bone_file_name", "bone_file", "bone_path")
ID_COLUMNS = ("id", "pair", "name")
CHANNEL_COLUMNS = ("channel", "channels", "air_channel", "bone_channel")
_MAX_COLUMNS_TOLD = 5

log = logging.getLogger(__name__)


def is_pair_list(path: Path) -> bool:
    """Tell whether a path is a file with the ending of a table."""
    return has_ending(path, *LIST_SUFFIXES) and os.path.isfile(path)


def read_pair_list(path: Path) -> tuple[list[PairFiles], dict[str, str]]:
    """Read a list of pairs: CSV (comma, semicolon or tab) or JSON lines, with a heading.

    The columns `air` and `bone` hold paths of files, relative to the list's folder or absolute;
    `talker`, `id` and `split` may stand beside them; a split becomes the first folder of the id. A
    row that cannot be used costs itself alone.

    Returns:
        The pairs in the list's order, and the reason by row for those that cannot be used.

    Raises:
        InputError: if the list cannot be read, or lacks one of the two columns.
    """
    table = read_table(path)
    columns = {"air": table.column(AIR_COLUMNS), "bone": table.column(BONE_COLUMNS)}
    if None in columns.values():
        raise InputError(
            f"{path}: wants a heading with the columns air and bone, not "
            f"{shown(', '.join(table.columns)) or 'nothing'}"
        )
    _tell_unread_columns(table)
    # Beside rows with a split, one without could be of the test.
    has_splits = any(map(_names_split, table.entries))
    pairs: dict[str, PairFiles] = {}
    failures = {}
    for row in table.entries:
        try:
            pair = _pair(table, row, {role: str(column) for role, column in columns.items()})
            if has_splits:
                pair = replace(pair, id=f"{_split(table, row)}/{pair.id}")
            if pair.id in pairs:
                raise InputError(
                    f"{row.where}: another pair is called {shown(pair.id)!r}; give each an id"
                )
            pairs[pair.id] = pair
        except InputError as error:
            failures[row.where] = str(error)
    return [*pairs.values()], failures


def _pair(table: Table, row: Entry, columns: dict[str, str]) -> PairFiles:
    cells = {role: text_of(row, column) for role, column in columns.items()}
    part = part_told_by(row.content)
    if part is not None:
        raise InputError(f"{row.where}: {part}")
    for column in CHANNEL_COLUMNS:
        if text_of(row, column):
            raise InputError(
                f"{row.where}: names a {column}, and a list has none; choose the channels of all "
                "files alike"
            )
    for role, cell in cells.items():
        if not cell:
            raise InputError(f"{row.where}: names no file of {role}; fill in or remove the row")
    files = {role: existing_spelling(table.path.parent, cell) for role, cell in cells.items()}
    for role, file in files.items():
        if not os.path.isfile(file):
            raise InputError(
                f"{row.where}: no such file of {role}: {file}; paths start from the list's folder"
            )
    check_told_of_files(row.content, files.values(), row.where)
    id_column, talker_column = table.column(ID_COLUMNS), table.column(TALKER_COLUMNS)
    pair_id = text_of(row, id_column) if id_column else ""
    talker = text_of(row, talker_column) if talker_column else ""
    if not pair_id:
        written = (
            c if "\\" in files[role].name else c.replace("\\", "/") for role, c in cells.items()
        )
        relative = (cell.removeprefix("./").lstrip("/") for cell in written)
        pair_id = pair_ids(*(unicodedata.normalize("NFC", name) for name in relative))
    return PairFiles(pair_id, files, known_name(talker))


def _tell_unread_columns(table: Table) -> None:
    """Log the columns that nothing is made of: one may have been meant for something."""
    read = {*AIR_COLUMNS, *BONE_COLUMNS, *ID_COLUMNS, *TALKER_COLUMNS, *SPLIT_COLUMNS}
    read |= {*CHANNEL_COLUMNS, *RATE_KEYS, *DURATION_KEYS}
    rest = [column for column in table.columns if column not in read and not end_of_part(column)]
    if rest:
        more = ", ..." if len(rest) > _MAX_COLUMNS_TOLD else ""
        told = ", ".join(map(shown, rest[:_MAX_COLUMNS_TOLD]))
        log.info("%s: columns that are not read: %s%s", printable(str(table.path)), told, more)


def _names_split(row: Entry) -> bool:
    """Tell whether a row names a split, known or not."""
    try:
        return split_told(row.content) is not None
    except InputError:
        return True


def _split(table: Table, row: Entry) -> str:
    try:
        split = split_told(row.content)
    except InputError as error:
        raise InputError(f"{row.where}: {error}") from None
    if split is None:
        column = table.column(SPLIT_COLUMNS)
        told = shown(text_of(row, str(column)))
        raise InputError(f"{row.where}: {column} {told!r} is no split; write train, dev or test")
    return split
