"""Layouts like that of the Vibravox corpus: `audio.headset_microphone` beside `audio.SENSOR`.

As folders (`audio.SENSOR/.../NAME.wav`), as endings (`NAME.audio.SENSOR.wav`) or as columns of
parquet files with the audio embedded. The word `audio.` may be missing.
"""

import contextlib
import io
import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from bcsim.audio.folder import audio_files
from bcsim.datasets.importers import IMPORTERS
from bcsim.datasets.importers.base import FoundPair, Importer, Recording, find_files
from bcsim.errors import InputError, UsageError
from bcsim.extras import optional_import
from bcsim.files.text import reason_of

AIR = "headset_microphone"
SENSORS = (
    "forehead_accelerometer",
    "rigid_in_ear_microphone",
    "soft_in_ear_microphone",
    "temple_vibration_pickup",
    "throat_microphone",
)
_MAX_ROWS = 10_000_000
_MAX_EXPANDED_BYTES = 1 << 26
_MAX_EXPANSION = 20  # times the size of the file


@IMPORTERS.register("vibravox")
class Vibravox(Importer):
    """Air is the headset microphone; `names` says which sensor is wanted, if there are several."""

    defaults: ClassVar[Mapping[str, str]] = {"air": AIR}

    def recognises(self, source: Path) -> bool:
        if any(find_files(source, "*.parquet", "*/*.parquet")):
            return True
        try:
            return source.is_dir() and any(
                self._sensor_and_id(path, source)[0] for path in audio_files(source)
            )
        except InputError:
            return False  # a folder without audio

    def read(self, source: Path) -> list[FoundPair]:
        tables = list(find_files(source, "*.parquet", "*/*.parquet"))
        if tables:
            return [pair for path, split in tables for pair in self._rows(path, split)]
        by_sensor: dict[str, dict[str, Path]] = {}
        for path in audio_files(source):
            sensor, pair_id = self._sensor_and_id(path, source)
            if sensor:
                files = by_sensor.setdefault(sensor, {})
                if pair_id in files:
                    raise InputError(f"{files[pair_id]} and {path}: both are {pair_id!r}; move one")
                files[pair_id] = path
        chosen = self._choose(set(by_sensor), source)
        by_role = {role: by_sensor.get(sensor, {}) for role, sensor in chosen.items()}
        return [
            FoundPair(
                pair_id,
                {
                    role: Recording.of_file(files[pair_id])
                    for role, files in by_role.items()
                    if pair_id in files
                },
            )
            for pair_id in sorted(set().union(*by_role.values()))
        ]

    def _sensor_and_id(self, path: Path, folder: Path) -> tuple[str | None, str]:
        """Return whose recording a file is, and its path without that."""
        words = "|".join(re.escape(word) for word in {AIR, *SENSORS, *self.sensors.values()})
        name = rf"(?:audio\.(?P<any>\w+)|(?P<known>{words}))"
        *folders, last = path.relative_to(folder).with_suffix("").parts
        for number, part in enumerate(folders):
            if match := re.fullmatch(name, part):
                others = [*folders[:number], *folders[number + 1 :], last]
                return match["any"] or match["known"], "/".join(others)
        if match := re.fullmatch(rf"(?P<stem>.+?)\.{name}", last):
            return match["any"] or match["known"], "/".join([*folders, match["stem"]])
        return None, ""

    @property
    def sensors(self) -> dict[str, str]:
        """Role to sensor, without the word `audio.`."""
        return {role: name.removeprefix("audio.") for role, name in self.roles.items()}

    def _choose(self, there: set[str], source: Path) -> dict[str, str]:
        chosen = self.sensors
        others = sorted(there - set(chosen.values()))
        if "bone" not in chosen and len(others) == 1:
            chosen["bone"] = others[0]
        missing = [name for name in chosen.values() if name not in there]
        if "bone" not in chosen or missing:
            raise UsageError(
                f"{source}: holds {', '.join(sorted(there)) or 'no such recordings'}; say which "
                f"are wanted as air and bone (not there: {', '.join(missing) or 'none'})"
            )
        return chosen

    def _rows(self, path: Path, split: str | None) -> list[FoundPair]:
        with _table(path) as table:
            columns = table.schema_arrow.names
            groups = [table.metadata.row_group(k) for k in range(table.num_row_groups)]
            sizes = [group.num_rows for group in groups]
            if not all(size >= 0 for size in sizes) or sum(sizes) > _MAX_ROWS:
                raise InputError(f"{path}: claims {sum(sizes)} rows; at most {_MAX_ROWS} are read")
            keys = [name for name in ("id", "speaker_id", "speaker") if name in columns]
            for group in groups:
                _check_expansion(path, group, keys)
            facts = table.read(columns=keys).to_pylist() if keys else [{}] * sum(sizes)
            if len(facts) != sum(sizes):
                raise InputError(f"{path}: has other rows than it claims; make it again")
        prefix = "audio." if any(name.startswith("audio.") for name in columns) else ""
        audio = {
            name.removeprefix(prefix)
            for name in columns
            if name.startswith("audio.") or name in (AIR, *SENSORS)
        }
        chosen = self._choose(audio, path)
        places = [(group, row) for group, size in enumerate(sizes) for row in range(size)]
        pairs = []
        for number, ((group, row), told) in enumerate(zip(places, facts, strict=True)):
            speaker = told.get("speaker_id") or told.get("speaker")
            fallback = f"{path.stem}-{number:06d}"
            pair_id = str(told.get("id") or (f"{speaker}/{fallback}" if speaker else fallback))
            recordings = {
                role: Recording(
                    f"{path}: row {number}, {sensor}",
                    partial(_embedded, path, group, row, f"{prefix}{sensor}"),
                )
                for role, sensor in chosen.items()
            }
            pairs.append(FoundPair(pair_id, recordings, speaker and str(speaker), split))
        return pairs


@lru_cache(maxsize=2)  # the two sides of a pair are asked for in turn, row by row
def _row_group(path: Path, group: int, column: str) -> Any:
    with _table(path) as table:
        _check_expansion(path, table.metadata.row_group(group), [column])
        return table.read_row_group(group, columns=[column]).column(0)


def _embedded(path: Path, group: int, row: int, column: str) -> BinaryIO:
    cells = _row_group(path, group, column)
    cell = cells[row].as_py() if row < len(cells) else None
    content = cell.get("bytes") if isinstance(cell, dict) else None
    if not isinstance(content, bytes) or not content:
        raise InputError(f"{path}: row {row} of {column} holds no audio")
    return io.BytesIO(content)


@contextlib.contextmanager
def _table(path: Path) -> Iterator[Any]:
    """Open a parquet file; what pyarrow says of a damaged one becomes one line that names it."""
    parquet = optional_import("pyarrow.parquet", extra="parquet")
    pyarrow = optional_import("pyarrow", extra="parquet")
    try:
        with parquet.ParquetFile(path) as table:
            yield table
    except InputError:
        raise
    except (OSError, pyarrow.ArrowException, ValueError, TypeError, OverflowError) as error:
        reason = reason_of(error)
        raise InputError(f"{path}: is no sound parquet file ({reason}); copy it again") from error


def _check_expansion(path: Path, group: Any, names: Collection[str]) -> None:
    """Refuse a row group whose columns would grow out of proportion: audio hardly shrinks."""
    for number in range(group.num_columns):
        chunk = group.column(number)
        if chunk.path_in_schema in names or chunk.path_in_schema.rpartition(".")[0] in names:
            large = chunk.total_uncompressed_size > _MAX_EXPANDED_BYTES
            if large and chunk.total_uncompressed_size > _MAX_EXPANSION * path.stat().st_size:
                raise InputError(
                    f"{path}: {chunk.path_in_schema} expands to {chunk.total_uncompressed_size} "
                    "bytes, which is no audio"
                )
