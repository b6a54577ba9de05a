"""Lists beside the audio, `metadata.jsonl` or `metadata.csv`, with or without splits.

bcsim's own layout, and what people write for the `audiofolder` of `datasets` or for themselves.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from bcsim.audio.folder import without_audio_suffix
from bcsim.datasets.dataset import Dataset
from bcsim.datasets.importers import IMPORTERS
from bcsim.datasets.importers.base import FoundPair, Importer, Recording, pairs_of_lists
from bcsim.datasets.lists import (
    JSON_LINES,
    TABLES,
    Entry,
    entries_of_list,
    first_entries,
    has_ending,
    name_of,
    part_told_by,
    speaker_of,
)
from bcsim.datasets.manifest import MANIFEST_NAME, SIGNALS, STATE_FOLDER, file_beneath
from bcsim.datasets.split_names import split_of_file
from bcsim.datasets.told_facts import Told
from bcsim.errors import InputError
from bcsim.files.paths import existing_spelling

_LISTS = (MANIFEST_NAME, "metadata.csv")
_ENDINGS = ("_file_name", "_file", "_path", "_wav", "")
_WHOLE = "file_name"  # the usual column for files that hold all channels


@IMPORTERS.register("audiofolder")
class AudioFolder(Importer):
    """Columns `air_file_name` and `bone_file_name`, or `air` and `bone`, below the list's folder.

    With roles of channels, the column `file_name`.
    """

    defaults: ClassVar[Mapping[str, str]] = {role: role for role in SIGNALS}
    takes_channels: ClassVar[bool] = True

    def recognises(self, source: Path) -> bool:
        reasons = []
        for path, _ in _lists(source):
            entries = first_entries(path)
            if any("ID" in entry for entry in entries):  # SpeechBrain's
                continue
            if any(self._columns(entry) for entry in entries):
                return True
            if entries:
                columns = dict.fromkeys(key for entry in entries for key in entry)
                wanted = [_WHOLE] if self.channels else list(self.roles.values())[:2]
                reasons.append(self._wants(path, columns, wanted))
        if reasons:
            raise InputError(reasons[0])
        return False

    def read(self, source: Path) -> Iterable[FoundPair]:
        if (source / STATE_FOLDER).is_dir():
            Dataset.open(source)  # which says that it is not finished
        return pairs_of_lists([*_lists(source)], entries_of_list, self._pair)

    def _columns(self, content: Mapping[str, Any]) -> dict[str, str]:
        """Return the column of each role that an entry has."""
        words = dict.fromkeys(self.channel_of, self.names.get("air", _WHOLE))
        known = {key.lower(): key for key in content}
        columns: dict[str, str] = {}
        for role, word in (words or self.roles).items():
            endings = ("", *_ENDINGS) if role in self.names else _ENDINGS
            usual = [f"{word}{ending}".lower() for ending in endings]
            there = [known[key] for key in usual if key in known]
            if there:
                columns[role] = there[0]
        return columns

    def _pair(self, entry: Entry, path: Path, split: str | None) -> FoundPair:
        part = part_told_by(entry.content)
        if part is not None:
            raise InputError(part)
        columns = self._columns(entry.content)
        named = {role: name_of(entry.content[column]) for role, column in columns.items()}
        files = {role: name for role, name in named.items() if name is not None}
        recordings = {
            role: Recording.of_file(
                self._file(name, path, entry.where), channel=self.channel_of.get(role)
            )
            for role, name in files.items()
        }
        pair_id = name_of(entry.content.get("id"))
        if pair_id is None:
            bone = PurePosixPath(files.get("bone", entry.where)).as_posix()
            pair_id = without_audio_suffix(bone)
        told = Told.of(entry.content)
        return FoundPair(pair_id, recordings, speaker_of(entry.content), split, told=told)

    def _file(self, name: str, path: Path, where: str) -> Path:
        """Return a file below the folder of the list, or else below the root."""
        file = file_beneath(path.parent, _spelling(path.parent, name), where)
        if self.root is None or os.path.isfile(file):
            return file
        return file_beneath(self.root, _spelling(self.root, name), where)


def _spelling(folder: Path, name: str) -> str:
    """Return a name as the file system spells it (`existing_spelling`)."""
    spelled = existing_spelling(folder, name)
    return name if spelled == folder / name else os.path.relpath(spelled, folder)


def _lists(source: Path) -> Iterator[tuple[Path, str | None]]:
    """Yield the lists of a folder and of the folders in it, each with the split of its folder."""
    if source.is_file():
        if has_ending(source, *TABLES, *JSON_LINES):
            yield source, None
        return
    if not source.is_dir():
        return
    folders = [
        (folder, split_of_file(folder.name))
        for folder in sorted(source.iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
    ]
    for folder, split in [(source, None), *folders]:
        there = [folder / name for name in _LISTS if (folder / name).is_file()]
        if len(there) > 1:
            raise InputError(f"{folder}: holds {' and '.join(_LISTS)}; give one of them")
        yield from ((path, split) for path in there)
