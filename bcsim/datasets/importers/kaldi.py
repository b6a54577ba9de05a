"""Kaldi data directories, one for the air microphone and one for the sensor.

A pipe in `wav.scp` is a command, and commands are never run; the one that stands for reading a
FLAC file is recognised, and the file read instead.
"""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from bcsim.datasets.exporters.kaldi import FLAC_COMMAND
from bcsim.datasets.importers import IMPORTERS
from bcsim.datasets.importers.base import FoundPair, Importer, Recording, lines_of_list, split_of
from bcsim.datasets.manifest import SIGNALS
from bcsim.errors import InputError


@IMPORTERS.register("kaldi")
class Kaldi(Importer):
    """Folders `air` and `bone`, or `SPLIT_air` and `SPLIT_bone`, with equal utterance ids."""

    defaults: ClassVar[Mapping[str, str]] = {role: role for role in SIGNALS}

    def recognises(self, source: Path) -> bool:
        return source.is_dir() and any(source.glob("*/wav.scp"))

    def read(self, source: Path) -> list[FoundPair]:
        by_set: dict[str, dict[str, Path]] = {}
        for script in sorted(source.glob("*/wav.scp")):
            folder = script.parent
            for role in ("noisy_air", "air", "bone"):  # the longer ending first
                ending = self.roles[role]
                if folder.name == ending or folder.name.endswith(f"_{ending}"):
                    by_set.setdefault(folder.name.removesuffix(ending), {})[role] = folder
                    break
        return [pair for name, folders in by_set.items() for pair in self._pairs(name, folders)]

    def _pairs(self, name: str, folders: dict[str, Path]) -> list[FoundPair]:
        by_role = {role: self._recordings(folder) for role, folder in folders.items()}
        speakers: dict[str, str] = {}
        for folder in folders.values():
            speakers |= _table(folder / "utt2spk")
        return [
            FoundPair(
                _id_of(utterance, speakers.get(utterance)),
                {role: table[utterance] for role, table in by_role.items() if utterance in table},
                _text(speakers[utterance]) if utterance in speakers else None,
                split_of(name),
            )
            for utterance in sorted(set().union(*by_role.values()))
        ]

    def _recordings(self, folder: Path) -> dict[str, Recording]:
        files = {
            key: self.locate(_file_of(value, folder / "wav.scp"), folder)
            for key, value in _table(folder / "wav.scp").items()
        }
        if not (folder / "segments").is_file():
            return {key: Recording.of_file(path) for key, path in files.items()}
        segments = {}
        for utterance, value in _table(folder / "segments").items():
            where = f"{folder / 'segments'}: {utterance}"
            try:
                recording, start, end = value.split()
                start_s, end_s = float(start), float(end)
                duration_s = None if end_s < 0 else end_s - start_s
                segments[utterance] = Recording.of_file(
                    files[recording], start_s=start_s, duration_s=duration_s
                )
            except InputError as error:
                raise InputError(f"{where}: {error}") from None
            except (ValueError, KeyError) as error:
                raise InputError(f"{where}: wants a recording, a start and an end") from error
        return segments


def _table(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    table = {}
    for where, line in lines_of_list(path):
        if not line.strip():
            continue
        key, _, value = line.strip().partition(" ")
        if key in table or not value.strip():
            raise InputError(f"{where}: wants an id of its own, and a value")
        table[key] = value.strip()
    return table


def _file_of(value: str, script: Path) -> str:
    if not value.endswith("|"):
        return value
    try:
        words = shlex.split(value[:-1])
    except ValueError:
        words = []
    if len(words) == 5 and tuple(words[:4]) == FLAC_COMMAND:
        return words[4]
    raise InputError(
        f"{script}: {value!r} is a command, and none is ever run; write the audio to files first"
    )


def _id_of(utterance: str, speaker: str | None) -> str:
    """Return the id of a pair: the speaker's part of an utterance's name becomes a folder."""
    if speaker is None or not utterance.startswith(f"{speaker}-"):
        return _text(utterance)
    return f"{_text(speaker)}/{_text(utterance.removeprefix(f'{speaker}-'))}"


def _text(token: str) -> str:
    """Undo the encoding of the exporter; other people's names hardly ever look like it.

    Example:
        >>> _text("a=20b"), _text("=C3=BC"), _text("a=b")
        ('a b', 'ü', 'a=b')
    """
    return re.sub(
        "(=[0-9A-F]{2})+",
        lambda match: bytes.fromhex(match[0].replace("=", "")).decode("utf-8", "replace"),
        token,
    )
