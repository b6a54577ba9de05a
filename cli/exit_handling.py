"""Exit codes that name the signal which stopped a command, whenever that signal arrived.

A signal raises an exception once, and Python drops an exception that is raised in a destructor or
a C callback. The handler therefore also stores the signal: it decides the exit code, and a command
that still runs `PATIENCE_S` later is ended at once. The kernel ends the workers with it; the files
that they were writing still have their temporary names.
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
# Processes that clean up semaphores; each would outlive this one by a moment.
_TRACKERS = ("joblib.externals.loky.backend.resource_tracker", "multiprocessing.resource_tracker")
_TRACKER_S = 1.0


class ExitHandler:
    """Handles signals, and ends the process with the right exit code after Python's shutdown.

    Attributes:
        code: exit code if no signal arrives.
        signal_code: exit code of the first signal, or None.
        finished: whether the command has returned, so that nothing catches an exception any more.
    """

    def __init__(self) -> None:
        self.code = 1
        self.signal_code: int | None = None
        self.finished = False
        # SIGINT is ignored where a shell started this in the background.
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGALRM, self._exit)
        atexit.register(self._exit)  # first in, last out
        os.register_at_fork(after_in_child=self._reset_in_child)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.signal_code is not None:  # the second signal ends the process at once
            self._exit()
        self.signal_code = 128 + number
        signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
        if "BCSIM_LAUNCHER" not in os.environ:  # the launcher prints it once for all
            word = "interrupted" if self.signal_code == INTERRUPTED else "terminated"
            with contextlib.suppress(OSError):
                os.write(2, f"{word}; the same command {_resume_hint()} goes on\n".encode())
        if not self.finished:
            raise KeyboardInterrupt if self.signal_code == INTERRUPTED else SystemExit(TERMINATED)

    def _reset_in_child(self) -> None:
        """Restore the default handlers: the parent prints the message and ends forked processes."""
        if signal.getsignal(signal.SIGINT) == self._stop:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)

    def _exit(self, *signalled: object) -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        if not signalled:
            _end_trackers()
        for number in (signal.SIGINT, signal.SIGTERM):  # a later signal ends the process
            if signal.getsignal(number) == self._stop:
                signal.signal(number, signal.SIG_DFL)
        if self.signal_code is None:
            # The kernel takes up to 0.1 s to free a process of this size, and a signal that
            # arrives meanwhile would be lost. A small shell in its place still receives it.
            with contextlib.suppress(OSError):
                os.chdir("/")  # the working folder may be gone, which the shell would tell
                os.execve("/bin/sh", ["sh", "-c", f"exit {self.code}"], {})
        os._exit(self.code if self.signal_code is None else self.signal_code)


def _end_trackers() -> None:
    for name in _TRACKERS:
        with contextlib.suppress(Exception):  # gone, or never started
            tracker = sys.modules[name]._resource_tracker
            os.close(tracker._fd)
            tracker._fd = None
            deadline = time.monotonic() + _TRACKER_S
            while not os.waitpid(tracker._pid, os.WNOHANG)[0] and time.monotonic() < deadline:
                time.sleep(0.005)


def _resume_hint() -> str:
    """Return how to repeat the command: training continues only with --resume."""
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    return "with --resume" if command == "train" and "--resume" not in sys.argv else "again"
