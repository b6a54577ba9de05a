"""Folders of any depth: walked, made and removed without recursion.

The functions of Python 3.11 for this call themselves once a level, and a tree of a thousand folders
ends the run.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path


def walk(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield every folder from one down, with the names of the folders and of the files in it.

    A folder comes before those that it holds; what the caller takes from the list of its folders is
    not walked. Links to folders are named among the folders and not followed; a folder that is not
    there or cannot be read is passed over, as `os.walk` does.

    Args:
        folder: folder to begin with.
    """
    left = [folder]
    while left:
        place = left.pop()
        folders, files = list[str](), list[str]()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    (folders if _is_folder(entry) else files).append(entry.name)
        except OSError:
            continue
        yield place, folders, files
        below = (place / name for name in reversed(folders))
        left += [path for path in below if not path.is_symlink()]


def files_below(folder: Path) -> Iterator[Path]:
    """Yield everything below a folder that is no folder and no link to one."""
    for place, _, names in walk(folder):
        yield from (place / name for name in names)


def make_folders(folder: Path) -> None:
    """Make a folder and those above it that are not there.

    Raises:
        OSError: if one cannot be made, or a file is in its place.
    """
    missing = []
    for place in (folder, *folder.parents):
        try:
            place.mkdir(exist_ok=True)
            break
        except FileNotFoundError:
            missing.append(place)
    for place in reversed(missing):
        place.mkdir(exist_ok=True)


def remove_tree(folder: Path, ignore_errors: bool = False) -> None:
    """Remove a folder and everything in it; of links, the links alone.

    Args:
        folder: folder that is there, and no link.
        ignore_errors: leave what cannot be removed, and pass over a folder that is not there or a
            link.

    Raises:
        OSError: if something cannot be removed.
    """
    passing = contextlib.suppress(OSError) if ignore_errors else contextlib.nullcontext()
    with passing:
        if folder.is_symlink():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
        left = [(str(folder), False)]
        while left:
            place, is_emptied = left.pop()
            with passing:
                if is_emptied:
                    os.rmdir(place)
                    continue
                left.append((place, True))
                left += [(path, False) for path in _emptied(place, passing)]


def _emptied(place: str, passing: contextlib.AbstractContextManager[None]) -> list[str]:
    """Remove everything in a folder but the folders; return the paths of these."""
    with os.scandir(place) as entries:
        found = [(entry.path, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for path, is_folder in found:
        if not is_folder:
            with passing:
                os.unlink(path)
    return [path for path, is_folder in found if is_folder]


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that never ends
        return False
