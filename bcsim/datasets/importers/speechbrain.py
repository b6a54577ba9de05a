"""SpeechBrain's data files: JSON (id to entry) or CSV (a column `ID`)."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from bcsim.datasets.importers import IMPORTERS
from bcsim.datasets.importers.base import (
    FoundPair,
    Importer,
    Recording,
    find_files,
    log,
    pairs_of_lists,
)
from bcsim.datasets.lists import (
    TABLES,
    Entry,
    entries_of_list,
    first_entries,
    has_ending,
    part_told_by,
    speaker_of,
)
from bcsim.datasets.manifest import SIGNALS
from bcsim.datasets.told_facts import Told
from bcsim.errors import InputError
from bcsim.files.paths import printable
from bcsim.files.text import read_bytes, reason_of, shown

_MAX_JSON_BYTES = 64 << 20  # it is in memory as a whole
_PATTERNS = ("*.json", "*.csv")
_LOOKED_AT = 100  # entries from which a file is recognised
_WHOLE = "wav"  # SpeechBrain's usual column, for files that hold all channels


@IMPORTERS.register("speechbrain")
class SpeechBrain(Importer):
    """Columns `air_wav` and `bone_wav`; every replacement, `{data_root}` or `$root`, is `root`.

    With roles of channels, the column `wav`.
    """

    defaults: ClassVar[Mapping[str, str]] = {role: f"{role}_wav" for role in SIGNALS}
    takes_channels: ClassVar[bool] = True

    def recognises(self, source: Path) -> bool:
        reasons = []
        for path, _ in find_files(source, *_PATTERNS):
            try:
                entries = _first_entries(path)
            except InputError as error:
                reasons.append(str(error))
                continue
            if self._has_columns(entries):
                return True
            if not entries and path == source and not has_ending(path, *TABLES):
                reasons.append(f"{path}: is JSON, but not of ID to entry")
            if entries:
                columns = dict.fromkeys(key for entry in entries for key in entry)
                reasons.append(self._wants(path, columns, self._columns))
        if reasons:
            raise InputError(reasons[0])
        return False

    def read(self, source: Path) -> Iterable[FoundPair]:
        lists = []
        for path, split in find_files(source, *_PATTERNS):
            if path != source and not _first_entries(path):
                log.warning("%s: is no data file of SpeechBrain; left out", printable(str(path)))
                continue
            lists.append((path, split))
        return pairs_of_lists(lists, _entries, self._pair)

    def _has_columns(self, entries: Iterable[Mapping[str, Any]]) -> bool:
        return any(self._columns.keys() & entry.keys() for entry in entries)

    @property
    def _columns(self) -> dict[str, dict[str, int | None]]:
        """Column to the roles of its files, each with the number of its channel."""
        if self.channels:
            return {self.names.get("air", _WHOLE): dict(self.channel_of)}
        return {column: {role: None} for role, column in self.roles.items()}

    def _pair(self, entry: Entry, path: Path, split: str | None) -> FoundPair:
        part = part_told_by(entry.content)
        if part is not None:
            raise InputError(part)
        template = _format if path.suffix.lower() == ".json" else _substitute
        root = (self.root or path.parent).as_posix()
        recordings = {}
        for column, roles in self._columns.items():
            name = entry.content.get(column)
            if name is None or name == "":
                continue
            if not isinstance(name, str):
                raise InputError(f"{column} is {shown(name)}; it wants the path of a file")
            file = self.locate(template(name, root), path)
            for role, channel in roles.items():
                recordings[role] = Recording.of_file(file, channel=channel)
        speaker = speaker_of(entry.content)
        who = None if speaker is None else template(speaker, root)
        told = Told.of(entry.content)
        return FoundPair(entry.content["ID"], recordings, who, split, told=told)


def _first_entries(path: Path) -> list[Mapping[str, Any]]:
    """Return first entries of a file, none if it is no data file of SpeechBrain by its structure.

    Raises:
        InputError: if the file is no table, or no JSON.
    """
    if has_ending(path, *TABLES):
        return [entry for entry in first_entries(path) if "ID" in entry]
    content = _json_of(path)
    if not isinstance(content, _Object):
        return []
    entries: list[Mapping[str, Any]] = [dict(e) for _, e in content if isinstance(e, _Object)]
    return entries[:_LOOKED_AT] if 2 * len(entries) > len(content) else []


def _entries(path: Path) -> Iterator[Entry]:
    """Yield the entries of a data file, each with its name under "ID"."""
    known: set[str] = set()
    for entry in entries_of_list(path) if has_ending(path, *TABLES) else _json_entries(path):
        problem, name = entry.problem, entry.content.get("ID")
        if problem is None:
            if not name:
                problem = "has no ID"
            elif name in known:
                problem = f"the ID {shown(name)!r} stands there twice; rename one"
            known.add(str(name))
        yield entry._replace(problem=problem)


class _Object(list[tuple[str, Any]]):
    """An object of JSON as keys and values: a dict would keep the last of two equal keys."""


def _json_entries(path: Path) -> Iterator[Entry]:
    content = _json_of(path)
    if not isinstance(content, _Object):
        raise InputError(f"{path}: is no data file of SpeechBrain; wants JSON of ID to entry")
    for name, entry in content:
        where = f"{path}: {printable(name)}"
        if isinstance(entry, _Object):
            yield Entry(where, {**dict(entry), "ID": name})
        else:
            yield Entry(where, {"ID": name}, "is no object")


def _json_of(path: Path) -> Any:
    what = f"JSON of at most {_MAX_JSON_BYTES} bytes, or CSV with ID"
    try:
        text = read_bytes(path, _MAX_JSON_BYTES, what).decode("utf-8-sig")
        return json.loads(text, object_pairs_hook=_Object)
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: is no data file of SpeechBrain, JSON or CSV with ID ({reason_of(error)})"
        ) from error


def _format(text: str, root: str) -> str:
    """Do what `str.format` does to plain names; it would look up attributes, too."""
    return re.sub(r"\{\{|\}\}|\{\w+\}", lambda m: m[0][0] if m[0] in ("{{", "}}") else root, text)


def _substitute(text: str, root: str) -> str:
    return re.sub(r"\$[\w.]+", lambda _: root, text)
