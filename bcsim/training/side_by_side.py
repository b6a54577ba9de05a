"""Several training runs at a time, each in a process of its own on one thread."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bcsim.errors import EnvironmentFault, PartialFailure
from bcsim.files.atomic import write_text
from bcsim.progress import track
from bcsim.training.processes import PARENT, end_processes

INTERRUPTED, TERMINATED = 130, 143  # exit codes
_OF_A_GROUP = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
_POLL_S = 0.1
PROGRAM = ("-m", "bcsim_cli.main")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """A run of `bcsim train`, or another command, that is to be started.

    Args:
        name: name of the run.
        arguments: arguments of the command.
        log: file that gets what the command says.
    """

    name: str
    arguments: Sequence[str]
    log: Path


@dataclass
class _Started:
    training: Training
    process: subprocess.Popen[bytes]
    said: IO[bytes]
    text: str = ""


def run_trainings(trainings: Sequence[Training], jobs: int, description: str) -> dict[str, str]:
    """Run trainings, `jobs` at a time, and wait for all.

    A training that fails costs itself. What the machine is at fault for, and an interrupt, ends
    all of them; the same trainings then go on from their last checkpoints.

    Args:
        trainings: runs of different names and folders.
        jobs: number of runs at a time.
        description: what is done, for the lines that tell how many are ("training recipes").

    Returns:
        Reasons of those that failed, by name.

    Raises:
        EnvironmentFault: if the disk, the memory or a lock is at fault.
    """
    failed: dict[str, str] = {}
    started: list[_Started] = []
    with contextlib.ExitStack() as files:  # without names: a kill leaves nothing of them
        waiting: list[tuple[Training, IO[bytes]]] = [
            (run, files.enter_context(tempfile.TemporaryFile())) for run in trainings
        ]
        try:
            ended = _finished(waiting, started, jobs)
            for run in track(ended, len(trainings), description):
                _check_not_of_all(run)
                if run.process.returncode not in (0, PartialFailure.exit_code):
                    failed[run.training.name] = run.text
                    log.warning("%s: %s", run.training.name, run.text)
        finally:  # also where SystemExit comes from a SIGTERM
            end_processes([run.process for run in started])
            for run in started:
                _keep_log(run)
    return failed


def _check_not_of_all(run: _Started) -> None:
    """Raise what ends all runs: a fault of the machine, or an interrupt."""
    code = run.process.returncode
    if code == EnvironmentFault.exit_code:
        raise EnvironmentFault(f"{run.training.name}: {run.text}")
    if code in (INTERRUPTED, -signal.SIGINT):
        raise KeyboardInterrupt
    if code in (TERMINATED, -signal.SIGTERM):
        raise SystemExit(TERMINATED)


def _finished(
    waiting: list[tuple[Training, IO[bytes]]], started: list[_Started], jobs: int
) -> Iterator[_Started]:
    """Yield each run once its process has ended, and start others in its place."""
    while waiting or started:
        while waiting and len(started) < jobs:
            started.append(_start(*waiting.pop(0)))
        ended = [run for run in started if run.process.poll() is not None]
        for run in ended:
            started.remove(run)
            _keep_log(run)
            yield run
        if not ended:
            time.sleep(_POLL_S)


def _start(training: Training, said: IO[bytes]) -> _Started:
    environment = {k: v for k, v in os.environ.items() if k not in _OF_A_GROUP}
    environment |= {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        PARENT: str(os.getpid()),  # with which the kernel ends it
    }
    command = [sys.executable, *PROGRAM, *training.arguments]
    log.info("%s begins", training.name)
    # In a group of its own: Ctrl-C is ours to pass on, once.
    process = subprocess.Popen(
        command, env=environment, stdout=said, stderr=said, stdin=subprocess.DEVNULL,
        process_group=0,
    )  # fmt: skip
    return _Started(training, process, said)


def _keep_log(run: _Started) -> None:
    """Write what a run said to its log, and take the reason of a failure from it."""
    run.said.seek(0)
    text = run.said.read().decode("utf-8", errors="replace")
    write_text(run.training.log, text)
    errors = [line for line in text.splitlines() if line.startswith("Error: ")]
    code = run.process.returncode
    if errors:
        run.text = errors[-1].removeprefix("Error: ")
    elif code is not None and code < 0:
        run.text = f"its process was killed by {signal.Signals(-code).name}"
    else:
        run.text = f"its process ended with exit code {code}; see {run.training.log}"
