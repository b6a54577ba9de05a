"""Manifests: one JSON line a pair, enough to render the pair again bit for bit."""

import json
import math
import unicodedata
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from bcsim.errors import InputError
from bcsim.files.atomic import replacing
from bcsim.files.opening import open_regular
from bcsim.files.paths import beneath
from bcsim.files.text import numbered_lines, parse_json, reason_of, shown

# Files of a dataset; the manifests lie in the folders of the splits.
MANIFEST_NAME, DATASET_NAME, SUMS_NAME = "metadata.jsonl", "dataset.json", "SHA256SUMS"
RECIPE_NAME, PROFILE_NAME, CARD_NAME = "recipe.resolved.yaml", "profile.sensor", "README.md"
STATE_FOLDER = ".bcsim.tmp"  # there as long as the dataset is not finished
SPLITS = ("train", "validation", "test")
SIGNALS = ("bone", "air", "noisy_air")  # folders of a split; the last is not always there
MAX_SAMPLE_RATE = 384_000
MAX_DURATION_S = 7 * 24 * 3600.0


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
            InputError: if it is not a row: no JSON, other keys, wrong types, a key twice, values
                that no recording has, or a path that leaves the dataset.
        """
        try:
            parse_json(line)  # which refuses what pydantic lets through
            row = _ROW.validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = shown(".".join(str(part) for part in first["loc"]))
            raise InputError(f"{where}: {key} {first['msg']}; rerun synthesize") from error
        except ValueError as error:
            raise InputError(f"{where}: not JSON ({reason_of(error)}); rerun synthesize") from error
        for name, value, most in (
            ("duration_s", row.duration_s, MAX_DURATION_S),
            ("sample_rate", row.sample_rate, MAX_SAMPLE_RATE),
        ):
            if not 0 < value <= most:
                raise InputError(
                    f"{where}: {name} is {value}, which no recording has; rerun synthesize"
                )
        for name in (row.id, *row.file_names.values()):
            if _leaves(name):
                raise InputError(
                    f"{where}: the path '{shown(name)}' leaves the dataset; rerun synthesize"
                )
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
        InputError: naming file and line, if it is missing, malformed, holds an id or a file twice,
            or names a file outside the dataset.
    """
    rows, ids, names = [], set(), set()
    for where, line in manifest_lines(path):
        row = PairRow.from_json(line, where)
        if row.id in ids:
            raise InputError(f"{where}: id '{shown(row.id)}' stands there twice; rerun synthesize")
        ids.add(row.id)
        for name in row.file_names.values():
            file_beneath(path.parent, name, where)
            if name in names:
                raise InputError(f"{where}: '{shown(name)}' is listed twice; rerun synthesize")
            names.add(name)
        rows.append(row)
    return rows


def manifest_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the lines of a manifest that hold something, each after what to call it in messages.

    Raises:
        InputError: if there is no such file, or a line is too long or not UTF-8.
    """
    if not path.exists():
        raise InputError(f"{path}: no such manifest; give the folder that synthesize wrote")
    with open_regular(path, "the folder that synthesize wrote") as file:
        for number, line in numbered_lines(file, path, "a manifest"):
            if line := line.rstrip("\r\n"):
                yield f"{path} line {number}", line


def file_beneath(folder: Path, name: str, where: str | None = None) -> Path:
    """Return the path of a file that a manifest names, if it is within the dataset.

    Links may lead to another split of the same dataset, and nowhere else.

    Args:
        folder: of the manifest: a split of a dataset, or a dataset of its own.
        name: relative to it.
        where: file and line, for the message; the manifest where None.

    Returns:
        The path without links below the border.

    Raises:
        InputError: if it is not.
    """
    try:
        try:
            return beneath(folder, name)
        except InputError:
            if _leaves(name) or not (folder.parent / DATASET_NAME).is_file():
                raise
            return beneath(folder.parent, f"{folder.name}/{name}")
    except InputError as error:
        raise InputError(f"{where or folder / MANIFEST_NAME}: {error}") from error


def _leaves(name: str) -> bool:
    """Tell whether a name is none of a path below a folder."""
    path = PurePosixPath(name)
    return (
        not path.parts
        or path.is_absolute()
        or ".." in path.parts
        or "\\" in name
        or any(unicodedata.category(character) == "Cc" for character in name)
    )
