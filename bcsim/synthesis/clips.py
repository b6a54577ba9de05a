"""What a run renders: one clip for every recording, or for every row of a manifest."""

import hashlib
import logging
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bcsim.datasets.manifest import MAX_NAME_BYTES, PairRow
from bcsim.errors import InputError, UsageError, fit_line
from bcsim.files.hashing import hash_text
from bcsim.files.paths import printable
from bcsim.files.text import plain
from bcsim.synthesis.speakers import Speakers, speakers_by_layout

log = logging.getLogger(__name__)

_FILE_LIKE = re.compile(r"\.(?:flac|wav)/")  # a folder that is called like a file


@dataclass(frozen=True, slots=True)
class Clip:
    """One air recording and where it goes.

    Args:
        id: name of the pair, unique in the dataset; also the path of its files, without suffix.
        source: path of the recording below the input folder.
        speaker: name of the speaker, or None where that is unknown.
        split: train, validation or test.
        replayed: line of a manifest whose drawn values the clip gets; None to draw them.
    """

    id: str
    source: str
    speaker: str | None
    split: str
    replayed: str | None = None


def plan_clips(
    names: Iterable[str],
    validation: float,
    test: float,
    limit: int | None = None,
    speakers: Speakers | None = None,
) -> list[Clip]:
    """Return the clips of the files of a corpus, sorted by source.

    A split that the corpus itself gives is kept. Else splits go by speaker; where the speaker is
    unknown, or all have the same one, by recording.

    Args:
        names: paths of audio files below the folder of the corpus, with forward slashes.
        validation: part of the speakers in the validation split, 0 to 1.
        test: part of the speakers in the test split, 0 to 1.
        limit: number of files to take, the first in the order of their names; None for all.
        speakers: speakers and splits of the whole corpus; None to tell them by the names.
    """
    sources = sorted(names)
    speakers = speakers or speakers_by_layout(sources)
    sources = sources[:limit]
    is_divided = len(set(speakers.names.values())) > 1
    stems = Counter(source.rpartition(".")[0] for source in sources)
    # a.wav and a.flac may stand side by side, and must not become one
    ids = [_id(s.rpartition(".")[0] if stems[s.rpartition(".")[0]] == 1 else s) for s in sources]
    taken = Counter(ids)  # a.wav.flac beside them, or names that are alike once they are printable
    # x.wav beside a folder x.flac, where the pair's file would be
    folders = {name[: found.start()] for name in ids for found in _FILE_LIKE.finditer(name)}
    clips = []
    for source, name in zip(sources, ids, strict=True):
        free = taken[name] == 1 and name not in folders
        speaker = speakers.names.get(source)
        by = speaker if speaker is not None and is_divided else source.rpartition(".")[0]
        clips.append(
            Clip(
                id=name if free else f"{name}~{hash_text(source)[:12]}",
                source=source,
                speaker=None if speaker is None else sys.intern(plain(speaker)),
                split=speakers.splits.get(source) or split_of(by, validation, test),
            )
        )
    return clips


def split_of(name: str, validation: float, test: float) -> str:
    """Return a split by the hash of a speaker's name alone, so that more speakers move nobody.

    Example:
        >>> split_of("84", 0.0, 0.0), split_of("84", 1.0, 0.0)
        ('train', 'validation')
    """
    position = int(hash_text(name)[:13], 16) / 16**13
    if position < test:
        return "test"
    return "validation" if position < test + validation else "train"


def tell_splits(clips: Sequence[Clip], speakers: Speakers, parts: Mapping[str, float]) -> None:
    """Log how many recordings and speakers each split has, and what of it is a guess.

    Args:
        clips: recordings with their speakers and splits.
        speakers: what is known of the speakers.
        parts: part of the speakers that each split should have, 0 to 1, by its name.
    """
    splits_of_speaker: defaultdict[str, set[str]] = defaultdict(set)
    counts = []
    for split, part in parts.items():
        members = [clip for clip in clips if clip.split == split]
        names = {clip.speaker for clip in members if clip.speaker is not None}
        for name in names:
            splits_of_speaker[name].add(split)
        counts.append(f"{split} {_number(members, 'recording')} of {_number(names, 'speaker')}")
        if not members and part > 0:
            log.warning("%s: no recording fell into this split", split)
        elif len(names) == 1:
            log.warning("%s: has 1 known speaker (%s)", split, printable(min(names)))
    guesses = [clip for clip in clips if clip.source.rpartition("/")[0] in speakers.guessed]
    if guesses:
        log.info(
            "speakers: the first folder that tells recordings apart is taken for the speaker, such "
            "as %r; a table of speakers, or the level of their folders, says otherwise",
            fit_line(str(guesses[0].speaker), 40),
        )
    unknown = [clip for clip in clips if clip.speaker is None]
    if unknown:
        log.warning(
            "the speaker of %d of %d recordings is unknown: each goes to a split by itself; give a "
            "table of speakers, or the level of their folders",
            *(len(unknown), len(clips)),
        )
    in_several = sorted(name for name, splits in splits_of_speaker.items() if len(splits) > 1)
    if in_several:
        log.warning(
            "in more than one split: %s, such as %s", _number(in_several, "speaker"), in_several[0]
        )
    log.info("splits: %s", ", ".join(counts))


def _number(items: Collection[object], noun: str) -> str:
    """Return a number of items with their noun, such as "1 speaker"."""
    return f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"


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


def lines_of_clips(clips: Iterable[Clip], validation: float, test: float) -> Iterator[str]:
    """Yield what clips are made of, a line for each: a hash of it notices any change.

    It is the source alone if its first folder is the speaker and decides the split; else speaker
    and split come behind it.

    Args:
        clips: clips of a corpus.
        validation: part of the speakers in the validation split, 0 to 1.
        test: part of the speakers in the test split, 0 to 1.
    """
    for clip in clips:
        source = printable(clip.source)
        first = source.split("/")[0] if "/" in source else None
        split = None if first is None else split_of(first, validation, test)
        is_usual = split is not None and (clip.speaker, clip.split) == (first, split)
        yield source if is_usual else f"{source}\t{clip.speaker}\t{clip.split}"


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
