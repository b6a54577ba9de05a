"""The pool: every item once, whatever happens to its workers."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bcsim.parallel import run_parallel


def square(number: int) -> int:
    return number * number


class DiesOnce:
    """Kills its worker the first time it meets the number 3."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __call__(self, number: int) -> int:
        if number == 3 and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number * number


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_item_comes_once_with_its_result(jobs):
    results = dict(run_parallel(square, range(20), jobs, key=lambda n: n))
    assert results == {n: n * n for n in range(20)}


def test_a_worker_that_dies_costs_nothing(tmp_path):
    results = list(run_parallel(DiesOnce(tmp_path / "died"), range(8), 2, key=lambda n: n))
    assert (tmp_path / "died").exists()
    assert sorted(results) == [(n, n * n) for n in range(8)]


PARENT = """
import os, signal, sys, time
from pathlib import Path
from bcsim.parallel import run_parallel

def work(seconds):
    time.sleep(seconds)
    return os.getpid()

pids = set()
for _, pid in run_parallel(work, [0.1, 0.2, 0.3, 0.4, 60.0, 61.0], 2, key=lambda n: n):
    pids.add(pid)
    Path(sys.argv[1]).write_text(" ".join(map(str, pids)))
    if len(pids) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_end_with_their_parent(tmp_path):
    subprocess.run([sys.executable, "-c", PARENT, str(tmp_path / "pids")], timeout=60)
    workers = [Path("/proc", pid) for pid in (tmp_path / "pids").read_text().split()]
    assert workers
    deadline = time.monotonic() + 10
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [worker for worker in workers if is_running(worker)]


def is_running(process: Path) -> bool:
    try:
        return (process / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
