"""Manifests: one JSON line a pair, enough to render the pair again bit for bit."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from bcsim.errors import InputError
from bcsim.files import write_text

MANIFEST_NAME = "metadata.jsonl"
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class PairRow:
    """One pair of a dataset; the fields are the manifest's keys, in their order.

    Args:
        id: of the pair, unique in the dataset.
        bone_file_name: relative to the manifest's folder, with forward slashes.
        air_file_name: likewise.
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
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False)

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
        for name in (row.bone_file_name, row.air_file_name):
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
                raise InputError(f"{where}: the path {name!r} leaves the dataset; rerun synthesize")
        return row


_ROW = TypeAdapter(PairRow)


def write_manifest(path: Path, rows: Iterable[PairRow]) -> None:
    """Write rows sorted by id, whole or not at all."""
    lines = [row.to_json() + "\n" for row in sorted(rows, key=lambda row: row.id)]
    write_text(path, "".join(lines))


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
