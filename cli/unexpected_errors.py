"""What is said of an exception that nobody expected, and the exit code that it gives."""

import errno
import logging
import os
import threading

from bcsim.errors import is_out_of_memory

FAILED, ENVIRONMENT = 1, 5
OF_THE_MACHINE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM),
}


def tell_of_thread(failed: threading.ExceptHookArgs) -> None:
    """Say in one line what ended a thread; a fault of the disk is met again by who waits for it."""
    if not isinstance(failed.exc_value, OSError):
        logging.getLogger("bcsim").warning("a thread failed: %r", failed.exc_value)


def told(error: Exception) -> tuple[str, int]:
    """Return one line about an error, and the exit code.

    Disk, memory and the like are the machine's; whatever else comes here is a defect of bcsim.
    """
    goes_on = "then the same command again goes on"
    if isinstance(error, RecursionError):
        return "the stack is full: something is nested too deeply; look at the input", ENVIRONMENT
    if is_out_of_memory(error):
        return f"there is not memory enough; free some, {goes_on}", ENVIRONMENT
    if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
        name = "standard output" if error.filename is None else os.fsdecode(error.filename)
        return f"{name}: {(error.strerror or 'fails').lower()}; mend that, {goes_on}", ENVIRONMENT
    return f"internal error: {type(error).__name__}: {error}; --debug shows where", FAILED
