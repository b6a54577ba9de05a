"""The message and the exit code of an exception that bcsim did not raise on purpose."""

import errno
import logging
import os
import threading
import traceback

from bcsim.errors import is_out_of_memory

FAILED, INPUT, ENVIRONMENT = 1, 2, 5
OF_THE_MACHINE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM),
}
_OURS = ("bcsim", "bcsim_cli", "__main__")
OF_NAMES = {
    errno.ENAMETOOLONG: "the name is longer than names may be here; give a shorter one",
    errno.ELOOP: "a link that leads to itself; give what it should lead to",
}


def log_thread_failure(failed: threading.ExceptHookArgs) -> None:
    """Log in one line what ended a thread; an `OSError` is raised again by whoever joins it."""
    if not isinstance(failed.exc_value, OSError):
        logging.getLogger("bcsim").warning("a thread failed: %r", failed.exc_value)


def describe_error(error: Exception) -> tuple[str, int]:
    """Return one line about an error, and the exit code.

    Faults of disk, memory, libraries and the like give 5, a name that no file can have 2; anything
    else is a defect of bcsim and gives 1.
    """
    goes_on = "then the same command again goes on"
    if isinstance(error, RecursionError):
        return "the stack is full: something is nested too deeply; look at the input", ENVIRONMENT
    if is_out_of_memory(error):
        return f"there is not memory enough; free some, {goes_on}", ENVIRONMENT
    if isinstance(error, OSError) and error.errno in OF_NAMES and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {OF_NAMES[error.errno]}", INPUT
    if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
        name = "standard output" if error.filename is None else os.fsdecode(error.filename)
        return f"{name}: {(error.strerror or 'fails').lower()}; mend that, {goes_on}", ENVIRONMENT
    library = _imported_at(error)
    if library is not None:
        told = " ".join(f"{type(error).__name__}: {error}".split())
        remedy = "see to its installation, and to the environment variables that it reads"
        return f"{library} cannot be imported; {remedy} ({told})", ENVIRONMENT
    return f"internal error: {type(error).__name__}: {error}; --debug shows where", FAILED


def _imported_at(error: Exception) -> str | None:
    """Return the name of the library that an error was raised by while it was imported, if any."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        library = str(frame.f_globals.get("__name__")).partition(".")[0]
        if frame.f_code.co_name == "<module>" and library not in _OURS:
            return library
    return None
