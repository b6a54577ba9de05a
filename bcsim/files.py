"""Files that are whole or absent: the one way in which bcsim writes anything.

Everything goes to a temporary name in the same folder, is flushed to the disk and renamed, so a
reader never meets half a file and a killed run leaves nothing under a final name.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import urllib.parse
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bcsim.errors import EnvironmentFault

TEMPORARY_SUFFIX = ".tmp"
WRITERS = 4  # threads
MAX_PENDING = 16  # files


@contextlib.contextmanager
def replacing(path: Path, sync_folder: bool = True) -> Iterator[Path]:
    """Give a temporary path to write to; on leaving, it becomes `path`.

    Args:
        path: of the file.
        sync_folder: flush the folder as well. Whoever writes many files may leave it to
            `sync_folders`, before saying that they are there.

    Raises:
        EnvironmentFault: if the folder cannot be written to or the disk is full.
    """
    # A token, not the process id: workers on two machines may have the same one. Stale names of
    # killed runs are swept by their owner.
    token = os.urandom(6).hex()
    temporary = path.with_name(f".{hash_text(path.name)[:16]}.{token}{TEMPORARY_SUFFIX}")
    with environment_faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            _sync(temporary)
            os.replace(temporary, path)
            if sync_folder:
                _sync(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def environment_faults(path: Path) -> Iterator[None]:
    """Turn the errors of a full, forbidden or impossible place into one line that names `path`."""
    try:
        yield
    except OSError as error:
        remedies = {
            errno.ENOSPC: "the disk is full; free some space and run the same command again",
            errno.EDQUOT: "the quota is used up; free some space and run the same command again",
            errno.EACCES: "permission denied; choose a folder that you may write to",
            errno.EPERM: "not permitted; choose a folder that you may write to",
            errno.EROFS: "the file system is read-only; choose another folder",
            errno.EIO: "the disk reports an error; check it, then run the same command again",
        }
        reason = f"{(error.strerror or str(error)).lower()}; choose another place"
        remedy = remedies.get(error.errno or 0, reason)
        raise EnvironmentFault(f"{path}: {remedy}") from error


class Writer:
    """Writes files in the background, each whole or not at all, while its owner goes on working.

    To be used as a context: on leaving, everything is written and flushed, but for the folders
    (`sync_folders`). Disks take their time to flush, and several flushes at once take little more.

    Raises:
        EnvironmentFault: from any method, if a file could not be written.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(WRITERS)
        self._pending: deque[Future[None]] = deque()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *raised: object) -> None:
        try:
            while self._pending and raised[0] is None:
                self._pending.popleft().result()
        finally:
            self._threads.shutdown()

    def write(self, path: Path, content: bytes) -> None:
        """Write `content` to `path`."""
        self._submit(write_bytes, path, content)

    def copy(self, source: Path, path: Path) -> None:
        """See `copy_file`."""
        self._submit(copy_file, source, path)

    def link(self, source: Path, path: Path) -> None:
        """See `link_file`."""
        self._submit(link_file, source, path)

    def _submit(self, function: Callable[..., None], *arguments: Any) -> None:
        while len(self._pending) >= MAX_PENDING:  # contents wait in memory
            self._pending.popleft().result()
        self._pending.append(self._threads.submit(function, *arguments, sync_folder=False))


def sync_folders(folder: Path) -> None:
    """Flush `folder` and all folders below it to the disk."""
    with environment_faults(folder):
        for parent, _, _ in os.walk(folder):
            _sync(Path(parent))


def write_bytes(path: Path, content: bytes, sync_folder: bool = True) -> None:
    """Write `content` to `path`, whole or not at all."""
    with replacing(path, sync_folder) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in UTF-8, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def copy_file(source: Path, path: Path, sync_folder: bool = True) -> None:
    """Copy a file's content, whole or not at all; permissions and times are not copied."""
    with replacing(path, sync_folder) as temporary:
        shutil.copyfile(source, temporary)


def link_file(source: Path, path: Path, sync_folder: bool = True) -> None:
    """Give a file a second name (a hard link), or copy it where that cannot be.

    Whoever later writes into one of the two writes into both; bcsim only ever replaces names.
    """
    with contextlib.suppress(OSError):
        if path.samefile(source):
            return  # renaming one name of a file to another does nothing, and leaves both
    try:
        with replacing(path, sync_folder) as temporary:
            os.link(source.resolve(), temporary)
    except EnvironmentFault:
        # Another device, a file system without links, somebody else's file: copying tells.
        copy_file(source, path, sync_folder)


def sweep_temporaries(folder: Path) -> None:
    """Remove what a killed run left under temporary names below `folder`."""
    for path in folder.rglob(f".*{TEMPORARY_SUFFIX}"):
        path.unlink(missing_ok=True)


def printable(name: str) -> str:
    r"""Return a name with everything that is not printable UTF-8 percent-encoded.

    Example:
        >>> printable("a\nb/é")
        'a%0Ab/é'
    """
    return "".join(
        c if c.isprintable() and c != "\\" else urllib.parse.quote(c, errors="surrogateescape")
        for c in name
    )


def hash_text(text: str) -> str:
    """Return the SHA-256 of `text` in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
