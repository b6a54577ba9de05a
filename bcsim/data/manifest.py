"""Manifests: one JSON line a pair, enough to render the pair again bit for bit."""

import json
import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from bcsim.errors import InputError
from bcsim.files import replacing

MANIFEST_NAME = "metadata.jsonl"
SPLITS = ("train", "validation", "test")
SIGNALS = ("bone", "air", "noisy_air")  # folders of a split; the last is not always there


@dataclass(frozen=True, kw_only=True)
class PairRow:
    """One pair of a dataset; the fields are the manifest's keys, in their order.

    Args:
        id: of the pair, unique in the dataset.
        bone_file_name: relative to the manifest's folder, with forward slashes.
        air_file_name: likewise.
        noisy_air_file_name: likewise, what the air microphone picked up where that is not `air`.
        speaker: who speaks; splits go by speaker.
        duration_s: in seconds.
        sample_rate: of both files, in Hz.
        sensor: name of the sensor or preset.
        source: the air recording it was rendered from, relative to the input folder.
        source_sha256: of that file.
        seed: root seed.
        drawn: what every effect drew.
    """

    id: str
    bone_file_name: str
    air_file_name: str
    noisy_air_file_name: str | None = None
    speaker: str
    duration_s: float
    sample_rate: int
    sensor: str
    source: str
    source_sha256: str
    seed: int
    drawn: dict[str, Any]

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    def to_json(self) -> str:
        """Return the row as one line of JSON, keys in the order of the fields."""
        content = {key: value for key, value in vars(self).items() if value is not None}
        return json.dumps(content, ensure_ascii=False, allow_nan=False)

    @property
    def file_names(self) -> dict[str, str]:
        """The pair's files, signal to path."""
        names = ((signal, getattr(self, f"{signal}_file_name")) for signal in SIGNALS)
        return {signal: name for signal, name in names if name is not None}

    @classmethod
    def from_json(cls, line: str, where: str) -> "PairRow":
        """Read a row.

        Args:
            line: of JSON.
            where: file and line, for the message.

        Raises:
            InputError: if it is not a row: no JSON, other keys, wrong types, or a path that
                leaves the dataset.
        """
        try:
            row = _ROW.validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise InputError(f"{where}: {key} {first['msg']}; rerun synthesize".lstrip()) from error
        for name in (row.id, *row.file_names.values()):
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
                raise InputError(f"{where}: the path {name!r} leaves the dataset; rerun synthesize")
        return row


_ROW = TypeAdapter(PairRow)


class Tally:
    """What the rows of a manifest come to.

    Args:
        speakers: all of them.
    """

    def __init__(self) -> None:
        self.speakers: set[str] = set()
        self._durations_s = array("d")

    def add(self, speaker: str, duration_s: float) -> None:
        """Count one row."""
        self.speakers.add(speaker)
        self._durations_s.append(duration_s)

    @property
    def num_pairs(self) -> int:
        """Rows."""
        return len(self._durations_s)

    @property
    def seconds(self) -> float:
        """Of speech; an exact sum, so that the order in which rows came does not show."""
        return math.fsum(self._durations_s)


def write_manifest(path: Path, rows: Iterable[PairRow]) -> None:
    """Write rows sorted by id, whole or not at all."""
    write_lines(path, (row.to_json() + "\n" for row in sorted(rows, key=lambda row: row.id)))


def write_lines(path: Path, lines: Iterable[str]) -> Tally:
    """Write the lines of a manifest, which come sorted by id, whole or not at all.

    They pass through one by one: manifests may be larger than memory.
    """
    tally = Tally()
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        for line in lines:
            file.write(line)
            row = json.loads(line)
            tally.add(row["speaker"], row["duration_s"])
    return tally


def read_manifest(path: Path) -> list[PairRow]:
    """Read a manifest.

    Raises:
        InputError: naming file and line, if it is missing, malformed or holds an id twice.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such manifest; give the folder that synthesize wrote")
    rows = []
    seen = set()
    try:
        lines = path.read_text("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text; rerun synthesize") from error
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        row = PairRow.from_json(line, f"{path} line {number}")
        if row.id in seen:
            raise InputError(f"{path} line {number}: id {row.id!r} stands there twice")
        seen.add(row.id)
        rows.append(row)
    return rows
