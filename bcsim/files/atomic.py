"""Files that are whole or absent: the one way in which bcsim writes anything.

Everything goes to a temporary name in the same folder, is flushed to the disk and renamed, so a
reader never meets half a file and a killed run leaves nothing under a final name. Temporary files
are made new, so that no link under their name is written through. A program that may write to the
folder can still swap folders and files while bcsim works; that is not guarded against.
"""

import contextlib
import errno
import json
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bcsim.errors import EnvironmentFault, InputError, UsageError
from bcsim.files.hashing import Stamp, hash_if_readable, hash_text, stamp_of
from bcsim.files.opening import CHANGED
from bcsim.files.tree import files_below, make_folders, walk

_AGAIN = "then run the same command again"
_REMEDIES = {
    errno.EACCES: "permission denied; choose a place that you may use, or ask for permission",
    errno.EPERM: "not permitted; choose a place that you may use, or ask for permission",
    errno.EROFS: "the file system is read-only; choose another folder, or mount it for writing",
    errno.EIO: f"the disk reports an error; check it, {_AGAIN}",
    errno.ESTALE: f"the network drive has lost it; mount it again, {_AGAIN}",
    errno.ENOENT: f"not there, or not any more; see that nothing else removes it, {_AGAIN}",
    errno.ENOTDIR: "a file is in the way; move it, or choose another place",
    errno.EEXIST: "a file is in the way; move it, or choose another place",
    errno.EISDIR: "a folder is in the way; move it, or choose another name",
    errno.ELOOP: "a link is in the way, which is not followed here; remove it",
    errno.ENAMETOOLONG: "the name is too long for this file system; choose a shorter one",
    errno.EMFILE: f"too many open files; raise ulimit -n, {_AGAIN}",
    errno.ENFILE: f"too many open files on this machine; close other programs, {_AGAIN}",
    errno.EFBIG: f"larger than files may be here; raise ulimit -f or take another disk, {_AGAIN}",
}
_OF_WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}  # never of reading
_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.[0-9a-f]{12}\.tmp")  # see replacing


@contextlib.contextmanager
def replacing(path: Path, sync_folder: bool = True, num_bytes: int | None = None) -> Iterator[Path]:
    """Give the path of a new, empty temporary file to write to; on leaving, it becomes `path`.

    Args:
        path: final path of the file.
        sync_folder: flush the folder as well. A caller that writes many files may call
            `sync_folders` instead, before it records that they are there.
        num_bytes: size of the file if known, for the message when the disk is full.

    Raises:
        EnvironmentFault: if the folder cannot be written to or the disk is full. Nothing is left
            under the temporary name, and what was under the final name stays.
    """
    # A token, not the process id: workers on two machines may have the same one. Stale names of
    # killed runs are swept by their owner.
    temporary = path.with_name(f"{_stem(path.name)}.{os.urandom(6).hex()}.tmp")
    with environment_faults(path, num_bytes):
        make_folders(path.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(temporary, flags, 0o666))
        try:
            yield temporary
            sync(temporary)
            os.replace(temporary, path)
            if sync_folder:
                sync(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                temporary.unlink(missing_ok=True)
            raise


def _stem(name: str) -> str:
    return f".{hash_text(name)[:16]}"


def is_temporary(name: str) -> bool:
    """Tell whether a file's name is one that `replacing` makes."""
    return _TEMPORARY.fullmatch(name) is not None


@contextlib.contextmanager
def environment_faults(path: Path, num_bytes: int | None = None) -> Iterator[None]:
    """Turn an `OSError` into an `EnvironmentFault` of one line, with a remedy.

    Args:
        path: path to name, if the error names none, or a temporary one.
        num_bytes: bytes that are to be written there, if known.
    """
    try:
        yield
    except OSError as error:
        place = _place(error, path)
        raise EnvironmentFault(f"{place}: {_remedy(error, place, num_bytes)}") from error


def _place(error: OSError, path: Path) -> Path:
    """Return the path that an error is about, or `path` if it names none, or a temporary one."""
    named = error.filename
    if error.filename2 is not None and error.errno in _OF_WRITING:
        named = error.filename2  # of a copy that stops, Python names the source first
    if isinstance(named, str) and not is_temporary(os.path.basename(named)):
        return Path(named)
    return path


def _remedy(error: OSError, path: Path, num_bytes: int | None) -> str:
    """Return what is wrong, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        full = "the disk is full" if error.errno == errno.ENOSPC else "the quota is used up"
        return f"{full}{_room(path, num_bytes)}; free some space and run the same command again"
    reason = (error.strerror or str(error)).lower()
    return _REMEDIES.get(error.errno or 0, f"{reason}; choose another place")


def _room(path: Path, num_bytes: int | None) -> str:
    """Return the space that is needed at a path and the space that is free, in brackets."""
    folder = path.absolute()
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        disk = os.statvfs(folder)
    except OSError:
        return ""
    if disk.f_files and not disk.f_favail:
        return f" (room for 0 more files, of {disk.f_files})"
    free = _size(disk.f_bavail * disk.f_frsize)
    if num_bytes is None:
        return f" (needs more than the {free} that are free)"
    return f" (needs {_size(num_bytes)}, {free} free)"


def _size(num_bytes: int) -> str:
    """Return a number of bytes with a decimal prefix."""
    if num_bytes < 1000:
        return f"{num_bytes} B"
    size, units = num_bytes / 1000, iter("kMGTPE")
    while size >= 999.95:
        size /= 1000
        next(units)
    return f"{size:.1f} {next(units)}B"


def not_a_link(path: str, flags: int) -> int:
    """Open a file that is not a link: an opener for `open(..., opener=not_a_link)`.

    For files that bcsim appends to, such as journals and locks; all others are replaced. A pipe in
    their place, which would be waited for, is refused.

    Raises:
        UsageError: if something else than a file is there.
    """
    with contextlib.suppress(FileNotFoundError):
        kind = os.lstat(path).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISLNK(kind)):
            raise UsageError(f"{path}: not a regular file, where bcsim writes one; remove it")
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


def sync_folders(folder: Path) -> None:
    """Flush `folder` and all folders below it to the disk."""
    with environment_faults(folder):
        for parent, _, _ in walk(folder):
            sync(parent)


def write_bytes(path: Path, content: bytes, sync_folder: bool = True) -> None:
    """Write `content` to `path`, whole or not at all."""
    with replacing(path, sync_folder, len(content)) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in UTF-8, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, whole or not at all."""
    write_text(path, to_json(content))


def to_json(content: Any) -> str:
    """Return `content` as `write_json` writes it."""
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def copy_file(
    source: Path,
    path: Path,
    sync_folder: bool = True,
    sha256: str | None = None,
    stamp: Stamp | None = None,
) -> None:
    """Copy a file's content, whole or not at all; permissions and times are not copied.

    Args:
        source: file to copy.
        path: path of the copy.
        sync_folder: flush the folder of the copy as well.
        sha256: SHA-256 that the content has to have; None for any.
        stamp: stamp with which the file had this content (`stamped_hash`); a file that has another
            one, or None, is hashed.

    Raises:
        InputError: if the content has not the SHA-256 that is given: it was changed since.
    """
    with environment_faults(source):
        num_bytes = source.stat().st_size
    with replacing(path, sync_folder, num_bytes) as temporary:
        is_known = _has_stamp(source, stamp)
        shutil.copyfile(source, temporary)
        if not (is_known and _has_stamp(source, stamp)):
            _check_content(temporary, source, sha256)


def link_file(
    source: Path,
    path: Path,
    sync_folder: bool = True,
    sha256: str | None = None,
    stamp: Stamp | None = None,
) -> None:
    """Give a file a second name (a hard link), or copy it where that cannot be; see `copy_file`.

    Writing into one of the two later writes into both; bcsim only replaces names.

    Raises:
        InputError: if the content has not the SHA-256 that is given: it was changed since.
    """
    with contextlib.suppress(OSError):
        if path.samefile(source):  # renaming one of its names to another does nothing
            _check_content(path, source, sha256)
            return
    try:
        with replacing(path, sync_folder) as temporary:
            temporary.unlink()  # a link is made new, and through no other
            is_known = _has_stamp(source, stamp)
            os.link(source.resolve(), temporary)
            # Linking sets the time of the last change of anything, which is the last of a stamp.
            if not is_known or stamp is None or stamp_of(temporary.stat())[:-1] != stamp[:-1]:
                _check_content(temporary, source, sha256)
    except EnvironmentFault:
        # Another device, a file system without links, somebody else's file: copying tells.
        copy_file(source, path, sync_folder, sha256, stamp)


def _has_stamp(path: Path, stamp: Stamp | None) -> bool:
    return stamp is not None and stamp_of(path.stat()) == stamp


def _check_content(path: Path, source: Path, sha256: str | None) -> None:
    if sha256 is not None and hash_if_readable(path) != sha256:
        raise InputError(f"{source}: {CHANGED}")


def sweep_temporaries(folder: Path, names: Iterable[str] | None = None) -> None:
    """Remove what a killed run left under temporary names below `folder`.

    No other run may write there to files called `names`; None stands for all names.
    """
    stems = None if names is None else {_stem(name) for name in names}
    with environment_faults(folder):
        for path in files_below(folder):
            if stems is None or path.name.rsplit(".", 2)[0] in stems:
                _sweep(path)


def sweep_beside(path: Path) -> None:
    """Remove what a killed run left of one file under temporary names, and nothing else."""
    with environment_faults(path):
        for found in path.parent.glob(f"{_stem(path.name)}.*.tmp"):
            _sweep(found)


def _sweep(path: Path) -> None:
    """Remove a file if its name is one that `replacing` makes, and no link or folder."""
    if is_temporary(path.name) and path.is_file() and not path.is_symlink():
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
