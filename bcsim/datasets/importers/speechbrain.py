"""SpeechBrain's data files: JSON (id to entry) or CSV (a column `ID`)."""

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from bcsim.datasets.importers import IMPORTERS
from bcsim.datasets.importers.base import FoundPair, Importer, Recording, find_files, lines_of_list
from bcsim.datasets.manifest import SIGNALS
from bcsim.errors import InputError
from bcsim.files.text import read_bytes

_MAX_JSON_BYTES = 64 << 20  # it is in memory as a whole
_PATTERNS = ("*.json", "*.csv")
_NOT_DATA = ("export.json", "dataset.json")
_NO_DATA = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, csv.Error)
_SPEAKER_KEYS = ("spk_id", "speaker", "speaker_id", "spk")


@IMPORTERS.register("speechbrain")
class SpeechBrain(Importer):
    """Columns `air_wav` and `bone_wav`; every replacement, `{data_root}` or `$root`, is `root`."""

    defaults: ClassVar[Mapping[str, str]] = {role: f"{role}_wav" for role in SIGNALS}

    def recognises(self, source: Path) -> bool:
        return bool(self._files(source))

    def read(self, source: Path) -> list[FoundPair]:
        found = []
        for path, split in self._files(source):
            template = _format if path.suffix == ".json" else _substitute
            root = (self.root or path.parent).as_posix()
            for pair_id, entry in _entries(path).items():
                recordings = {
                    role: Recording.of_file(self.locate(template(entry[column], root), path))
                    for role, column in self.roles.items()
                    if isinstance(entry.get(column), str) and entry[column]
                }
                speaker = next((entry[key] for key in _SPEAKER_KEYS if entry.get(key)), None)
                told = None if speaker is None else template(str(speaker), root)
                found.append(FoundPair(pair_id, recordings, told, split))
        return found

    def _files(self, source: Path) -> list[tuple[Path, str | None]]:
        found = find_files(source, *_PATTERNS)
        return [(path, split) for path, split in found if path.name not in _NOT_DATA]


def _entries(path: Path) -> Mapping[str, Mapping[str, Any]]:
    entries: dict[str, Any] = {}
    try:
        if path.suffix == ".json":
            what = f"JSON of at most {_MAX_JSON_BYTES} bytes, or CSV with ID"
            entries = json.loads(read_bytes(path, _MAX_JSON_BYTES, what).decode("utf-8"))
        else:
            lines = (line for _, line in lines_of_list(path))
            for row in csv.DictReader(lines, skipinitialspace=True):
                if not isinstance(row["ID"], str):
                    raise TypeError("a row without an ID")
                if row["ID"] in entries:
                    raise InputError(f"{path}: the ID {row['ID']!r} stands there twice")
                entries[row["ID"]] = row
        if not all(isinstance(entry, dict) for entry in entries.values()):
            raise TypeError("an entry is no object")
    except InputError:
        raise
    except _NO_DATA as error:
        raise InputError(f"{path}: is no data file of SpeechBrain, JSON or CSV with ID") from error
    return entries


def _format(text: str, root: str) -> str:
    """Do what `str.format` does to plain names; it would look up attributes, too."""
    return re.sub(r"\{\{|\}\}|\{\w+\}", lambda m: m[0][0] if m[0] in ("{{", "}}") else root, text)


def _substitute(text: str, root: str) -> str:
    return re.sub(r"\$[\w.]+", lambda _: root, text)
