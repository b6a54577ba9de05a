"""The one way in which bcsim opens a file for reading that somebody else may have put there."""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import IO, TypeAlias

from bcsim.errors import BcsimError, EnvironmentFault, InputError

# Errors of the machine, which the same command may not meet again.
_PASSING = {errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ETIMEDOUT}
CHANGED = "was changed while it was read; run the same command again"
MAX_EXPANDED_BYTES = 1 << 30  # of a packed file
_SMALL_BYTES = 1 << 26  # to which any packed file may expand
_MAX_RATIO = 100  # of text with its repetitions; a bomb expands by a thousand
FileState: TypeAlias = tuple[int, int]  # size in bytes, and time of the last change in ns
RANGE = 2**63  # of the numbers of a state: a file may be of the year 2400, which arrays do not hold
KINDS = {  # of what is no regular file
    **{stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"},
    **{stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"},
}


def open_regular(path: Path | str, what: str | None = None) -> BufferedReader:
    """Open a regular file for reading; pipes, devices and the like are refused, not waited for.

    Args:
        path: file to open; links are followed.
        what: what the file should be ("a profile"), for the message; None for one of many files,
            which may be left out.

    Raises:
        InputError: if there is no such file, it is not a regular one, or it cannot be opened.
        EnvironmentFault: if the machine cannot open it for now.
    """
    try:
        _check_regular(path, os.stat(path), what)
        # Not blocking, and checked again: it may have been replaced by a pipe since.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except InputError:
        raise
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # a NUL is no name
        raise InputError(f"{path}: no such file{_remedy(what)}") from error
    except OSError as error:
        raise reading_error(path, error, what) from error
    try:
        _check_regular(path, os.fstat(handle), what)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def reading_error(path: object, error: OSError, what: str | None = None) -> BcsimError:
    """Return what to raise for a file that cannot be read, which should be `what`.

    An `EnvironmentFault` where the machine is in the way for now, else an `InputError`.
    """
    reason = error.strerror or str(error)
    if error.errno in _PASSING:
        return EnvironmentFault(
            f"{path}: {reason.lower()}; see to it, then run the same command again"
        )
    return InputError(f"{path}: cannot be read ({reason}){_remedy(what)}")


def state_of(file: IO[bytes] | Path) -> FileState:
    """Return size and time of the last change, in ns, of an open file or of a path.

    Not its number: some file systems number their files anew.
    """
    found = file.stat() if isinstance(file, Path) else os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns % RANGE


def check_state(file: IO[bytes], name: object, known: FileState | None) -> None:
    """Raise an InputError if an open file is not in the state that is known of it, if one is."""
    if known is not None and state_of(file) != known:
        raise InputError(f"{name}: {CHANGED}")


def most_expanded(packed_bytes: int) -> int:
    """Return to how many bytes a packed file of a size may expand.

    Example:
        >>> most_expanded(1000), most_expanded(2**30)
        (67108864, 1073741824)
    """
    return min(MAX_EXPANDED_BYTES, max(_SMALL_BYTES, _MAX_RATIO * packed_bytes))


def _check_regular(path: Path | str, found: os.stat_result, what: str | None) -> None:
    if stat.S_ISREG(found.st_mode):
        return
    if what is not None:
        raise InputError(f"{path}: not a regular file{_remedy(what)}")
    kind = KINDS.get(stat.S_IFMT(found.st_mode), "something else")
    raise InputError(f"{path}: cannot be read ({kind}, not a regular file); leave it out")


def _remedy(what: str | None) -> str:
    return "" if what is None else f"; give {what}"
