"""Limits of worker processes: time, memory, no output of C libraries, an end with their parent.

Decoders are large programs in C, and a file may be made to break them. A worker that hangs in one
never comes back to Python, so the kernel ends it, and the rest of the run goes on.
"""

import contextlib
import ctypes
import errno
import logging
import os
import re
import resource
import signal
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bcsim.errors import is_out_of_memory
from bcsim.files.atomic import environment_faults
from bcsim.progress import LineFormatter

GIB = 2**30
_PR_SET_PDEATHSIG = 1
_SHARED = Path("/dev/shm")  # where the kernel keeps semaphores, and torch what it shares
# In the words of torch, which raises a RuntimeError; a write to a page without room is a bus error.
_NO_ROOM = ("No space left on device", "allocate shared memory", "out of shared memory")
_OF_OTHERS = {"SIGKILL", "SIGTERM", "SIGHUP", "SIGINT"}  # signals that no decoder ends by

_mapped_at_first: list[int] = []  # bytes: torch alone maps gigabytes, long before the first item


class OutOfMemoryError(Exception):
    """A batch asked for more memory than it may have."""


@dataclass(frozen=True)
class Limits:
    """Wall-clock time of a batch, and address space of its process beside what it starts with."""

    seconds: float
    memory_gib: float

    @contextlib.contextmanager
    def enforced(self) -> Iterator[None]:
        """Enforce the limits; out of time, the kernel ends this process with SIGALRM.

        Raises:
            OutOfMemoryError: if the memory does not suffice.
        """
        if not _mapped_at_first:
            _mapped_at_first.append(_mapped())
        _set_address_space(_mapped_at_first[0] + int(self.memory_gib * GIB))
        # By default and unblocked, SIGALRM needs no help from Python, which may hang in C.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        signal.setitimer(signal.ITIMER_REAL, self.seconds)
        try:
            yield
            return
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        # Not in `except`: there it would refer to the first error, and all its memory.
        raise OutOfMemoryError(f"needs more than {self.memory_gib:.1f} GiB of memory")

    def reason_of(self, error: BaseException) -> str:
        """Return what an item did alone to lose its worker, by the error that its future raised."""
        if isinstance(error, OutOfMemoryError):
            return str(error)
        ends = _ends(error)
        if "SIGALRM" in ends:  # of the workers, only one had anything to do
            return f"took longer than {round(self.seconds, 1):g} s"
        how = f" ({', '.join(ends)})" if ends else ""
        return f"took its worker down{how}"

    @staticmethod
    def is_fault_of_item(error: BaseException) -> bool:
        """Tell whether the item ended its worker, by the error that its future raised.

        A worker that was killed may have been killed by another program, or by a kernel short of
        memory.
        """
        return isinstance(error, OutOfMemoryError) or bool({*_ends(error)} - _OF_OTHERS)


def _ends(error: BaseException) -> list[str]:
    """Return how workers ended, from loky's message, such as "{SIGSEGV(-11)}"."""
    ends = re.findall(r"\b(SIG[A-Z0-9]+|EXIT)\((-?\d+)\)", str(error))
    return [name if name != "EXIT" else f"exit code {code}" for name, code in ends]


def _mapped() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _set_address_space(wanted: int) -> None:
    """Set the soft limit of this process, or leave it where it is lower already."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limits = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([wanted, *limits]), hard))


def prepare_worker(parent: int) -> None:
    """Make this process a worker of `parent`, with which it ends; its C libraries print nothing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C, and ends its workers
    end_with(parent)
    # Python keeps a stderr of its own, for safe lines; what decoders print goes nowhere.
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(LineFormatter())


def end_with(parent: int) -> None:
    """Let the kernel kill this process when its parent, of process id `parent`, has ended."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)  # Linux has it
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # the parent died before the line above could see to it


@contextlib.contextmanager
def shared_memory_faults() -> Iterator[None]:
    """Name /dev/shm where there is no room for semaphores or shared tensors: no error does.

    Raises:
        EnvironmentFault: in place of such an error.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        if isinstance(error, OSError):
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT) and error.filename is None
        else:
            is_full = any(sign in str(error) for sign in _NO_ROOM)
        if not is_full:
            raise
        with environment_faults(_SHARED):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error


def sweep_semaphores(pid: int) -> None:
    """Remove the semaphores that loky made for a process that was killed with all its children.

    The kernel keeps them, /dev/shm/sem.loky-PID-*, until they are unlinked or it starts anew.
    Nothing happens while a process of that id exists.
    """
    if pid <= 0 or Path("/proc", str(pid)).exists():
        return
    for path in _SHARED.glob(f"sem.loky-{pid}-*"):
        with contextlib.suppress(OSError):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid():
                path.unlink()
