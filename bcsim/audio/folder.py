"""The audio files of a folder: which are taken, and a count of all that is not, with the reason."""

import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bcsim.audio.validation.containers import CONTAINERS
from bcsim.errors import InputError
from bcsim.files.paths import printable

AUDIO_SUFFIXES = frozenset(suffix for container in CONTAINERS for suffix in container.suffixes)
# Endings of sound that bcsim does not read; ffmpeg does.
OTHER_SUFFIXES = frozenset(
    {
        *(".m4a", ".m4b", ".mp4", ".aac", ".wma", ".asf", ".amr", ".3gp", ".ac3", ".mp2", ".spx"),
        *(".mka", ".mkv", ".webm", ".weba", ".mov", ".avi", ".wv", ".ape", ".tta", ".mpc"),
        *(".ra", ".rm", ".dsf", ".dff", ".alac", ".voc", ".8svx"),
    }
)
CONVERT = "convert them: ffmpeg -i NAME NAME.flac"
_NUM_KINDS = 4  # endings that are named in the line of what is not taken
_LONGEST_SUFFIX = 8  # characters

log = logging.getLogger(__name__)

_HIDDEN = "hidden"
_CIRCLE, _TWICE = "links that lead in a circle", "links to folders that are read already"
_FORBIDDEN = "folders that cannot be read"


@dataclass
class FolderListing:
    """What a walk through a folder found.

    Args:
        names: paths of the audio files relative to the folder, sorted.
        left_out: number of files and folders that are not taken, by the reason.
        no_audio: number of files that are not sound, by their ending.
        unreadable: number of files that are sound of a kind that bcsim does not read, by ending.
    """

    names: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    no_audio: Counter[str] = field(default_factory=Counter)
    unreadable: Counter[str] = field(default_factory=Counter)

    @property
    def is_harmless(self) -> bool:
        """Whether nothing is left out that could be a recording."""
        return not self.unreadable and self.left_out.keys() <= {_HIDDEN}

    def told(self) -> str:
        """Return what is not taken, without the folder's name, or "" where everything is."""
        parts = []
        if self.unreadable:
            parts.append(f"{_counts(self.unreadable)}: {CONVERT}")
        parts += [f"{count} {reason}" for reason, count in sorted(self.left_out.items())]
        if self.no_audio:
            parts.append(f"{_counts(self.no_audio)} that are no audio")
        return printable(f"not taken: {'; '.join(parts)}") if parts else ""


def audio_files(folder: Path) -> list[Path]:
    """Return the audio files below `folder`; see `audio_names`."""
    return [folder / name for name in audio_names(folder)]


def audio_names(folder: Path) -> list[str]:
    """Return the audio files below a folder as sorted relative paths, whatever the disk's order.

    Links to folders are followed: every real folder is read once, under its own path where it lies
    in `folder`, and a link to a folder that holds the link ends there. Hidden files and folders are
    left out. What is not taken is counted in one line of the log.

    Raises:
        InputError: if the folder is missing or holds no audio.
    """
    found = list_audio(folder)
    told = found.told()
    if not found.names:
        reason = told or f"looked for {' '.join(sorted(AUDIO_SUFFIXES))}"
        raise InputError(f"{folder}: no audio files in this folder ({reason})")
    if told:
        level = logging.INFO if found.is_harmless else logging.WARNING
        log.log(level, "%s: %s", printable(str(folder)), told)
    return found.names


def list_audio(folder: Path) -> FolderListing:
    """Return what `audio_names` finds, without a word; there may be no audio.

    Raises:
        InputError: if the folder is missing.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    found = FolderListing()
    for name in _walk(folder, found):
        base = name.rpartition("/")[2]
        suffix = os.path.splitext(base)[1].lower()
        if base.startswith("."):
            found.left_out[_HIDDEN] += 1
        elif suffix in AUDIO_SUFFIXES:
            found.names.append(name)
        elif suffix in OTHER_SUFFIXES:
            found.unreadable[suffix] += 1
        else:
            short = suffix if 0 < len(suffix) <= _LONGEST_SUFFIX else "others"
            found.no_audio[short] += 1
    found.names.sort()
    return found


def without_audio_suffix(name: str) -> str:
    """Return a name without the ending of an audio file; other dots belong to the name.

    Example:
        >>> without_audio_suffix("s1/rec.1.WAV"), without_audio_suffix("s1/rec.1")
        ('s1/rec.1', 's1/rec.1')
    """
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in AUDIO_SUFFIXES | OTHER_SUFFIXES else name


def _walk(folder: Path, found: FolderListing) -> Iterator[str]:
    """Yield the paths of all files below a folder, relative to it; count what is left out.

    Real folders come before links, so that a folder has the path that it really has.
    """
    seen: set[tuple[int, int]] = set()
    folders, links = [""], list[str]()
    while folders or links:
        inside = folders.pop() if folders else links.pop(0)
        place = folder / inside
        try:
            status = place.stat()
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError as error:
            found.left_out[_FORBIDDEN] += 1
            log.warning("%s: left out (%s)", printable(str(place)), error.strerror)
            continue
        holds_itself = bool(inside) and place.is_symlink() and _holds_itself(place)
        if holds_itself or (status.st_dev, status.st_ino) in seen:
            found.left_out[_CIRCLE if holds_itself else _TWICE] += 1
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in entries:
            name = f"{inside}/{entry.name}" if inside else entry.name
            if not _is_folder(entry):
                yield name
            elif entry.name.startswith("."):
                found.left_out[_HIDDEN] += 1
            elif entry.is_symlink():
                links.append(name)
            else:
                folders.append(name)
        links.sort()


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    """Tell whether an entry is a folder or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link that never ends: taken as a file, and named when it is read
        return False


def _holds_itself(link: Path) -> bool:
    """Tell whether a link leads to a folder that it lies in."""
    target, parent = os.path.realpath(link), os.path.realpath(link.parent)
    return os.path.commonpath([target, parent]) == target


def _counts(numbers: Counter[str]) -> str:
    """Return the most frequent endings with their numbers."""
    told = ", ".join(f"{count} {suffix}" for suffix, count in numbers.most_common(_NUM_KINDS))
    rest = sum(numbers.values()) - sum(count for _, count in numbers.most_common(_NUM_KINDS))
    return f"{told} and {rest} more" if rest else told
