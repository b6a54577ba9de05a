"""Untrusted names of files: kept beneath a root folder, and made safe to show."""

import os
import re
import unicodedata
from pathlib import Path, PurePosixPath

from bcsim.errors import InputError, percent_encoded

MAX_SHOWN = 80  # characters of a name in a message
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
_DRIVE = re.compile(r"[A-Za-z]:")


def beneath(root: Path, name: str) -> Path:
    """Return the path of an untrusted name under a root folder.

    Links inside `root` are followed and may not lead out of it. A link that is made after this
    check is not noticed: call it shortly before opening the file.

    Args:
        root: trusted folder that must not be left.
        name: relative path with forward slashes; it need not exist.

    Returns:
        The path without links below `root`.

    Raises:
        InputError: if the name is empty, absolute, has a drive, a scheme, `..`, a backslash or
            control characters, or leads out of `root` through a link.

    Example:
        >>> beneath(Path("pairs"), "bone/a.flac").as_posix()
        'pairs/bone/a.flac'
    """
    parts = PurePosixPath(name).parts
    reason = _misfit(name, parts)
    if reason is not None:
        raise InputError(
            f"the path '{shortened(name)}' {reason}; write it relative to {root}, with forward "
            "slashes"
        )
    path = os.fspath(root)
    for part in parts:
        path = os.path.join(path, part)
        if os.path.islink(path):
            break
    else:
        return Path(path)
    inside, target = os.path.realpath(root), os.path.realpath(root / name)
    if os.path.commonpath([inside, target]) != inside:
        raise InputError(
            f"the path '{shortened(name)}' leads out of {root} through a link; put the file itself "
            "there"
        )
    return root / os.path.relpath(target, inside)


def _misfit(name: str, parts: tuple[str, ...]) -> str | None:
    """Return why a name is no relative path that stays in its folder, or None if it is one."""
    if not parts:
        return "is empty"
    if parts[0].startswith("/"):
        return "is absolute"
    if ".." in parts:
        return "has '..' in it"
    if "\\" in name:
        return "has a backslash in it"
    if any(unicodedata.category(character) == "Cc" for character in name):
        return "has control characters in it"
    if _DRIVE.match(name):
        return "names a drive"
    if _SCHEME.match(name):
        return "is an address, not a file"
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return "is no text"
    return None


def existing_spelling(folder: Path, name: str) -> Path:
    """Return the path that a list names, spelled in another way if only such a file is there.

    Some systems compose the accents of names, some take them apart, and Windows divides folders by
    backslashes; lists travel between them.
    """
    spellings = dict.fromkeys(
        form
        for text in (name, name.replace("\\", "/"))
        for form in (text, *(unicodedata.normalize(f, text) for f in ("NFC", "NFD")))
    )
    return next((folder / s for s in spellings if os.path.isfile(folder / s)), folder / name)


def printable(name: str) -> str:
    r"""Return a name with everything that is not printable UTF-8 percent-encoded.

    Example:
        >>> printable("a\nb/é")
        'a%0Ab/é'
    """
    return "".join(c if c.isprintable() and c != "\\" else percent_encoded(c) for c in name)


def shortened(name: str) -> str:
    """Return `printable(name)`, without its middle where it is longer than `MAX_SHOWN`."""
    text = printable(name)
    half = MAX_SHOWN // 2
    return text if len(text) <= MAX_SHOWN else f"{text[:half]}...{text[-half:]}"
