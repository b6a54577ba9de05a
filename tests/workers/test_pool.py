"""The pool: every item once, whatever happens to its workers."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import dask.config
import pytest

from bcsim.errors import EnvironmentFault
from bcsim.workers import pool as parallel
from bcsim.workers.engines import ENGINES, Engine
from bcsim.workers.pool import Workers, run_parallel


def square(numbers: Sequence[int]) -> list[int]:
    return [number * number for number in numbers]


class Dies:
    """Kills its worker over some numbers: over each of them so many times."""

    def __init__(self, folder: Path, numbers: Sequence[int], times: int) -> None:
        self.folder, self.numbers, self.times = folder, numbers, times

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        for number in numbers:
            for time_ in range(self.times if number in self.numbers else 0):
                marker = self.folder / f"{number}-{time_}"
                if not marker.exists():
                    marker.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
        return square(numbers)


def minus(number: int, reason: str) -> int:
    return -number


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
    results = list(run_parallel(square, range(20), workers, minus))
    assert sorted(results) == [(n, n * n) for n in range(20)]


@pytest.mark.parametrize("workers", WAYS, ids=str)
def test_an_error_comes_out_as_it_went_in(workers):
    with pytest.raises(EnvironmentFault, match="the disk is full"):
        list(run_parallel(refuse, range(8), workers, minus))


MORTAL = [Workers(2), Workers(2, batch=3), Workers(2, "dask", batch=4)]


@pytest.mark.parametrize("workers", MORTAL, ids=str)
def test_a_worker_that_dies_costs_nothing(tmp_path, workers):
    results = list(run_parallel(Dies(tmp_path, [3], 1), range(8), workers, minus))
    assert [*tmp_path.iterdir()] == [tmp_path / "3-0"]
    assert sorted(results) == [(n, n * n) for n in range(8)]


def test_deaths_over_other_items_do_not_add_up(tmp_path):
    """Five of them, over five items, used to end a run."""
    numbers = range(0, 24, 4)
    results = list(run_parallel(Dies(tmp_path, numbers, 1), range(24), Workers(2, batch=2), minus))
    assert len([*tmp_path.iterdir()]) == 6
    assert sorted(results) == [(n, n * n) for n in range(24)]


@pytest.mark.parametrize("workers", MORTAL, ids=str)
def test_an_item_that_kills_every_worker_is_given_up_and_no_other(tmp_path, workers):
    results = list(run_parallel(Dies(tmp_path, [3], 99), range(8), workers, minus))
    assert sorted(results) == [(n, -n if n == 3 else n * n) for n in range(8)]


def test_the_last_item_of_a_run_may_kill_its_worker(tmp_path):
    workers = Workers(2)
    assert list(run_parallel(Dies(tmp_path, [3], 99), [3], workers, minus)) == [(3, -3)]


def test_items_that_kill_their_workers_in_a_row_do_not_stop_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "MAX_DEATHS_IN_A_ROW", 2)
    results = list(run_parallel(Dies(tmp_path, [3], 99), [3, 4], Workers(1), minus))
    assert sorted(results) == [(3, -3), (4, 16)]


class Lost(Exception):
    """A worker was."""


@pytest.mark.parametrize("num_items", [1, 50])
def test_where_workers_are_lost_over_nothing_it_is_the_machine(monkeypatch, num_items):
    """Fewer items than 20 were all called killers, and a dataset of nothing was finished."""

    def submit(*task):
        future = Future()
        future.set_exception(Lost())
        return future

    engine = Engine(submit, lambda: 2, (Lost,))
    monkeypatch.setitem(ENGINES, "loky", lambda _: contextlib.nullcontext(engine))
    results = run_parallel(square, range(num_items), Workers(2), minus)
    with pytest.raises(EnvironmentFault, match=r"workers were lost .* over nothing at all"):
        list(results)


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
    results = run_parallel(square, items, workers, minus)
    assert max(items.asked - done for done, _ in enumerate(results)) <= 2 * 2 * 5
    assert items.asked == 1000


def test_a_scheduler_that_is_not_there_is_named():
    workers = Workers(engine="dask", scheduler="tcp://127.0.0.1:1")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}),
        pytest.raises(EnvironmentFault, match=r"scheduler tcp://127\.0\.0\.1:1: nobody answers"),
    ):
        list(run_parallel(square, range(3), workers, minus))


PARENT = """
import os, signal, sys, time
from pathlib import Path
from bcsim.workers.pool import Workers, run_parallel

folder = Path(sys.argv[1])

def work(numbers):
    (folder / str(os.getpid())).touch()
    while numbers[0] or len([*folder.iterdir()]) < 2:  # the first waits for the other worker
        time.sleep(0.01)
    return numbers

for _ in run_parallel(work, [0, 1, 2], Workers(2, batch=1), print):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_end_with_their_parent(tmp_path):
    subprocess.run([sys.executable, "-c", PARENT, str(tmp_path)])
    workers = [Path("/proc", path.name) for path in tmp_path.iterdir()]
    assert len(workers) == 2
    deadline = time.monotonic() + 300
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [worker for worker in workers if is_running(worker)]


HALF_A_RESULT = """
import gc, os, signal, sys
from pathlib import Path
import bcsim.workers.pool as parallel
from joblib.externals.loky.backend.queues import SimpleQueue

parallel.STUCK_S = 0.5
once, fails = Path(sys.argv[1]), sys.argv[2] == "fails"

def work(numbers):
    if numbers[0] == 3 and not once.exists():
        once.touch()
        (results,) = [found for found in gc.get_objects() if isinstance(found, SimpleQueue)]
        with results._wlock:
            os.write(results._writer.fileno(), bytes([0, 16, 0, 0]) + b"half of it")
            os.kill(os.getpid(), signal.SIGKILL)
    return numbers

workers = parallel.Workers(2, batch=1)
found = []
for number, _ in parallel.run_parallel(work, range(8), workers, print):
    found.append(number)
    while fails and not once.exists():
        pass
    assert not fails, "the parent fails as well"
print(sorted(found))
"""


@pytest.mark.parametrize("parent", ["goes on", "fails"])
def test_a_worker_that_is_killed_while_it_hands_over_a_result_holds_nobody_up(tmp_path, parent):
    command = [sys.executable, "-c", HALF_A_RESULT, str(tmp_path / "once"), parent]
    done = subprocess.run(command, capture_output=True, text=True)
    if parent == "fails":
        assert "AssertionError: the parent fails as well" in done.stderr
    else:
        assert done.stdout == "[0, 1, 2, 3, 4, 5, 6, 7]\n"
    assert "leaked" not in done.stderr


INTERRUPTED = """
import signal, sys, time
from bcsim.workers.pool import Workers, run_parallel

signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs are started without

def work(numbers):
    time.sleep(0.2)
    return numbers

try:
    for number, _ in run_parallel(work, range(1000), Workers(2, sys.argv[1], batch=1), print):
        print(number, flush=True)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("engine", ["loky", "threading", "dask"])
def test_ctrl_c_ends_everybody_without_a_word(engine):
    """It reaches the workers as well, and each of them used to show a traceback."""
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, engine],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    _, complaints = process.communicate()  # ends when nobody holds the pipes any more
    assert (process.returncode, complaints) == (130, b"")


def is_running(process: Path) -> bool:
    try:
        return (process / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
