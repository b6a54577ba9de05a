"""What an exporter is, and what it needs to know of a pair."""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from bcsim.datasets.dataset import ListedPair
from bcsim.datasets.manifest import SIGNALS
from bcsim.errors import InputError, UsageError
from bcsim.files.text import check_text

_NAMES = {"id", "speaker", *(f"{signal}_file_name" for signal in SIGNALS)}


def check_exportable(pairs: Iterable[ListedPair]) -> Iterator[ListedPair]:
    """Yield pairs that a list of another library can hold.

    Raises:
        InputError: naming file and line, if a pair has no duration or sample rate, a name that
            is not text on one line, an id that cannot be a path, or a file that is not there.
    """
    for pair in pairs:
        content = pair.content
        names = [content.get("id"), *map(str, pair.files.values())]
        if content.get("speaker") is not None:  # it may be unknown
            names.append(content["speaker"])
        numbers: list[Any] = [content.get(key) for key in ("duration_s", "sample_rate")]
        named = all(map(_is_text, names))
        # A bool is no number here, and not a number is not above 0.
        if not (named and all(type(n) in (int, float) and 0 < n < math.inf for n in numbers)):
            raise InputError(
                f"{pair.where}: is no row that synthesize or import wrote; run the command again"
            )
        if any(part in ("", ".", "..") for part in pair.id.split("/")):
            raise InputError(f"{pair.where}: id {pair.id!r} cannot be a path; run synthesize again")
        for path in pair.files.values():
            if not os.path.isfile(path):
                raise InputError(f"{pair.where}: {path} is missing; run synthesize again")
        yield pair


def facts_of(pair: ListedPair) -> dict[str, Any]:
    """Return what a manifest says of a pair besides its id, its speaker and its files."""
    return {key: value for key, value in pair.content.items() if key not in _NAMES}


def check_listable(folder: Path) -> None:
    """Raise a UsageError if a path is not text on one line, and so cannot be in a list of files."""
    if not _is_text(str(folder)):
        raise UsageError(f"{folder}: no list can name this path; rename or move the folder")


def _is_text(name: Any) -> bool:
    try:
        check_text("name", name, several_lines=False)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Exporter(ABC):
    """A format; subclasses are registered in `bcsim.datasets.exporters.EXPORTERS`."""

    shard_size: int = 1000  # pairs in a shard, where the format has shards
    sharded: ClassVar[bool] = False

    @abstractmethod
    def write_split(self, pairs: Iterable[ListedPair], split: str, out: Path) -> None:
        """Write one split.

        Args:
            pairs: pairs sorted by id, which have passed `check_exportable`; read one by one.
            split: "train", "validation", "test" or "all".
            out: folder of the whole export.
        """
