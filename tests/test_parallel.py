"""The pool: every item once, whatever happens to its workers."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import dask.config
import pytest

from bcsim.errors import EnvironmentFault
from bcsim.parallel import Workers, run_parallel


def square(numbers: Sequence[int]) -> list[int]:
    return [number * number for number in numbers]


class DiesOnce:
    """Kills its worker the first time it meets the number 3."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        if 3 in numbers and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return square(numbers)


class DiesAlways:
    """Kills every worker that meets the number 3."""

    def __call__(self, numbers: Sequence[int]) -> Sequence[int]:
        if 3 in numbers:
            os.kill(os.getpid(), signal.SIGKILL)
        return numbers


def refuse(numbers: Sequence[int]) -> Sequence[int]:
    if 3 in numbers:
        raise EnvironmentFault("the disk is full")
    return numbers


WAYS = [
    Workers(),
    Workers(2),
    Workers(2, batch=7),
    Workers(2, "threading"),
    Workers(2, "dask", batch=3),
]


@pytest.mark.parametrize("workers", WAYS, ids=str)
def test_every_item_comes_once_with_its_result(workers):
    results = list(run_parallel(square, range(20), workers))
    assert sorted(results) == [(n, n * n) for n in range(20)]


@pytest.mark.parametrize("workers", WAYS, ids=str)
def test_an_error_comes_out_as_it_went_in(workers):
    with pytest.raises(EnvironmentFault, match="the disk is full"):
        list(run_parallel(refuse, range(8), workers))


@pytest.mark.parametrize("workers", [Workers(2), Workers(2, batch=3), Workers(2, "dask")], ids=str)
def test_a_worker_that_dies_costs_nothing(tmp_path, workers):
    results = list(run_parallel(DiesOnce(tmp_path / "died"), range(8), workers))
    assert (tmp_path / "died").exists()
    assert sorted(results) == [(n, n * n) for n in range(8)]


@pytest.mark.parametrize("workers", [Workers(2), Workers(2, "dask", batch=4)], ids=str)
def test_an_item_that_kills_every_worker_is_given_up(workers):
    """joblib's Dask backend waits for ever here."""
    with pytest.raises(EnvironmentFault, match="workers were lost"):
        list(run_parallel(DiesAlways(), range(8), workers))


class Counted(Sequence[int]):
    """A thousand numbers that count how many of them were asked for."""

    asked = 0

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index):
        if index >= 1000:
            raise IndexError
        self.asked += 1
        return index


def test_only_a_few_items_are_under_way_on_a_cluster():
    items, workers = Counted(), Workers(2, "dask", batch=5)
    results = run_parallel(square, items, workers)
    assert max(items.asked - done for done, _ in enumerate(results)) <= 2 * 2 * 5
    assert items.asked == 1000


def test_a_scheduler_that_is_not_there_is_named():
    workers = Workers(engine="dask", scheduler="tcp://127.0.0.1:1")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}),
        pytest.raises(EnvironmentFault, match=r"--scheduler tcp://127\.0\.0\.1:1: nobody answers"),
    ):
        list(run_parallel(square, range(3), workers))


PARENT = """
import os, signal, sys, time
from pathlib import Path
from bcsim.parallel import Workers, run_parallel

def work(naps):
    time.sleep(sum(naps))
    return [os.getpid() for _ in naps]

pids = set()
for _, pid in run_parallel(work, [0.1, 0.2, 0.3, 0.4, 60.0, 61.0], Workers(2, batch=1)):
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
