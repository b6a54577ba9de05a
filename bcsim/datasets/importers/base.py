"""What an importer is, and the recordings that it finds."""

import gzip
import os
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, cast

from bcsim.errors import InputError
from bcsim.files.opening import open_regular
from bcsim.files.text import numbered_lines, reason_of

MAX_LIST_BYTES = 1 << 30
_MAX_TIME_S = 1e9  # thirty years
_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    "test": "test",
}


@dataclass(frozen=True)
class Recording:
    """One signal of a pair: a file, or a channel or a segment of it.

    Args:
        name: name of the recording, for messages and the manifest.
        open: function that opens the file; nothing is read before it is called.
        channel: number of the channel, from 0; None for a file of one channel.
        start_s: start of the segment in seconds.
        duration_s: duration of the segment in seconds; None for all that is left.
    """

    name: str
    open: Callable[[], BinaryIO]
    channel: int | None = None
    start_s: float = 0.0
    duration_s: float | None = None

    def __post_init__(self) -> None:
        for value in (self.start_s, self.duration_s or 0.0):
            if not abs(value) <= _MAX_TIME_S:  # not a number is not <= anything either
                raise InputError(f"{self.name}: {value} s is no time in a recording; mend the list")

    @classmethod
    def of_file(cls, path: Path, **segment: Any) -> "Recording":
        """Return the recording in a file."""
        return cls(str(path), partial(open_regular, path), **segment)


@dataclass(frozen=True)
class FoundPair:
    """A pair that a source lists.

    Args:
        id: name of the pair, unique in its split.
        recordings: recording by role, "air", "bone" and perhaps "noisy_air"; a pair without air or
            bone is named as one that cannot be used.
        speaker: name of the speaker, if the source tells.
        split: "train", "validation" or "test", if the source tells.
    """

    id: str
    recordings: Mapping[str, Recording]
    speaker: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class Importer(ABC):
    """A format to import; subclasses are registered in `bcsim.datasets.importers.IMPORTERS`.

    Args:
        names: the source's name (a column, field, folder or ending) of a role, where that is not
            the usual one of the format.
        channels: role of each channel of files that hold several; "-" for one of no use.
        root: folder that relative paths and `{data_root}` start from; None for the manifest's own.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    channels: tuple[str, ...] = ()
    root: Path | None = None

    defaults: ClassVar[Mapping[str, str]] = {}

    @property
    def roles(self) -> dict[str, str]:
        """Role to what this source calls it."""
        return {**self.defaults, **self.names}

    @property
    def channel_of(self) -> dict[str, int]:
        """Role to the number of its channel, from 0."""
        return {role: number for number, role in enumerate(self.channels) if role != "-"}

    @abstractmethod
    def recognises(self, source: Path) -> bool:
        """Tell whether a file or folder is of this format."""

    @abstractmethod
    def read(self, source: Path) -> list[FoundPair]:
        """List the pairs of a source; no audio is read.

        Raises:
            InputError: naming file and line, if the source is malformed.
        """

    def locate(self, name: str, manifest: Path) -> Path:
        """Return the file that a manifest names."""
        return (self.root or manifest.parent) / name


def lines_of_list(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the place of each line of a list, for messages, and the line; `.gz` is expanded.

    Raises:
        InputError: if the list cannot be read, is not UTF-8, or has more than 1 GiB, or more than
            1 MiB in a line.
    """
    what = "a list of recordings"
    message = f"{path}: larger than {MAX_LIST_BYTES} bytes; split it into several lists"
    with open_regular(path, what) as raw:
        if os.fstat(raw.fileno()).st_size > MAX_LIST_BYTES:
            raise InputError(message)
        packed = path.suffix == ".gz"
        with cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if packed else nullcontext(raw) as file:
            try:
                for number, line in numbered_lines(file, path, what):
                    if file.tell() > MAX_LIST_BYTES:
                        raise InputError(message)
                    yield f"{path} line {number}", line
            except (OSError, EOFError, zlib.error) as error:
                raise InputError(f"{path}: cannot be read ({reason_of(error)}); mend it") from error


def find_files(source: Path, *patterns: str) -> Iterator[tuple[Path, str | None]]:
    """Yield the source itself, or the files below it that match, each with its split.

    A folder's files belong to the splits that their names tell; a file alone is a whole.
    """
    if source.is_file():
        if any(source.match(pattern) for pattern in patterns):
            yield source, None
        return
    for path in sorted({path for pattern in patterns for path in source.glob(pattern)}):
        if path.is_file():
            yield path, split_of(path.name)


def split_of(name: str) -> str | None:
    """Return the split that a name tells.

    Example:
        >>> split_of("cuts_dev.jsonl.gz"), split_of("train-000001.tar")
        ('validation', 'train')
    """
    words = re.split(r"[^a-z]+", name.lower())
    return next((_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS), None)
