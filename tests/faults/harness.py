"""What the drivers share: a corpus, the command line within this process, and a look at a tree."""

import contextlib
import hashlib
import importlib
import io
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

import bcsim.workers.pool
from bcsim.files.atomic import is_temporary

BCSIM = (sys.executable, "-m", "bcsim_cli.main")
RATE_HZ = 16_000
# Progress is told every half minute, on a busy machine; the speakers are few.
NOTICES = re.compile(r"synthesizing: \d+ of \d+,|\w+: no recording fell into|speakers: |splits: ")
REMEDIES = re.compile(r"free some|choose|check it|raise|see (to|that)|move it|mount")


class Outcome(NamedTuple):
    """What a command came to."""

    code: int
    stderr: str

    @property
    def lines(self) -> list[str]:
        """Return the lines on stderr but for progress and what is told of the corpus."""
        return [line for line in self.stderr.splitlines() if not NOTICES.match(line)]


def make_corpus(folder: Path, num_files: int = 12, seconds: float = 0.3) -> Path:
    """Write noise under four speakers; every other file is FLAC."""
    generator = np.random.default_rng(0)
    for number in range(num_files):
        suffix = "flac" if number % 2 else "wav"
        path = folder / f"s{number % 4}" / f"{number:04d}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = generator.standard_normal(round(seconds * RATE_HZ))
        walk = 0.1 * np.cumsum(noise) / len(noise) ** 0.5
        soundfile.write(path, walk - walk.mean(), RATE_HZ)
    return folder


def synthesize(air: Path, out: Path, sensor: str = "temporal-transforms") -> list[str]:
    """Return the command that makes `out` of `air`."""
    return ["synthesize", "--in", str(air), "--out", str(out), "--sensor", sensor]


class _NoWorkers(bcsim.workers.pool.Workers):
    """Whatever the command line asks for: this process."""

    def __init__(self, *given: object, **named: object) -> None:
        super().__init__()


def in_process(arguments: Sequence[str]) -> Outcome:
    """Run a command here, with the items here as well: no workers, so every fault is ours."""
    workers, before, stderr = bcsim.workers.pool.Workers, sys.argv, io.StringIO()
    hook = threading.excepthook
    bcsim.workers.pool.Workers = _NoWorkers
    sys.argv = ["bcsim", *arguments]
    errors = importlib.import_module("bcsim_cli.unexpected_errors")
    threading.excepthook = errors.log_thread_failure  # as `main`
    try:
        with contextlib.redirect_stderr(stderr), contextlib.redirect_stdout(io.StringIO()):
            code = importlib.import_module("bcsim_cli.main").run()
    finally:
        bcsim.workers.pool.Workers, sys.argv, threading.excepthook = workers, before, hook
    return Outcome(code, stderr.getvalue())


def forked(arguments: Sequence[str]) -> Outcome:
    """Run a command in a copy of this process, so that it may die of a signal."""
    with tempfile.TemporaryFile() as told:
        process = os.fork()
        if process == 0:
            try:
                outcome = in_process(arguments)
                told.write(outcome.stderr.encode())
                told.flush()
                os._exit(outcome.code)
            finally:
                os._exit(1)
        _, status = os.waitpid(process, 0)
        told.seek(0)
        return Outcome(os.waitstatus_to_exitcode(status), told.read().decode())


def as_users_do(arguments: Sequence[str], preload: str = "") -> Outcome:
    """Run a command in a process of its own."""
    environment = {**os.environ, "LD_PRELOAD": preload, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*BCSIM, *arguments], env=environment, capture_output=True, text=True)
    return Outcome(done.returncode, done.stderr)


def tree(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def complaints(outcome: Outcome, place: Path) -> list[str]:
    """Say what is wrong with how a command told that it could not write below `place`."""
    lines = outcome.lines
    found = [] if outcome.code == 5 else [f"exit code {outcome.code}"]
    if len(lines) != 1 or not lines[0].startswith("Error: "):
        found.append(f"{len(lines)} lines on stderr")
    elif f"{place}" not in lines[0] or not REMEDIES.search(lines[0]):
        found.append("no path or no remedy")
    if "disk is full" in outcome.stderr and not re.search(
        r"\((needs .* free|room for 0)", outcome.stderr
    ):
        found.append("not what is needed and what is free")
    return [f"{complaint}: {outcome.stderr!r}" for complaint in found]


def differences(now: dict[str, str], whole: dict[str, str]) -> list[str]:
    """Say in one line what a tree has other than an undisturbed run's."""
    names = sorted(name for name in {*now, *whole} if now.get(name) != whole.get(name))
    return [f"{len(names)} other files: {' '.join(names[:3])}"] if names else []


def torn(out: Path, whole: dict[str, str]) -> list[str]:
    """Name the files under a final name that an undisturbed run has not, or has otherwise."""
    there = tree(out) if out.is_dir() else {}
    return [
        f"torn: {name}"
        for name, digest in there.items()
        if not name.startswith(".bcsim.tmp/")
        and not is_temporary(name.rpartition("/")[2])
        and whole.get(name) != digest
    ]


def temporaries(out: Path) -> list[str]:
    """Name what was left under a temporary name."""
    return [f"left: {path}" for path in out.rglob("*") if is_temporary(path.name)]
