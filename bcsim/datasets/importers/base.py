"""What an importer is, and the recordings that it finds."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from bcsim.audio.copy import ROUNDING_S
from bcsim.audio.folder import without_audio_suffix
from bcsim.datasets.lists import Entry, split_told
from bcsim.datasets.speaker_names import speaker_of_path
from bcsim.datasets.split_names import split_of_file, split_of_folder
from bcsim.datasets.told_facts import NOTHING_TOLD, Told
from bcsim.errors import InputError
from bcsim.files.opening import open_regular
from bcsim.files.paths import existing_spelling
from bcsim.files.text import shown

_MAX_TIME_S = 1e9  # thirty years

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recording:
    """One signal of a pair: a file, or a channel or a segment of it.

    Args:
        name: name of the recording, for messages and the manifest.
        open: function that opens the file; nothing is read before it is called.
        channel: number of the channel, from 0; None for a file of one channel.
        start_s: start of the segment in seconds.
        duration_s: duration of the segment in seconds; None for all that is left.
        overshoot_s: time in seconds by which a segment may end behind its recording, and is cut.
        sample_rate: sample rate in Hz to resample to; None to keep that of the file.
        told: what the source tells of the whole file.
    """

    name: str
    open: Callable[[], BinaryIO]
    channel: int | None = None
    start_s: float = 0.0
    duration_s: float | None = None
    overshoot_s: float = ROUNDING_S
    sample_rate: int | None = None
    told: Told = NOTHING_TOLD

    def __post_init__(self) -> None:
        for value in (self.start_s, self.duration_s or 0.0):
            if not abs(value) <= _MAX_TIME_S:  # not a number is not <= anything either
                raise InputError(f"{self.name}: {value} s is no time in a recording; mend the list")

    @classmethod
    def of_file(cls, path: Path, **segment: Any) -> "Recording":
        """Return the recording in a file."""
        name = str(path)  # in place of the path, which takes four times the memory
        return cls(name, partial(open_regular, name), **segment)


@dataclass(frozen=True, slots=True)
class FoundPair:
    """A pair that a source lists.

    Args:
        id: name of the pair, unique in its split.
        recordings: recording by role, "air", "bone" and perhaps "noisy_air"; a pair without air or
            bone is named as one that cannot be used.
        speaker: name of the speaker, if the source tells.
        split: "train", "validation" or "test", if the source tells.
        problem: why the entry cannot be used, with its place in the source; None for a sound one.
        part: path of the list or shard that holds the pair, without its endings, which tells equal
            ids of several apart.
        told: what the source tells of the files, of one of them at least.
    """

    id: str
    recordings: Mapping[str, Recording]
    speaker: str | None = None
    split: str | None = None
    problem: str | None = None
    part: str = ""
    told: Told = NOTHING_TOLD


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
    takes_channels: ClassVar[bool] = False  # or files of several channels are none of the format

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
        """Tell whether a file or folder is of this format, by its content and not by its name.

        Exactly one importer recognises a source, or the user is asked.

        Raises:
            InputError: saying what was seen and what was wanted, if the source is of this format
                but for something that the user can mend or name. It is told if no other importer
                recognises the source.
        """

    @abstractmethod
    def read(self, source: Path) -> Iterable[FoundPair]:
        """Return the pairs of a source, to be gone through several times; no audio is read.

        Those of a list that may be long are a `ReadAnew`. Every entry of the
        source is listed: a malformed one as a pair with a `problem`.

        Raises:
            InputError: naming the file, if the source as a whole cannot be read; it may be raised
                when the pairs are gone through.
        """

    @staticmethod
    def _wants(place: Path, columns: Iterable[str], wanted: Iterable[str]) -> str:
        """Return what to say of a list whose columns are none of those of air and bone."""
        return (
            f"{place}: has the columns {shown(', '.join(columns))}; wants "
            f"{' and '.join(wanted)}, or the names of the columns that are air and bone"
        )

    def locate(self, name: str, manifest: Path) -> Path:
        """Return the file that a manifest names."""
        return existing_spelling(self.root or manifest.parent, name)


class ReadAnew(Iterable[FoundPair]):
    """Pairs that are read anew whenever they are gone through, and are not in memory.

    Args:
        read: function that yields them.
    """

    def __init__(self, read: Callable[[], Iterator[FoundPair]]) -> None:
        self._read = read

    def __iter__(self) -> Iterator[FoundPair]:
        return self._read()


def pairs_of_lists(
    lists: Sequence[tuple[Path, str | None]],
    entries: Callable[[Path], Iterable[Entry]],
    make: Callable[[Entry, Path, str | None], FoundPair],
) -> ReadAnew:
    """Return the pairs of lists; an entry that is refused costs only itself.

    Args:
        lists: path of each list, and the split that it tells.
        entries: function that reads the entries of a list.
        make: function that makes a pair of an entry of a list of a path and a split.
    """

    def read() -> Iterator[FoundPair]:
        for path, split in lists:
            part = part_of(path)
            for entry in entries(path):
                yield replace(_found_pair(entry, path, split, make), part=part)

    return ReadAnew(read)


def _found_pair(
    entry: Entry,
    path: Path,
    split: str | None,
    make: Callable[[Entry, Path, str | None], FoundPair],
) -> FoundPair:
    """Return the pair that `make` makes of an entry, or one with the reason why it makes none."""
    try:
        if entry.problem is not None:
            raise InputError(entry.problem)
        pair = make(entry, path, split)
        return replace(pair, split=split_told(entry.content, pair.split))
    except InputError as error:
        told = [entry.content.get(key) for key in ("id", "ID")]
        name = next((str(name) for name in told if name not in (None, "")), entry.where)
        problem = f"{entry.where}: {str(error).removeprefix(f'{entry.where}: ')}"
        return FoundPair(name, {}, split=split, problem=problem)


def pairs_of_parts(
    source: Path,
    parts: Iterable[tuple[Path, str | None]],
    read: Callable[[Path, str | None], Iterable[FoundPair]],
) -> list[FoundPair]:
    """Return the pairs of shards or tables; one that cannot be read costs only itself.

    Args:
        source: file or folder that is imported.
        parts: path and split of each shard or table.
        read: function that lists the pairs of one of them.

    Raises:
        InputError: if the source is itself the file that cannot be read.
    """
    found: list[FoundPair] = []
    for path, split in parts:
        try:
            found += read(path, split)
        except InputError as error:
            if path == source:
                raise
            name = part_of(Path(path.name))
            found.append(FoundPair(name, {}, split=split, problem=str(error), part=part_of(path)))
    return found


def part_of(path: Path) -> str:
    """Return the path of a list or shard without its endings.

    Example:
        >>> part_of(Path("in/cuts_a.jsonl.gz")), part_of(Path("shard.000.tar"))
        ('in/cuts_a', 'shard.000')
    """
    whole = path.with_suffix("") if path.suffix == ".gz" else path
    return whole.with_suffix("").as_posix()


def place_of(path: Path) -> tuple[str, str | None, str | None]:
    """Return what the place of a recording below its folder tells: id, speaker and split.

    A first folder that is called like a split is one; what is below it tells the speaker
    (`speaker_of_path`). Of a file in no folder nothing does.

    Example:
        >>> place_of(Path("ann/u1.wav")), place_of(Path("u.1.wav")), place_of(Path("dev/bob/u.wav"))
        (('ann/u1', 'ann', None), ('u.1', None, None), ('bob/u', 'bob', 'validation'))
    """
    *folders, _ = path.parts
    split = split_of_folder(folders[0]) if folders else None
    if split is not None:
        path = path.relative_to(folders[0])
    name = without_audio_suffix(path.as_posix())
    return name, speaker_of_path(name), split


def find_files(source: Path, *patterns: str) -> Iterator[tuple[Path, str | None]]:
    """Yield the source itself, or the files below it that match, each with its split.

    A folder's files belong to the splits that their names tell, or else the names of the folders
    that they lie in; a file alone is a whole.
    """
    if source.is_file():
        if any(source.match(pattern) for pattern in patterns):
            yield source, None
        return
    for path in sorted({path for pattern in patterns for path in source.glob(pattern)}):
        if path.is_file():
            places = [path.name, *path.relative_to(source).parts[-2::-1]]
            yield path, next(filter(None, map(split_of_file, places)), None)
