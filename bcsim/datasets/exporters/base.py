"""What an exporter is, and the dataset that it reads."""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from bcsim.datasets.manifest import MANIFEST_NAME, SIGNALS, SPLITS, STATE_FOLDER
from bcsim.errors import InputError, UsageError
from bcsim.files.atomic import environment_faults
from bcsim.files.opening import open_regular
from bcsim.files.text import numbered_lines

WHOLE = "all"  # the one split of a dataset that has none
_NO_ROW = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class ListedPair:
    """A pair as a manifest lists it.

    Args:
        id: unique in its split, with forward slashes.
        speaker: who speaks.
        files: role ("bone", "air", perhaps "noisy_air") to file.
        row: everything else that the manifest says.
        dataset: the folder that everything is in, absolute.
    """

    id: str
    speaker: str
    files: dict[str, Path]
    row: dict[str, Any]
    dataset: Path


@dataclass(frozen=True)
class PairedDataset:
    """A folder of pairs with manifests, read line by line: memory does not grow with it.

    Args:
        folder: absolute.
        manifests: split to manifest.
    """

    folder: Path
    manifests: dict[str, Path]

    @classmethod
    def open(cls, folder: Path) -> "PairedDataset":
        """Find the manifests of a dataset.

        Raises:
            InputError: if there are none, or `synthesize` is not done with it.
            UsageError: if its path is not UTF-8, which no list of files can hold.
        """
        absolute = folder.resolve()
        check_listable(absolute)
        if (absolute / STATE_FOLDER).is_dir():
            raise InputError(f"{folder}: is not finished; run the same synthesize command again")
        found = {split: absolute / split / MANIFEST_NAME for split in SPLITS}
        found[WHOLE] = absolute / MANIFEST_NAME
        manifests = {split: path for split, path in found.items() if path.is_file()}
        if not manifests:
            raise InputError(
                f"{folder}: holds no {MANIFEST_NAME}; give the folder that synthesize or import "
                "wrote"
            )
        return cls(absolute, manifests)

    def count(self, split: str) -> int:
        """Return how many pairs a split has."""
        with environment_faults(self.folder):
            return sum(1 for _, line in _lines(self.manifests[split]) if line.strip())

    def pairs(self, split: str) -> Iterator[ListedPair]:
        """Yield the pairs of a split in the manifest's order.

        Raises:
            InputError: naming file and line, if a row is malformed, leaves the folder, or names
                a file that is not there.
        """
        path = self.manifests[split]
        seen: set[str] = set()
        for number, line in _lines(path):
            if not line.strip():
                continue
            pair = self._pair(line, path.parent, f"{path} line {number}")
            if pair.id in seen:
                raise InputError(f"{path} line {number}: id {pair.id!r} stands there twice")
            seen.add(pair.id)
            yield pair

    def _pair(self, line: str, folder: Path, where: str) -> ListedPair:
        try:
            row = json.loads(line)
            keys = {role: f"{role}_file_name" for role in SIGNALS}
            names = {role: row.pop(key) for role, key in keys.items() if row.get(key)}
            pair_id = row.pop("id")
            speaker = row.pop("speaker")
            texts = [pair_id, speaker, names["bone"], names["air"], *names.values()]
            if not all(isinstance(text, str) and text.isprintable() for text in texts):
                raise ValueError("a name that is no text")
            if not all(0 < float(row[key]) < math.inf for key in ("duration_s", "sample_rate")):
                raise ValueError("nothing to hear")
        except _NO_ROW as error:
            raise InputError(
                f"{where}: is no row of a manifest that synthesize or import wrote; run it again"
            ) from error
        if any(part in ("", ".", "..") for part in pair_id.split("/")):
            raise InputError(f"{where}: id {pair_id!r} cannot be a path; run synthesize again")
        files = {role: folder / name for role, name in names.items()}
        for path in files.values():
            if not path.resolve().is_relative_to(folder):
                raise InputError(f"{where}: the path {str(path)!r} leaves the dataset")
            if not path.is_file():
                raise InputError(f"{where}: {path} is missing; run synthesize again")
        return ListedPair(pair_id, speaker, files, row, self.folder)


def _lines(manifest: Path) -> Iterator[tuple[int, str]]:
    what = "a manifest that synthesize or import wrote"
    with open_regular(manifest, what) as file:
        yield from numbered_lines(file, manifest, what)


def check_listable(folder: Path) -> None:
    """Refuse a path that is not UTF-8, which no list of files can hold.

    Raises:
        UsageError: naming it.
    """
    if not str(folder).isprintable():
        raise UsageError(f"{folder}: no list can name this path; rename or move the folder")


@dataclass(frozen=True)
class Exporter(ABC):
    """A format; subclasses are registered in `bcsim.datasets.exporters.EXPORTERS`.

    Args:
        shard_size: pairs a shard, where the format has shards.
    """

    shard_size: int = 1000

    sharded: ClassVar[bool] = False

    @abstractmethod
    def write_split(self, pairs: Iterable[ListedPair], split: str, out: Path) -> None:
        """Write one split.

        Args:
            pairs: sorted by id, read as they are asked for.
            split: train, validation, test or all.
            out: folder of all splits; it takes its final name when all is done.
        """
