"""Manifests that bcsim writes: one JSON line a pair, enough to render it again bit for bit."""

import json
import math
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from bcsim.datasets.remarks import Remarks
from bcsim.errors import InputError
from bcsim.files.atomic import replacing
from bcsim.files.opening import open_regular
from bcsim.files.paths import beneath
from bcsim.files.run_lines import RunLines
from bcsim.files.text import (
    BYTE_ORDER_MARK,
    MAX_LINE_BYTES,
    decode_line,
    parse_json,
    reason_of,
    shown,
)

# Files of a dataset; the manifests lie in the folders of the splits.
MANIFEST_NAME, DATASET_NAME, SUMS_NAME = "metadata.jsonl", "dataset.json", "SHA256SUMS"
RECIPE_NAME, PROFILE_NAME, CARD_NAME = "recipe.resolved.yaml", "profile.sensor", "README.md"
STATE_FOLDER = ".bcsim.tmp"  # there as long as the dataset is not finished
SPLITS = ("train", "validation", "test")
SIGNALS = ("bone", "air", "noisy_air")  # folders of a split; the last is not always there
MAX_NAME_BYTES = 200  # of a file's stem; file systems allow 255 for the whole name
MAX_SAMPLE_RATE = 384_000
_MAX_DURATION_S = 7 * 24 * 3600.0
RECORDED = "recorded"  # the sensor of imported pairs
_BLOCK_BYTES = 1 << 16  # of a text that are in memory


@dataclass(frozen=True, kw_only=True)
class PairRow:
    """One pair of a dataset; the fields are the manifest's keys, in their order.

    Args:
        id: name of the pair, unique in the split.
        bone_file_name: path of the sensor's file below the manifest's folder, with forward slashes.
        air_file_name: path of the air microphone's file.
        noisy_air_file_name: path of the noisy air microphone's file, where that is not `air`.
        speaker: name of the speaker, by whom splits go; None where nothing tells.
        duration_s: duration of all files in seconds.
        sample_rate: sample rate of all files in Hz.
        sensor: name of the sensor or preset.
        source: path of the air recording that the pair was rendered from, below the input folder.
        source_sha256: SHA-256 of that recording's file.
        seed: root seed.
        drawn: what every effect drew, by the name of its step.
        applied_gain_db: gain in dB by signal that the effects applied because of the signals' peaks
            (`peak_limit`, `peak_normalize`), which no draw tells; None where it is not known.
        measured: what came about, by step or signal and quantity: "ambient_noise.snr_db", the SNR
            in the clip; "bone.peak_dbfs", the peak of the file; "source.bandwidth_hz", half of the
            recording's sample rate. In dB or Hz; None for what has no number, such as the SNR
            without noise.
        findings: what is to be said of the recording that the pair was rendered from: kind, text
            and remedy of each finding. None where there is nothing to say.
    """

    id: str
    bone_file_name: str
    air_file_name: str
    noisy_air_file_name: str | None = None
    speaker: str | None = None
    duration_s: float
    sample_rate: int
    sensor: str
    source: str
    source_sha256: str
    seed: int
    drawn: dict[str, Any]
    applied_gain_db: dict[str, float] | None = None
    measured: dict[str, float | None] | None = None
    findings: list[dict[str, str]] | None = None

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    def to_json(self) -> str:
        """Return the row as one line of JSON, keys in the order of the fields."""
        content = {key: value for key, value in vars(self).items() if value is not None}
        return json.dumps(content, ensure_ascii=False, allow_nan=False)

    def read_back(self) -> "PairRow":
        """Return the row as a reader of its line has it; call it before the line is written.

        Raises:
            InputError: if no reader takes it, or has another row.
        """
        line = self.to_json()
        decode_line(line.encode("utf-8"), shown(self.id), "a manifest")
        if PairRow.from_json(line, shown(self.id)).to_json() != line:
            raise InputError(f"{self.id}: its row is another one when it is read again; rename it")
        return self

    @property
    def file_names(self) -> dict[str, str]:
        """The pair's files, signal to path."""
        names = ((signal, getattr(self, f"{signal}_file_name")) for signal in SIGNALS)
        return {signal: name for signal, name in names if name is not None}

    @property
    def is_rendered(self) -> bool:
        """Whether the pair was rendered, hence is synchronous but for what its effects did."""
        return is_rendered(vars(self))

    def is_pair_of(self, earlier: "PairRow") -> bool:
        """Tell whether an earlier row describes the same pair.

        A key that the earlier row lacks says nothing: it may be newer than that row. The files do.
        What was measured may differ in its last digit from one machine to the next.
        """
        told = {key: value for key, value in vars(earlier).items() if value is not None}
        told = {k: v for k, v in told.items() if k not in _OBSERVED}
        return self.file_names == earlier.file_names and told.items() <= vars(self).items()

    @classmethod
    def from_json(cls, line: str, where: str) -> "PairRow":
        """Read a row from a line of JSON.

        Raises:
            InputError: naming `where`, file and line, if the line is no JSON, has other keys, a key
                twice, wrong types, values that no recording has, or a path that leaves the dataset.
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
        for name, most in (("duration_s", _MAX_DURATION_S), ("sample_rate", MAX_SAMPLE_RATE)):
            value = getattr(row, name)
            if not 0 < value <= most:
                raise InputError(
                    f"{where}: {name} is {value}, which no recording has; rerun synthesize"
                )
        for name in (row.id, *row.file_names.values()):
            if _leaves_folder(name):
                raise InputError(
                    f"{where}: the path '{shown(name)}' leaves the dataset; rerun synthesize"
                )
        return row


_ROW = TypeAdapter(PairRow)
_OBSERVED = ("applied_gain_db", "measured", "findings")  # keys of what came about


def is_rendered(content: Mapping[str, Any]) -> bool:
    """Tell by the keys of a manifest's line whether `synthesize` rendered the pair.

    Only bcsim writes what was drawn; an imported pair has no draws, and was recorded.
    """
    return "drawn" in content and bool(content["drawn"] or content.get("sensor") != RECORDED)


@dataclass(frozen=True, slots=True)
class WrittenPair:
    """A pair whose files are written."""

    line: str  # of the manifest, without its end
    sha256: tuple[str, ...]  # of each of the files, in the order of `PairRow.file_names`


@dataclass
class Tally:
    """What is counted over the pairs of a split.

    Args:
        speakers: names of the known speakers.
        durations_s: duration of each pair in seconds.
        num_unknown: number of pairs whose speaker is unknown.
        lowered_db: lowest gain in dB of each pair of which a signal was turned down by its peak.
        num_air_lowered: number of those whose air was turned down.
    """

    speakers: set[str] = field(default_factory=set)
    durations_s: "array[float]" = field(default_factory=lambda: array("d"))
    num_unknown: int = 0
    lowered_db: "array[float]" = field(default_factory=lambda: array("d"))
    num_air_lowered: int = 0

    @property
    def num_pairs(self) -> int:
        """Number of pairs."""
        return len(self.durations_s)

    @property
    def seconds(self) -> float:
        """Duration of all pairs in seconds: an exact sum, equal for every order of the rows."""
        return math.fsum(self.durations_s)


def write_manifest(path: Path, rows: Iterable[PairRow]) -> None:
    """Write rows sorted by id, whole or not at all."""
    write_lines(path, (row.to_json() + "\n" for row in sorted(rows, key=lambda row: row.id)))


def write_lines(
    path: Path,
    lines: Iterable[str],
    remarks: Remarks | None = None,
    noticed: RunLines | None = None,
) -> Tally:
    """Write the lines of a manifest, sorted by id, one by one: it may be larger than memory.

    Their rows are counted in `remarks`, if there are some, and the findings of their recordings
    written to `noticed`.
    """
    tally = Tally()
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        for line in lines:
            file.write(line)
            row = json.loads(line)
            if row.get("speaker") is not None:
                tally.speakers.add(row["speaker"])
            else:
                tally.num_unknown += 1
            if remarks is not None:
                findings = remarks.add(row)
                if noticed is not None:
                    for finding in findings:
                        noticed.add({"recording": row["source"], **finding})
            tally.durations_s.append(row["duration_s"])
            gains_db = row.get("applied_gain_db") or {}
            if min(gains_db.values(), default=0.0) < 0:
                tally.lowered_db.append(min(gains_db.values()))
                tally.num_air_lowered += gains_db.get("air", 0.0) < 0
    return tally


def lines_of(path: Path, what: str = "a manifest") -> Iterator[tuple[str, str]]:
    """Yield the place of each line of a text, for messages, and the line without its end.

    The file is closed between blocks of lines: there may be hundreds of shards.

    Raises:
        InputError: naming file and line, if the file cannot be read, or a line is longer than
            1 MiB or not UTF-8.
    """
    number = offset = 0
    while True:
        with open_regular(path, "the folder that synthesize wrote") as file:
            file.seek(offset)
            block = file.read(_BLOCK_BYTES)
            rest = file.readline(MAX_LINE_BYTES + 1)
            offset = file.tell()
        if not block:
            return
        for content in (block + rest).removesuffix(b"\n").split(b"\n"):
            number += 1
            where = f"{path} line {number}"
            line = decode_line(content, where, what)
            yield where, line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line


def file_beneath(folder: Path, name: str, where: str | None = None) -> Path:
    """Return the path, links followed, of a file that the manifest in a folder names.

    Links may lead to another split of the same dataset, and nowhere else.

    Raises:
        InputError: if the file is not within the dataset.
    """
    try:
        try:
            return beneath(folder, name)
        except InputError:
            if _leaves_folder(name) or not (folder.parent / DATASET_NAME).is_file():
                raise
            return beneath(folder.parent, f"{folder.name}/{name}")
    except InputError as error:
        place = where or folder / MANIFEST_NAME
        raise InputError(f"{place}: leaves the dataset: {error}") from error


def _leaves_folder(name: str) -> bool:
    path = PurePosixPath(name)
    return (
        not path.parts
        or path.is_absolute()
        or ".." in path.parts
        or "\\" in name
        or any(unicodedata.category(character) == "Cc" for character in name)
    )
