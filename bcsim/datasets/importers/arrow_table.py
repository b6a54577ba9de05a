"""Tables with the audio in their cells: parquet files, and what `save_to_disk` writes."""

import contextlib
import io
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO

from bcsim.datasets.importers.base import FoundPair, Recording, find_files, part_of
from bcsim.datasets.lists import (
    SPLIT_COLUMNS,
    TALKER_COLUMNS,
    end_of_part,
    name_of,
    speaker_of,
    split_told,
)
from bcsim.datasets.split_names import split_of_file
from bcsim.datasets.told_facts import DURATION_KEYS, RATE_KEYS, Told
from bcsim.errors import InputError
from bcsim.extras import optional_import
from bcsim.files.opening import open_regular
from bcsim.files.text import parse_json, read_bytes, reason_of

MAX_DEPTH = 3  # of folders: a configuration, a split, a version
_MAX_ROWS = 500_000  # of which each takes a kilobyte of memory
_MAX_STATE_BYTES = 1 << 24
_MAX_EXPANDED_BYTES = 1 << 26
_MAX_EXPANSION = 20  # times the size of the file
_FACTS = frozenset({"id", *SPLIT_COLUMNS, *TALKER_COLUMNS, *RATE_KEYS, *DURATION_KEYS})


@dataclass(frozen=True)
class ArrowTable:
    """A file that holds a table.

    Args:
        path: parquet file, or Arrow file of `save_to_disk`.
        split: split that its name or its folder tells.
    """

    path: Path
    split: str | None

    @property
    def columns(self) -> list[str]:
        """Names of the columns, and of the audio within columns of several, as `column.field`."""
        with _opened(self.path) as table:
            return [name for field in _schema(table) for name in _names_within(field)]

    def pairs(self, columns: Mapping[str, tuple[str, int | None]], folder: Path) -> list[FoundPair]:
        """Return a pair for each row; its audio is not read.

        Args:
            columns: column of each role, with the number of its channel.
            folder: folder that the paths of files begin in, where the cells hold no audio.
        """
        with _opened(self.path) as table:
            names = _schema(table).names
            keys = [name for name in names if name.lower() in _FACTS or end_of_part(name)]
            places = _places(self.path, table, keys)
            facts = _facts(table, keys) if keys else [{}] * len(places)
        if len(facts) != len(places):
            raise InputError(f"{self.path}: has other rows than it claims; make it again")
        found = []
        for number, (place, told) in enumerate(zip(places, facts, strict=True)):
            where = f"{self.path}: row {number}"
            recordings = {
                role: Recording(
                    f"{where}, {column}",
                    partial(_embedded, self.path, place, column, folder),
                    channel=channel,
                )
                for role, (column, channel) in columns.items()
            }
            fallback = f"{self.path.stem}-{number:06d}"
            try:
                speaker, name = speaker_of(told), name_of(told.get("id"))
                split = split_told(told, self.split)
            except InputError as error:
                problem = f"{where}: {error}"
                found.append(
                    FoundPair(fallback, {}, None, self.split, problem, part=part_of(self.path))
                )
                continue
            if name is None:
                name = fallback if speaker is None else f"{speaker}/{fallback}"
            found.append(
                FoundPair(
                    *(name, recordings, speaker, split),
                    part=part_of(self.path),
                    told=Told.of(told),
                )
            )
        return found


def find_tables(source: Path) -> list[ArrowTable]:
    """Return the parquet files of a source, or the Arrow files that `save_to_disk` wrote.

    Raises:
        InputError: if a folder holds several configurations of a dataset, or what was saved is only
            a choice of rows.
    """
    patterns = ["*/" * depth + "*.parquet" for depth in range(MAX_DEPTH + 1)]
    tables = [ArrowTable(path, split) for path, split in find_files(source, *patterns)]
    if tables and source.is_dir():
        _check_one_configuration(source, [table.path for table in tables])
        return tables
    if source.suffix == ".arrow":
        return [ArrowTable(source, None)]
    for state in [source / "state.json", *sorted(source.glob("*/state.json"))]:
        if state.is_file() and any(state.parent.glob("*.arrow")):
            split = None if state.parent == source else split_of_file(state.parent.name)
            tables += [ArrowTable(path, split) for path in _saved_files(state)]
    return tables


def _check_one_configuration(source: Path, paths: Sequence[Path]) -> None:
    """Check that tables are parts of one dataset: folders are its splits, or called `data`."""
    folders = [path.relative_to(source).parts[:-1] for path in paths]
    found = {
        "/".join(part for part in parts if part != "data" and split_of_file(part) is None)
        for parts in folders
    }
    if len(found) > 1:
        told = ", ".join(sorted(name or "." for name in found))
        raise InputError(f"{source}: holds several datasets ({told}); give the folder of one")


def _saved_files(state: Path) -> list[Path]:
    """Return the files that `state.json`, which `save_to_disk` wrote, lists."""
    try:
        content = parse_json(read_bytes(state, _MAX_STATE_BYTES, "the state of a saved dataset"))
        names = [entry["filename"] for entry in content["_data_files"]]
        is_choice = bool(content.get("_indices_data_files"))
        paths = [state.parent / Path(name).name for name in names]
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{state}: lists no files of a saved dataset; save it again") from error
    if is_choice:
        raise InputError(f"{state}: is a choice of rows; flatten the indices and save it again")
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise InputError(f"{state}: {missing[0].name} is missing; copy the folder again")
    return paths


@contextlib.contextmanager
def _opened(path: Path, metadata: Any = None) -> Iterator[Any]:
    """Open a table; what pyarrow says of a damaged one becomes one line that names it.

    `metadata` is that of the parquet file, where it was read before.
    """
    parquet = optional_import("pyarrow.parquet", extra="parquet")
    pyarrow = optional_import("pyarrow", extra="parquet")
    is_parquet = path.suffix == ".parquet"
    kind = "parquet file" if is_parquet else "Arrow file"
    try:
        if is_parquet:
            with parquet.ParquetFile(path, metadata=metadata) as table:
                yield table
        else:
            yield _mapped(path)
    except InputError:
        raise
    except (OSError, pyarrow.ArrowException, ValueError, TypeError, OverflowError) as error:
        reason = reason_of(error)
        raise InputError(f"{path}: is no sound {kind} ({reason}); copy it again") from error


def _mapped(path: Path) -> Any:
    """Return the table of an Arrow file, whose cells stay on the disk until they are read."""
    pyarrow = optional_import("pyarrow", extra="parquet")
    ipc = optional_import("pyarrow.ipc", extra="parquet")
    source = pyarrow.memory_map(str(path))
    batches, size = [], 0
    with ipc.open_stream(source) as reader:
        for batch in reader:
            batch.validate(full=True)  # or offsets of a damaged file lead out of its memory
            batches.append(batch)
            size += batch.nbytes
            _check_size(path, "a batch", size)
        return pyarrow.Table.from_batches(batches, reader.schema)


def _schema(table: Any) -> Any:
    return table.schema if hasattr(table, "column_names") else table.schema_arrow


def _names_within(field: Any) -> list[str]:
    """Return the name of a column, and of the fields of one that is a structure, but no audio."""
    is_struct = optional_import("pyarrow.types", extra="parquet").is_struct
    inner = [field.type.field(k).name for k in range(field.type.num_fields)]
    if not is_struct(field.type) or "bytes" in inner:
        return [field.name]
    return [field.name, *(f"{field.name}.{name}" for name in inner)]


def _places(path: Path, table: Any, keys: Collection[str]) -> list[tuple[int, int]]:
    """Return the row group of each row, and its number there, having checked what they claim."""
    if hasattr(table, "column_names"):
        groups, sizes = [], [table.num_rows]
    else:
        groups = [table.metadata.row_group(k) for k in range(table.num_row_groups)]
        sizes = [group.num_rows for group in groups]
    if not all(size >= 0 for size in sizes) or sum(sizes) > _MAX_ROWS:
        raise InputError(f"{path}: claims {sum(sizes)} rows; at most {_MAX_ROWS} are read")
    for group in groups:
        _check_expansion(path, group, keys)
    return [(group, row) for group, size in enumerate(sizes) for row in range(size)]


def _facts(table: Any, keys: list[str]) -> list[dict[str, Any]]:
    if hasattr(table, "column_names"):
        return table.select(keys).to_pylist()
    return table.read(columns=keys).to_pylist()


@lru_cache(maxsize=1)  # or the metadata of all row groups were read again for each of them
def _metadata(path: Path, modified_ns: int) -> Any:
    with _opened(path) as table:
        return None if hasattr(table, "column_names") else table.metadata


@lru_cache(maxsize=2)  # the two sides of a pair are asked for in turn, row by row
def _cells(path: Path, modified_ns: int, group: int, column: str) -> Any:
    with _opened(path, _metadata(path, modified_ns)) as table:
        if hasattr(table, "column_names"):
            names = table.column_names
            return table.column(column if column in names else column.partition(".")[0])
        _check_expansion(path, table.metadata.row_group(group), [column])
        return table.read_row_group(group, columns=[column]).column(0)


def _embedded(path: Path, place: tuple[int, int], column: str, folder: Path) -> BinaryIO:
    group, row = place
    cells = _cells(path, path.stat().st_mtime_ns, group, column)
    cell = cells[row].as_py() if row < len(cells) else None
    field = column.rpartition(".")[2]
    if isinstance(cell, dict) and "bytes" not in cell and field in cell:
        cell = cell[field]  # of a column that holds several signals
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    name = cell.get("path") if isinstance(cell, dict) else cell
    if isinstance(content, bytes) and content:
        return io.BytesIO(content)
    if content in (None, name) and isinstance(name, str) and name:
        return open_regular(folder / name)
    if isinstance(cell, list) or (isinstance(cell, dict) and "array" in cell):
        raise InputError(
            f"{path}: row {row} of {column} holds decoded samples; cast the column to Audio, and "
            "save it again"
        )
    raise InputError(f"{path}: row {row} of {column} holds no audio")


def _check_expansion(path: Path, group: Any, names: Collection[str]) -> None:
    """Refuse a row group whose columns would grow out of proportion: audio hardly shrinks."""
    for number in range(group.num_columns):
        chunk = group.column(number)
        if chunk.path_in_schema in names or chunk.path_in_schema.rpartition(".")[0] in names:
            _check_size(path, chunk.path_in_schema, chunk.total_uncompressed_size)


def _check_size(path: Path, what: str, size: int) -> None:
    if size > _MAX_EXPANDED_BYTES and size > _MAX_EXPANSION * path.stat().st_size:
        raise InputError(f"{path}: {what} expands to {size} bytes, which is no audio")
