"""What is a name of a speaker, and what the path of a recording tells of him."""

import re
from collections.abc import Iterable, Sequence

from bcsim.datasets.split_names import split_of_folder

# What people and programs write where the speaker is not known. Spelled exactly like this: "Nan",
# "none" with another ending, or "Null" are names.
UNKNOWN_NAMES = frozenset(
    {
        *("nan", "NaN", "NaT", "None", "none", "null", "NULL", "NA", "N/A", "n/a", "#N/A", "<NA>"),
        *("unknown", "Unknown", "UNKNOWN", "unk", "<unk>", "?", "-"),
    }
)
# The speaker's part of a file's stem, in corpora that call all of their files alike.
_KNOWN_NAMES = (
    re.compile(r"(\d{1,5})-\d{3,6}-\d{4}"),  # LibriSpeech
    re.compile(r"(p[23]\d\d|s5)_\d{3}(?:_mic[12])?"),  # VCTK and what is made of it
    re.compile(r"(LJ)\d{3}-\d{4}"),  # LJSpeech
)
# LibriTTS and Multilingual LibriSpeech. Dates with a time of day look like it, so that a folder has
# to be called after the speaker as well.
_KNOWN_IN_FOLDER = re.compile(r"(\d{1,5})_\d{2,6}_\d{6}(?:_\d{6})?")
# TIMIT: DR1/FCJF0/SA1.WAV, dialect, speaker and sentence; also with a second ending.
_TIMIT = re.compile(r"DR[1-8]/([FM][A-Z]{2}[A-Z0-9]\d)/S[AIX]\d{1,4}(?:\.WAV)?", re.IGNORECASE)


def known_name(name: str | None) -> str | None:
    """Return the name of a speaker without spaces around it, or None where it stands for none.

    Example:
        >>> known_name(" ann "), known_name("0"), known_name("Nan"), known_name("nan")
        ('ann', '0', 'Nan', None)
    """
    stripped = (name or "").strip()
    return None if stripped in UNKNOWN_NAMES or not stripped else stripped


def speaker_of_corpus(stem: str, folders: Sequence[str]) -> str | None:
    """Return the speaker that a path tells in the corpora whose names are known, or None.

    Args:
        stem: file's name without its ending.
        folders: folders that it lies in, the outermost first.

    Example:
        >>> speaker_of_corpus("SA1", ["TRAIN", "DR1", "FCJF0"]), speaker_of_corpus("u1", ["DR1"])
        ('FCJF0', None)
    """
    for pattern in _KNOWN_NAMES:
        if found := pattern.fullmatch(stem):
            return found[1]
    if found := _TIMIT.fullmatch("/".join([*folders[-2:], stem])):
        return found[1]
    found = _KNOWN_IN_FOLDER.fullmatch(stem)
    return found[1] if found and found[1] in folders else None


def speaker_of_path(name: str) -> str | None:
    """Return the speaker of a recording by its path without the ending of audio, or None.

    The names of known corpora tell; else it is a guess: the first folder that is no split.

    Example:
        >>> speaker_of_path("ann/u1"), speaker_of_path("train/u1"), speaker_of_path("84-1234-0001")
        ('ann', None, '84')
    """
    *folders, stem = name.split("/")
    known = speaker_of_corpus(stem, folders)
    if known is not None:
        return known
    return known_name(first_folder(folders))


def first_folder(folders: Iterable[str]) -> str | None:
    """Return the first folder that is not called like a split, or None."""
    return next((folder for folder in folders if split_of_folder(folder) is None), None)
