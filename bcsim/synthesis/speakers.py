"""Who speaks in the recordings of a corpus, and which split its folders give them.

A table of speakers, or the level of the folders that are called after them, is taken at its word.
Without either the paths tell: those of LibriSpeech, VCTK, LJSpeech, TIMIT and Common Voice (with
its lists) are known; elsewhere the first folder that tells recordings apart is taken for the
speaker, which is a guess, and said to be one. Folders called train, validation or test, or as
LibriSpeech calls its parts, decide the split.
"""

import logging
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bcsim.datasets.speaker_names import known_name, speaker_of_corpus
from bcsim.datasets.split_names import split_of_folder
from bcsim.datasets.tables import read_table
from bcsim.datasets.talkers import talkers_of
from bcsim.errors import InputError, UsageError
from bcsim.files.opening import open_regular
from bcsim.files.paths import printable
from bcsim.files.text import numbered_lines

_COMMON_VOICE = re.compile(r"common_voice_[\w-]+_\d+")
# Lists of Common Voice, those that make a split first.
_COMMON_VOICE_LISTS = {"train": "train", "dev": "validation", "test": "test"} | dict.fromkeys(
    ("validated", "other", "invalidated")
)
_LIST = "a list of Common Voice"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Speakers:
    """Who speaks in each recording of a corpus.

    Args:
        names: name of the speaker by recording; those whose speaker is unknown are not in it.
        splits: split by recording, where folders or lists of the corpus give one.
        guessed: folders of recordings whose speaker is a guess: the name of a folder.
    """

    names: Mapping[str, str]
    splits: Mapping[str, str]
    guessed: frozenset[str] = frozenset()


def find_speakers(
    folder: Path, sources: Sequence[str], table: Path | None = None, level: int | None = None
) -> Speakers:
    """Find out who speaks in the recordings of a folder, and say how.

    Args:
        folder: folder of the corpus.
        sources: paths of its recordings below the folder, with forward slashes.
        table: table of the speakers (`bcsim.datasets.talkers.read_talkers`), or None.
        level: number of the folder in each path that is called after the speaker, 1 for the first;
            0 where no folder is; None to tell by the names.

    Raises:
        InputError: if the table cannot be used.
        UsageError: if both table and level are given, or no recording has a folder of that level.
    """
    if table is not None and level is not None:
        raise UsageError("give a table of speakers, or the level of their folders, not both")
    by_layout = speakers_by_layout(sources)
    if table is not None:
        if "split" in read_table(table).columns:
            log.warning(
                "%s: its column split is not used; folders called train, validation and test, or "
                "else the speakers, decide the splits",
                printable(str(table)),
            )
        names = talkers_of(table, {source: (source, printable(source)) for source in sources})
        return Speakers(names, by_layout.splits)
    if level is not None:
        folders_of = {place: place.split("/") if place else [] for place in map(_place, sources)}
        names = {
            source: sys.intern(speaker)
            for source in sources
            if 0 < level <= len(folders_of[_place(source)])
            and (speaker := known_name(folders_of[_place(source)][level - 1])) is not None
        }
        if level and not names:
            raise UsageError(
                f"{folder}: no recording lies {level} folders deep, such as {sources[0]!r}; the "
                "level of the speakers' folders is smaller"
            )
        return Speakers(names, by_layout.splits)
    listed = _common_voice(folder, sources)
    return Speakers(
        {**by_layout.names, **listed.names},
        {**by_layout.splits, **listed.splits},
        by_layout.guessed,
    )


def speakers_by_layout(sources: Sequence[str]) -> Speakers:
    """Tell by the paths of recordings alone who speaks, and which splits they belong to.

    Example:
        >>> found = speakers_by_layout(["train-clean-100/103/1240/x.flac", "dev-clean/84/1/x.flac"])
        >>> list(found.names.values()), list(found.splits.values())
        (['103', '84'], ['train', 'validation'])
    """
    folders_of = {place: place.split("/") if place else [] for place in map(_place, sources)}
    names: dict[str, str] = {}
    others: list[str] = []
    for source in sources:
        speaker = speaker_of_corpus(_stem(source), folders_of[_place(source)])
        if speaker is None:
            others.append(source)
        else:
            names[source] = sys.intern(speaker)
    splits_of_places = {
        place: next((split for f in folders if (split := split_of_folder(f))), None)
        for place, folders in folders_of.items()
    }
    splits = {s: split for s in names if (split := splits_of_places[_place(s)]) is not None}
    # Elsewhere a folder means a split only where it stands first, or below what is above all files.
    below = _without_common({place: folders_of[place] for place in map(_place, others)})
    split_of_place: dict[str, str] = {}
    for place, folders in below.items():
        if folders and (split := split_of_folder(folders[0])) is not None:
            split_of_place[place] = split
            below[place] = folders[1:]
    if all(place in split_of_place for place in below):
        below = _without_common(below)
    guesses = {
        place: sys.intern(speaker)
        for place, folders in below.items()
        if folders and (speaker := known_name(folders[0])) is not None
    }
    for source in others:
        place = _place(source)
        if place in split_of_place:
            splits[source] = split_of_place[place]
        if place in guesses and not _COMMON_VOICE.fullmatch(_stem(source)):
            names[source] = guesses[place]
    guessed = {_place(source) for source in others if source in names}
    return Speakers(names, splits, frozenset(guessed))


def _place(source: str) -> str:
    """Return the folder of a recording, "" for the folder of the corpus."""
    return source.rpartition("/")[0]


def _stem(source: str) -> str:
    return source.rpartition("/")[2].rpartition(".")[0]


def _without_common(folders: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return the folders of each recording without those that all of them lie in."""
    paths = list(folders.values())
    shared = 0
    while paths and all(len(path) > shared and path[shared] == paths[0][shared] for path in paths):
        if split_of_folder(paths[0][shared]) is not None:
            break
        shared += 1
    return {source: path[shared:] for source, path in folders.items()}


def _common_voice(folder: Path, sources: Sequence[str]) -> Speakers:
    """Return what the lists of Common Voice beside its folders of clips tell."""
    clips: dict[str, dict[str, str]] = {}  # by folder, the source of each file's name
    for source in sources:
        if _COMMON_VOICE.fullmatch(_stem(source)):
            clips.setdefault(_place(source), {})[_stem(source)] = source
    names: dict[str, str] = {}
    splits: dict[str, str] = {}
    for place, by_stem in clips.items():
        lists = [path for path in _lists_beside(folder / place) if path.is_file()]
        if not lists:
            log.warning(
                "%s: its names are those of Common Voice, whose lists (validated.tsv, train.tsv, "
                "...) tell the speakers, and are not beside it",
                printable(str(folder / place)),
            )
        for path in lists:
            split = _COMMON_VOICE_LISTS[path.stem]
            for file, speaker in _rows_of(path):
                source = by_stem.get(PurePosixPath(file).stem)
                if source is not None:
                    if known_name(speaker) is not None:
                        names.setdefault(source, speaker)
                    if split is not None:
                        splits.setdefault(source, split)
    split_of_speaker = {names[s]: split for s, split in splits.items() if s in names}
    for source, speaker in names.items():  # of the list of all that is validated
        if speaker in split_of_speaker:
            splits.setdefault(source, split_of_speaker[speaker])
    return Speakers(names, splits)


def _lists_beside(clips: Path) -> Iterator[Path]:
    absolute = clips.absolute()
    for place in (absolute, absolute.parent):
        yield from (place / f"{name}.tsv" for name in _COMMON_VOICE_LISTS)


def _rows_of(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the file and the speaker of each row of a list of Common Voice.

    Sentences hold quotes that are none of CSV's, so that a row is taken apart at its tabs.
    """
    with open_regular(path, _LIST) as file:
        yield from _listed(path, (line for _, line in numbered_lines(file, path, _LIST)))


def _listed(path: Path, lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    columns: list[str] | None = None
    for line in lines:
        cells = line.rstrip("\r\n").removeprefix("\ufeff").split("\t")
        if columns is None:
            columns = cells
            if not {"client_id", "path"} <= set(columns):
                raise InputError(f"{path}: not {_LIST}: wants the columns client_id and path")
        elif len(cells) > max(columns.index("client_id"), columns.index("path")):
            yield cells[columns.index("path")], cells[columns.index("client_id")]
