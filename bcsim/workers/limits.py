"""Worker processes that harm nobody: bounded in time and memory, silent, gone with their parent.

Decoders are large programs in C, and a file may be made to break them. A worker that hangs in one
never comes back to Python, so it is the kernel that ends it; the rest of the run goes on.
"""

import contextlib
import ctypes
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
from bcsim.progress import LineFormatter

GIB = 2**30
_PR_SET_PDEATHSIG = 1
_SEMAPHORES = Path("/dev/shm")
_OF_OTHERS = {"SIGKILL", "SIGTERM", "SIGHUP", "SIGINT"}  # signals that no decoder ends by

_mapped_at_first: list[int] = []  # bytes: torch alone maps gigabytes, long before the first item


class OutOfMemoryError(Exception):
    """A batch asked for more memory than it may have."""


@dataclass(frozen=True)
class Limits:
    """What a batch may cost the process that works on it.

    Args:
        seconds: that it may take, by the clock on the wall.
        memory_gib: address space that the process may take beside what it starts with.
    """

    seconds: float
    memory_gib: float

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keep to the limits; out of time, the kernel ends this process with SIGALRM.

        Raises:
            OutOfMemoryError: if the memory does not suffice.
        """
        if not _mapped_at_first:
            _mapped_at_first.append(_mapped())
        _set_address_space(_mapped_at_first[0] + int(self.memory_gib * GIB))
        # By default and unblocked, it needs no help from Python, which a hang in C would not give.
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
        # Out here: raised up there it would carry the first error, and with it all that it held.
        raise OutOfMemoryError(f"needs more than {self.memory_gib:.1f} GiB of memory")

    def broken_by(self, error: BaseException) -> str:
        """Say what an item did whose worker was lost, and nothing else was under way.

        Args:
            error: that told of it.
        """
        if isinstance(error, OutOfMemoryError):
            return str(error)
        ends = _ends(error)
        if "SIGALRM" in ends:  # of the workers, only one had anything to do
            return f"took longer than {round(self.seconds, 1):g} s"
        how = f" ({', '.join(ends)})" if ends else ""
        return f"took its worker down{how}"

    @staticmethod
    def surely_broken(error: BaseException) -> bool:
        """Tell whether the one item under way cost its worker, by the error that told of the loss.

        One that was killed may have been killed by anybody, such as a kernel short of memory.
        """
        return isinstance(error, OutOfMemoryError) or bool({*_ends(error)} - _OF_OTHERS)


def _ends(error: BaseException) -> list[str]:
    """Return how workers ended, of which loky's errors say: "{SIGSEGV(-11)}"."""
    ends = re.findall(r"\b(SIG[A-Z0-9]+|EXIT)\((-?\d+)\)", str(error))
    return [name if name != "EXIT" else f"exit code {code}" for name, code in ends]


def _mapped() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _set_address_space(wanted: int) -> None:
    """Set the soft limit of this process, or leave it where it is lower already."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limits = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([wanted, *limits]), hard))


def contain(parent: int) -> None:
    """Make this process a worker that ends with its parent, and that does not talk.

    Args:
        parent: its number.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends us
    end_with(parent)
    # On stderr only what bcsim says, in lines that are safe: not what decoders say to themselves.
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(LineFormatter())


def end_with(parent: int) -> None:
    """Let the kernel kill this process when its parent, whose number this is, has ended."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)  # Linux has it
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # the parent died before the line above could see to it


def sweep_semaphores(pid: int) -> None:
    """Remove the semaphores that loky made for a process that was killed with all its children.

    The kernel keeps them, /dev/shm/sem.loky-PID-*, until they are unlinked or it starts anew.

    Args:
        pid: of the process; nothing happens if there is one of that number.
    """
    if pid <= 0 or Path("/proc", str(pid)).exists():
        return
    for path in _SEMAPHORES.glob(f"sem.loky-{pid}-*"):
        with contextlib.suppress(OSError):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid():
                path.unlink()
