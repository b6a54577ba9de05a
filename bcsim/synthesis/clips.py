"""What a run renders: one clip for every recording, or for every row of a manifest."""

import hashlib
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bcsim.datasets.manifest import MAX_NAME_BYTES, PairRow
from bcsim.errors import InputError, UsageError
from bcsim.files.hashing import hash_text
from bcsim.files.paths import printable

_FILE_LIKE = re.compile(r"\.(?:flac|wav)/")  # a folder that is called like a file


@dataclass(frozen=True, slots=True)
class Clip:
    """One air recording and where it goes.

    Args:
        id: name of the pair, unique in the dataset; also the path of its files, without suffix.
        source: path of the recording below the input folder.
        speaker: first folder of that path, or the file's own name where there is none; None where
            a row that is rendered again names nobody.
        split: train, validation or test.
        replayed: line of a manifest whose drawn values the clip gets; None to draw them.
    """

    id: str
    source: str
    speaker: str | None
    split: str
    replayed: str | None = None


def plan_clips(
    names: Iterable[str], validation: float, test: float, limit: int | None = None
) -> list[Clip]:
    """Return the clips of the files of a corpus, sorted by source.

    Args:
        names: paths of audio files below the folder of the corpus, with forward slashes.
        validation: part of the speakers in the validation split, 0 to 1.
        test: part of the speakers in the test split, 0 to 1.
        limit: number of files to take, the first in the order of their names; None for all.
    """
    sources = sorted(names)[:limit]
    stems = Counter(source.rpartition(".")[0] for source in sources)
    # a.wav and a.flac may stand side by side, and must not become one
    ids = [_id(s.rpartition(".")[0] if stems[s.rpartition(".")[0]] == 1 else s) for s in sources]
    taken = Counter(ids)  # a.wav.flac beside them, or names that are alike once they are printable
    # x.wav beside a folder x.flac, where the pair's file would be
    folders = {name[: found.start()] for name in ids for found in _FILE_LIKE.finditer(name)}
    clips = []
    for source, name in zip(sources, ids, strict=True):
        free = taken[name] == 1 and name not in folders
        speaker = source.split("/")[0] if "/" in source else source.rpartition(".")[0]
        clips.append(
            Clip(
                id=name if free else f"{name}~{hash_text(source)[:12]}",
                source=source,
                speaker=sys.intern(printable(speaker)),
                split=split_of(speaker, validation, test),
            )
        )
    return clips


def split_of(speaker: str, validation: float, test: float) -> str:
    """Return a speaker's split: a hash of the name alone decides, so more speakers move nobody.

    Example:
        >>> split_of("84", 0.0, 0.0), split_of("84", 1.0, 0.0)
        ('train', 'validation')
    """
    position = int(hash_text(speaker)[:13], 16) / 16**13
    if position < test:
        return "test"
    return "validation" if position < test + validation else "train"


def replay_clips(
    rows: Iterable[PairRow], names: Iterable[str], folder: Path, split: str
) -> list[Clip]:
    """Return the clips that the rows of a split were rendered from, sorted by source.

    `names` are the paths of the audio files below `folder`.

    Raises:
        InputError: naming the first recording that is not there.
    """
    sources = {printable(name): name for name in names}
    clips = []
    for row in rows:
        if row.source not in sources:
            raise InputError(
                f"{row.id}: its source {row.source} is not in {folder}; give the folder that the "
                "pairs were rendered from"
            )
        clips.append(Clip(row.id, sources[row.source], row.speaker, split, replayed=row.to_json()))
    return sorted(clips, key=lambda clip: clip.source)


@dataclass(frozen=True)
class Shard:
    """One of `count` equal parts of a corpus: every `count`-th clip from clip `number`, from 1."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read "3/16"; a UsageError names any other text.

        Example:
            >>> Shard.parse("3/16")
            Shard(number=3, count=16)
        """
        number, _, count = text.partition("/")
        numbers = number.isdecimal() and count.isdecimal() and len(text) < 20
        if not (numbers and 1 <= int(number) <= int(count)):
            raise UsageError(f"{text!r} is no shard; write 1/16, 2/16 and so on to 16/16")
        return cls(int(number), int(count))

    def of(self, clips: Sequence[Clip]) -> list[Clip]:
        """Return this shard's clips of all."""
        return list(clips[self.number - 1 :: self.count])


def hash_sources(folder: Path, sources: Iterable[str]) -> str:
    """Return a hash over the names and sizes of source files; what has no size has size -1."""
    digest = hashlib.sha256()
    for source in sources:
        try:
            size = (folder / source).stat().st_size
        except OSError:
            size = -1  # a link to nowhere; rendering says so
        digest.update(f"{printable(source)}\t{size}\n".encode())
    return digest.hexdigest()


def _id(name: str) -> str:
    """Return a name as a path whose parts are printable and fit into a file system."""
    parts = printable(name).split("/")
    for number, part in enumerate(parts):
        encoded = part.encode("utf-8")
        if len(encoded) > MAX_NAME_BYTES:
            start = encoded[: MAX_NAME_BYTES - 13].decode("utf-8", "ignore")
            parts[number] = f"{start}~{hash_text(part)[:12]}"
    return "/".join(parts)
