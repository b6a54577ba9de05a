"""Lists of recordings as their owners write them: lines, tables, JSON lines, and names in them.

An entry that makes no sense is yielded with its problem, so that it costs only itself. Byte-order
marks are dropped, and cells may be divided by commas, semicolons or tabs.
"""

import csv
import itertools
import math
import os
import re
import string
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from bcsim.datasets.speaker_names import known_name
from bcsim.datasets.split_names import split_of_folder
from bcsim.errors import InputError
from bcsim.files import gzip_file
from bcsim.files.opening import most_expanded, open_regular
from bcsim.files.text import numbered_lines, parse_json, reason_of, shown

MAX_LIST_BYTES = 1 << 30
MAX_LIST_LINES = 1_000_000  # of which each takes up to a kilobyte of memory
TABLES, JSON_LINES = (".csv", ".tsv"), (".jsonl",)  # either may be packed, `.gz`
_DELIMITERS = ",;\t"
# Columns and keys of who speaks, the surest first.
TALKER_COLUMNS = (
    *("talker", "speaker", "talker_id", "speaker_id", "spk_id", "spk", "client_id"),
    *("subject", "subject_id", "participant", "participant_id"),
)
SPLIT_COLUMNS = ("split", "subset", "partition")  # the first is of splits and of nothing else
# Columns and keys that tell a part of a file, of which bcsim reads none outside Kaldi and Lhotse.
_OF_WHAT = (
    "air|audio|bone|chunk|clip|crop|cut|file|frame|sample|seg|segment|speech|time|utt|utterance"
)
_UNITS = "s|secs?|seconds?|ms|milliseconds?|times?|timestamps?|samples?|frames?|idx|index|pos"
_PART_KEYS = {
    end: re.compile(rf"(?:(?:{_OF_WHAT})_?)?(?:{words})(?:_?(?:{_UNITS}))*|{others}")
    for end, words, others in (
        ("start", "start|begin|offset|onset|from", "tmin"),
        ("end", "end|stop|to", "tmax"),
    )
}
_MAX_LINES_OF_A_ROW = 30  # that a cell in quotation marks may have
_MAX_COLUMNS = 1000
_LOOKED_AT = 100  # entries from which a list is recognised: any of them may be malformed


class Entry(NamedTuple):
    """What a list says of one recording or pair.

    Args:
        where: file and line of the entry, for messages.
        content: values by column or key; empty if the entry is malformed.
        problem: why the entry cannot be used, or None.
    """

    where: str
    content: Mapping[str, Any]
    problem: str | None = None


def lines_of_list(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the place of each line of a list, for messages, and the line; `.gz` is expanded.

    Raises:
        InputError: if the list cannot be read, is not UTF-8, or has more than 1 GiB, a million
            lines, or 1 MiB in a line; if it is packed, also if it expands a hundredfold or has more
            than 100,000 members.
    """
    what = "a list of recordings in UTF-8"
    with open_regular(path, what) as raw:
        size = os.fstat(raw.fileno()).st_size
        packed = path.suffix == ".gz"
        most = min(MAX_LIST_BYTES, most_expanded(size)) if packed else MAX_LIST_BYTES
        too_large = InputError(f"{path}: larger than {most} bytes; split it into several lists")
        if size > most:
            raise too_large
        with gzip_file.expanded(raw, path) if packed else nullcontext(raw) as file:
            try:
                for number, line in numbered_lines(file, path, what):
                    if file.tell() > most:
                        raise too_large
                    if number > MAX_LIST_LINES:
                        told = f"more than {MAX_LIST_LINES} lines"
                        raise InputError(f"{path}: {told}; split it into several lists")
                    yield f"{path} line {number}", line
            except gzip_file.ERRORS as error:
                raise InputError(f"{path}: cannot be read ({reason_of(error)}); mend it") from error


def entries_of_list(path: Path) -> Iterator[Entry]:
    """Yield the entries of a table with a heading, or of JSON lines.

    The file's ending tells; of one that is neither, such as `.txt`, the first line does.

    Raises:
        InputError: as `lines_of_list` does, or if a table has no heading, or a column twice.
    """
    if has_ending(path, *TABLES) or has_ending(path, *JSON_LINES):
        return _rows(path) if has_ending(path, *TABLES) else _objects(path)
    first = next((line for _, line in lines_of_list(path) if line.strip()), "")
    return _objects(path) if first.lstrip().startswith("{") else _rows(path)


def has_ending(path: Path, *endings: str) -> bool:
    """Tell whether a file's name has one of the endings, in capitals or not, or packed."""
    return path.name.lower().removesuffix(".gz").endswith(endings)


def first_entries(path: Path) -> list[Mapping[str, Any]]:
    """Return the contents of the first entries of a list that are not malformed.

    Raises:
        InputError: as `entries_of_list` does, or if the first entries are all malformed.
    """
    entries = list(itertools.islice(entries_of_list(path), _LOOKED_AT))
    sound = [entry.content for entry in entries if entry.problem is None]
    if entries and not sound:
        raise InputError(f"{entries[0].where}: {entries[0].problem}")
    return sound


def name_of(value: object) -> str | None:
    """Return the name that a value in a list stands for, or None where it stands for none.

    Example:
        >>> name_of(0), name_of(7.0), name_of("0"), name_of(" "), name_of(float("nan"))
        ('0', '7', '0', None, None)

    Raises:
        InputError: if it is a list, an object, a truth value or a fraction.
    """
    if value is None:
        return None
    if isinstance(value, float):
        if math.isnan(value):
            return None
        if value.is_integer():  # of a column of whole numbers with gaps, as pandas writes it
            value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InputError(f"{shown(value)} is no name; write text in its place")
    text = str(value)
    return text if text.strip() else None


def speaker_of(content: Mapping[str, Any]) -> str | None:
    """Return the speaker whom an entry names under one of the usual keys, or None (`known_name`).

    Raises:
        InputError: if what stands there is no name.
    """
    keys = {key.lower(): key for key in reversed(list(content))}
    for key in TALKER_COLUMNS:
        if key in keys:
            try:
                name = name_of(content[keys[key]])
            except InputError as error:
                raise InputError(f"{keys[key]}: {error}") from None
            if known_name(name) is not None:
                return known_name(name)
    return None


def part_told_by(content: Mapping[str, Any]) -> str | None:
    """Return what to say of an entry that tells a part of its files, or None if it is of the whole.

    Example:
        >>> part_told_by({"air": "a.wav", "start": ""}) is None
        True
    """
    for key, value in content.items():
        if end_of_part(key) and any(character.isdigit() for character in str(value)):
            return (
                f"tells a part of the files ({shown(key)} {shown(value)}), and whole files are "
                "read; cut the part out, or leave the column empty"
            )
    return None


def end_of_part(key: str) -> str | None:
    """Return "start" or "end" for a column or key that is called like that of a part of a file.

    Example:
        >>> end_of_part("Segment_Start"), end_of_part("tmax"), end_of_part("start_date")
        ('start', 'end', None)
    """
    name = re.sub(r"[-. ]", "_", key.strip().lower())
    return next((end for end, pattern in _PART_KEYS.items() if pattern.fullmatch(name)), None)


def split_told(content: Mapping[str, Any], otherwise: str | None = None) -> str | None:
    """Return the split that an entry names in a column of splits, or else that of its list.

    Args:
        content: keys and values of the entry; capitals of the keys do not matter.
        otherwise: split of the list.

    Raises:
        InputError: if its `split` is none that is known.

    Example:
        >>> split_told({"Split": "Dev"}), split_told({"subset": "clean"}, "train")
        ('validation', 'train')
    """
    keys = {str(key).strip().lower(): key for key in reversed(list(content))}
    for column in SPLIT_COLUMNS:
        if column not in keys:
            continue
        is_split = column == SPLIT_COLUMNS[0]
        cell = content[keys[column]]
        name = name_of(cell) if is_split or isinstance(cell, str) else None
        split = split_of_folder(name or "")
        if split is None and name is not None and is_split:
            raise InputError(f"{shown(name)!r} is no split; write train, dev or test")
        if split is not None:
            return split
    return otherwise


def _alike(keys: Iterable[str]) -> tuple[str, str] | None:
    """Return two names that differ in capitals alone, or None."""
    known: dict[str, str] = {}
    for key in keys:
        other = known.setdefault(key.lower(), key)
        if other != key:
            return other, key
    return None


def _rows(path: Path) -> Iterator[Entry]:
    lines = _Lines(lines_of_list(path))
    heading: list[str] | None = None
    delimiter = ","
    for where, first in lines:
        if heading is None:
            if not first.strip() or re.fullmatch("sep=.?", first.strip()):
                continue  # the latter is a line of Excel's, which names the delimiter
            delimiter = max(_DELIMITERS, key=first.count)
        if heading is not None:
            first = _without_last_dividers(first, delimiter)
            if not first:
                continue
        taken: list[tuple[str, str]] = []
        texts = itertools.chain([first], lines.texts(taken, _MAX_LINES_OF_A_ROW - 1))
        problem, cells = None, list[str]()
        try:
            reader = csv.reader(texts, delimiter=delimiter, skipinitialspace=True, strict=True)
            cells = [cell.strip() for cell in next(reader)]
        except csv.Error as error:
            problem = f"is no row of a table ({reason_of(error)})"
        while len(cells) > len(heading or ()) and not cells[-1]:
            cells.pop()  # behind the last divider of a line
        if heading is None:
            if problem is not None:
                raise InputError(f"{where}: {problem}; mend the heading")
            heading = _checked_heading(cells, where)
            continue
        cells += [""] * (len(heading) - len(cells))
        if problem is None and len(cells) > len(heading):
            problem = f"has {len(cells)} cells, and the heading has {len(heading)}"
        if any(line.count(delimiter) == len(heading) - 1 for _, line in taken):
            problem = "has a quotation mark that is not closed, or a row within a cell"
        if problem is not None:
            lines.put_back(taken)  # a quotation mark that is not closed costs its own line alone
            yield Entry(where, {}, problem)
        elif any(cells):
            yield Entry(where, dict(zip(heading, cells, strict=True)))


def _without_last_dividers(line: str, delimiter: str) -> str:
    """Return a line of a table without what is behind its last cell that holds something.

    A line with quotation marks, in which dividers may be text, is returned as it is. Lists of a
    million empty cells, or of empty rows, are common exports, and slow to take apart.
    """
    return line if '"' in line else line.rstrip(delimiter + string.whitespace)


class _Lines:
    """Lines with their places, of which some may be put back to be read again."""

    def __init__(self, lines: Iterator[tuple[str, str]]) -> None:
        self._lines = lines
        self._again: deque[tuple[str, str]] = deque()

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> tuple[str, str]:
        return self._again.popleft() if self._again else next(self._lines)

    def texts(self, taken: list[tuple[str, str]], most: int) -> Iterator[str]:
        """Yield the text of at most so many lines, which are appended to `taken`."""
        for line in itertools.islice(self, most):
            taken.append(line)
            yield line[1]

    def put_back(self, taken: list[tuple[str, str]]) -> None:
        """Let lines be read again, before all others."""
        self._again.extendleft(reversed(taken))


def _checked_heading(cells: list[str], where: str) -> list[str]:
    if len(cells) > _MAX_COLUMNS:
        told = f"{len(cells)} columns; at most {_MAX_COLUMNS} are read"
        raise InputError(f"{where}: the heading has {told}; is it a table?")
    twice = [cell for cell, count in Counter(cells).items() if count > 1]
    if not cells or twice:
        told = f"the column {twice[0]!r} twice" if twice else "no columns"
        raise InputError(f"{where}: the heading has {told}; mend the table")
    alike = _alike(cells)
    if alike is not None:
        told = " and ".join(repr(shown(cell)) for cell in alike)
        raise InputError(f"{where}: the heading has the columns {told}; rename one of them")
    return cells


def _objects(path: Path) -> Iterator[Entry]:
    for where, line in lines_of_list(path):
        if not line.strip():
            continue
        try:
            content = parse_json(line)
        except ValueError as error:
            yield Entry(where, {}, f"is no JSON ({reason_of(error)}); mend the line")
            continue
        alike = _alike(content) if isinstance(content, dict) else None
        if alike is not None:
            told = " and ".join(repr(shown(key)) for key in alike)
            yield Entry(where, {}, f"has the keys {told}; rename one of them")
        elif isinstance(content, dict):
            yield Entry(where, content)
        else:
            yield Entry(where, {}, "is no JSON object; mend the line")
