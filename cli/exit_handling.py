"""How the command ends, and the exit code that says so: no signal is lost on the way out.

A signal raises an exception once, and Python drops an exception that meets a destructor or a
callback of C. So it is noted as well: the exit code tells of it, and when the command is still
there after a while, it goes at once. The kernel ends the workers with it, and what they were
writing has no final name yet.
"""

import atexit
import contextlib
import os
import signal
import sys
import time
from types import FrameType

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
PATIENCE_S = 8.0
# Processes that watch over semaphores; each would outlive this one by a moment.
_TRACKERS = ("joblib.externals.loky.backend.resource_tracker", "multiprocessing.resource_tracker")
_TRACKER_S = 1.0


class Ending:
    """What the exit code will be. Once the interpreter has shut down its parts, the process ends.

    Attributes:
        code: of the command, if no signal comes; 1 as long as nobody says otherwise.
        stopped: the code of the signal that came first, if any.
        leaving: whether the command is done, and nobody is left to catch an exception.
    """

    def __init__(self) -> None:
        self.code = 1
        self.stopped: int | None = None
        self.leaving = False
        # SIGINT is ignored where a shell started this in the background.
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGALRM, self._leave)
        atexit.register(self._leave)  # first in, last out
        os.register_at_fork(after_in_child=self._forget)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.stopped is not None:  # once more: somebody is in a hurry
            self._leave()
        self.stopped = 128 + number
        signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
        if "BCSIM_LAUNCHER" not in os.environ:  # which says it for all that it launched
            word = "interrupted" if self.stopped == INTERRUPTED else "terminated"
            with contextlib.suppress(OSError):
                os.write(2, f"{word}; the same command {_how()} goes on\n".encode())
        if not self.leaving:
            raise KeyboardInterrupt if self.stopped == INTERRUPTED else SystemExit(TERMINATED)

    def _forget(self) -> None:
        """Leave it to the parent to say how things end, and to end this process (torch's)."""
        if signal.getsignal(signal.SIGINT) == self._stop:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)

    def _leave(self, *signalled: object) -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        if not signalled:
            _end_trackers()
        for number in (signal.SIGINT, signal.SIGTERM):  # whatever comes from here on ends us itself
            if signal.getsignal(number) == self._stop:
                signal.signal(number, signal.SIG_DFL)
        if self.stopped is None:
            # The kernel takes a while to clear away a process of this size, 0.1 s on a busy
            # machine, and a signal would be lost in it. A shell that is about to exit hears it.
            with contextlib.suppress(OSError):
                os.execve("/bin/sh", ["sh", "-c", f"exit {self.code}"], {})
        os._exit(self.code if self.stopped is None else self.stopped)


def _end_trackers() -> None:
    for name in _TRACKERS:
        with contextlib.suppress(Exception):  # not there, or not any more; these names are private
            tracker = sys.modules[name]._resource_tracker
            os.close(tracker._fd)
            tracker._fd = None
            deadline = time.monotonic() + _TRACKER_S
            while not os.waitpid(tracker._pid, os.WNOHANG)[0] and time.monotonic() < deadline:
                time.sleep(0.005)


def _how() -> str:
    """Return how the command has to be given again: training goes on only if asked to."""
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    return "with --resume" if command == "train" and "--resume" not in sys.argv else "again"
