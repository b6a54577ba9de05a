"""Files written in the background, while their content is being made."""

import stat
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bcsim.errors import InputError
from bcsim.files.atomic import copy_file, link_file, write_bytes
from bcsim.files.hashing import Stamp

WRITERS = 4  # threads
MAX_PENDING = 16  # files


class Writer:
    """Writes files in the background, each whole or not at all, while its owner goes on working.

    To be used as a context: on leaving, everything is written and flushed, but for the folders
    (`sync_folders`). Several flushes at the same time take little longer than one.

    Raises:
        EnvironmentFault: from any method, if a file could not be written.
        InputError: from any method, if a file to copy or to link has another content by now.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(WRITERS)
        self._pending: deque[Future[None] | Callable[[], object]] = deque()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *raised: object) -> None:
        self._threads.shutdown()  # waits for all of them
        while self._pending:
            self._settle_first()

    def write(self, path: Path, content: bytes) -> None:
        """Write `content` to `path`; a file that holds it already stays as it is."""
        if not _holds(path, content):
            self._submit(write_bytes, path, content)

    def copy(self, source: Path, path: Path, sha256: str, stamp: Stamp | None = None) -> None:
        """Copy a file of this SHA-256 as `copy_file` does."""
        self._submit(copy_file, source, path, sha256=sha256, stamp=stamp)

    def link(self, source: Path, path: Path, sha256: str, stamp: Stamp | None = None) -> None:
        """Link a file of this SHA-256 as `link_file` does."""
        self._submit(link_file, source, path, sha256=sha256, stamp=stamp)

    def link_or_write(self, source: Path, path: Path, sha256: str, content: bytes) -> None:
        """Link a file of this SHA-256; write `content` if it has another one by now."""
        self._submit(_link_or_write, source, path, sha256=sha256, content=content)

    def after(self, function: Callable[[], object]) -> None:
        """Call a function in this thread, once all that was asked for before is written."""
        self._pending.append(function)
        while self._pending and (callable(self._pending[0]) or self._pending[0].done()):
            self._settle_first()

    def _submit(self, function: Callable[..., None], *arguments: Any, **options: Any) -> None:
        while len(self._pending) >= MAX_PENDING:  # contents wait in memory
            self._settle_first()
        future = self._threads.submit(function, *arguments, **options, sync_folder=False)
        self._pending.append(future)

    def _settle_first(self) -> None:
        first = self._pending.popleft()
        try:
            first() if callable(first) else first.result()
        except BaseException:
            self._pending.clear()  # nothing comes after what was not written
            raise


def _link_or_write(
    source: Path, path: Path, sync_folder: bool, sha256: str, content: bytes
) -> None:
    try:
        link_file(source, path, sync_folder, sha256)
    except InputError:
        write_bytes(path, content, sync_folder)


def _holds(path: Path, content: bytes) -> bool:
    """Tell whether a file that is no link holds these bytes."""
    try:
        status = path.lstat()
        same_size = stat.S_ISREG(status.st_mode) and status.st_size == len(content)
        return same_size and path.read_bytes() == content
    except OSError:
        return False
