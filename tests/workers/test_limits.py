"""Items that crash, hang or fill the memory of their worker: each costs only itself."""

import ctypes
import errno
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bcsim.errors import EnvironmentFault, is_out_of_memory
from bcsim.files.atomic import environment_faults
from bcsim.workers import engines
from bcsim.workers import limits as worker_limits
from bcsim.workers.limits import (
    Limits,
    OutOfMemoryError,
    shared_memory_faults,
    sweep_semaphores,
)
from bcsim.workers.pool import Workers, run_parallel

CRASH, SLEEP, HANG, FILL = range(-4, 0)
NUM_ITEMS = 13
REASONS = {
    CRASH: "took its worker down (SIGSEGV)",
    SLEEP: "took longer than 2 s",
    HANG: "took longer than 2 s",
    FILL: "needs more than 0.5 GiB of memory",
}


def work(items: Sequence[int]) -> list[str]:
    for item in items:
        if item == CRASH:
            ctypes.string_at(0)
        if item == SLEEP:
            time.sleep(3600)
        if item == HANG:
            sum(range(10**18))  # in C, where no handler of Python's is ever called
        if item == FILL:
            np.ones(2**30)  # 8 GiB
    return ["done" for _ in items]


def give_up(item: int, reason: str) -> str:
    return reason


def squeal(items: Sequence[int]) -> Sequence[int]:
    os.write(2, b"[mpg123] error: a decoder talks to itself\n")
    logging.getLogger("bcsim").warning("skipped: %s\x1b[31m.wav: is empty", "folder/" * 99)
    return items


# Only what never ends has a time limit: a busy machine may take seconds over the others.
LIMITS_S = {SLEEP: 2.0, HANG: 2.0}


@pytest.mark.parametrize(
    ("jobs", "batch", "first", "middle", "last"),
    [
        (1, 1, CRASH, HANG, FILL),
        (2, 1, FILL, CRASH, HANG),
        (2, 1, SLEEP, FILL, CRASH),
        (2, None, CRASH, FILL, CRASH),
    ],
)
def test_a_hostile_item_is_given_up_with_the_reason_and_no_other(jobs, batch, first, middle, last):
    half = range(NUM_ITEMS // 2)
    items = [first, *half, middle, *[n + 100 for n in half], last]
    before = multiprocessing.active_children()
    workers = Workers(jobs, batch=batch, item_memory_gib=0.5)  # the others take none
    results = run_parallel(work, items, workers, give_up, lambda item: LIMITS_S.get(item, 3600.0))
    assert sorted(results) == sorted((item, REASONS.get(item, "done")) for item in items)
    while multiprocessing.active_children() != before:  # the kernel ends them in its own time
        time.sleep(0.01)


def test_the_time_of_an_item_is_what_the_caller_says_unless_the_workers_say_otherwise():
    workers = Workers(1)
    results = run_parallel(work, [1, SLEEP], workers, give_up, {1: 3600.0, SLEEP: 0.5}.__getitem__)
    assert dict(results) == {1: "done", SLEEP: "took longer than 0.5 s"}


@pytest.mark.parametrize("engine", ["threading", "loky"])
def test_no_limits_in_this_process(engine):
    """Its memory and its timer are not ours to take."""
    workers = Workers(2 if engine == "threading" else None, engine, item_timeout_s=1e-6)
    assert dict(run_parallel(work, [1, 2], workers, give_up)) == {1: "done", 2: "done"}
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_every_way_of_running_out_of_memory_is_known():
    import torch

    with pytest.raises(RuntimeError) as torchs:
        torch.empty(2**50)
    fault = EnvironmentFault("x.wav: cannot be read")
    fault.__cause__ = OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    decoders = RuntimeError("Error opening <x>: Internal malloc () failed.")
    for error in (torchs.value, decoders, MemoryError(), fault):
        assert is_out_of_memory(error)
    for other in (ValueError("x"), OSError(errno.ENOSPC, "full"), RuntimeError("shapes differ")):
        assert not is_out_of_memory(other)


@pytest.mark.parametrize("item", [SLEEP, FILL])
def test_an_item_that_breaks_its_limits_is_tried_once_more_and_no_more(monkeypatch, item):
    """Each time may cost minutes."""
    tries = []
    submit = engines._Processes.submit

    def counted(self, *task):
        tries.append(task)
        return submit(self, *task)

    monkeypatch.setattr(engines._Processes, "submit", counted)
    workers = Workers(1, item_timeout_s=1.0, item_memory_gib=0.5)
    list(run_parallel(work, [item], workers, give_up))
    assert sum(work in task for task in tries) == 2  # beside the task that asks the machine


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("exit codes of the workers are {SIGSEGV(-11)}", "took its worker down (SIGSEGV)"),
        ("exit codes of the workers are {EXIT(3)}", "took its worker down (exit code 3)"),
        ("in words of another version", "took its worker down"),
    ],
)
def test_what_is_known_of_the_end_of_a_worker_is_told(message, reason):
    assert Limits(2.0, 4.0).reason_of(RuntimeError(message)) == reason
    assert Limits(2.0, 4.0).reason_of(OutOfMemoryError("too much")) == "too much"


@pytest.mark.parametrize(
    ("end", "surely"),
    [("SIGKILL(-9)", False), ("SIGTERM(-15)", False), ("SIGALRM(-14)", True), ("EXIT(3)", True)],
)
def test_a_worker_that_anybody_may_have_ended_is_no_fault_of_its_item(end, surely):
    assert (
        Limits.is_fault_of_item(RuntimeError(f"exit codes of the workers are {{{end}}}")) == surely
    )


def test_a_worker_says_only_safe_lines(capfd):
    list(run_parallel(squeal, [1], Workers(1), give_up))
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("skipped: folder/")
    assert lines[0].endswith("/%1B[31m.wav: is empty")
    assert len(lines[0]) == 200


KILLED = """
import os, signal, time
from bcsim.workers.pool import Workers, run_parallel

def nap(numbers):
    time.sleep(0.1)
    return numbers

for _ in run_parallel(nap, range(100), Workers(2, batch=1), print):
    os.killpg(0, signal.SIGKILL)
"""


def test_the_semaphores_of_a_run_that_was_killed_with_its_children_are_swept():
    killed = subprocess.Popen([sys.executable, "-c", KILLED], start_new_session=True)
    assert killed.wait() == -signal.SIGKILL
    left = f"sem.loky-{killed.pid}-*"
    assert list(Path("/dev/shm").glob(left))
    sweep_semaphores(killed.pid)
    assert not list(Path("/dev/shm").glob(left))


def test_only_semaphores_of_the_dead_are_swept(tmp_path, monkeypatch):
    monkeypatch.setattr(worker_limits, "_SHARED", tmp_path)
    dead = 2**22 + 1  # more than there can be
    alive = tmp_path / f"sem.loky-{os.getpid()}-a"
    other = tmp_path / f"sem.loky-{dead}9-a"
    link = tmp_path / f"sem.loky-{dead}-b"
    alive.touch()
    other.touch()
    link.symlink_to(alive)
    (tmp_path / f"sem.loky-{dead}-a").touch()
    for pid in (dead, os.getpid(), 0, -1):
        sweep_semaphores(pid)
    assert sorted(tmp_path.iterdir()) == sorted([alive, other, link])


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),  # a semaphore's
        RuntimeError("unable to write to file </torch_1_2_3>: No space left on device (28)"),
        RuntimeError("DataLoader worker (pid(s) 1) exited: out of shared memory"),
    ],
)
def test_a_full_shared_memory_is_not_taken_for_a_full_output_disk(tmp_path, error):
    with (
        pytest.raises(EnvironmentFault, match=r"^/dev/shm: the disk is full \(.*free"),
        environment_faults(tmp_path / "out"),
        shared_memory_faults(),
    ):
        raise error


def test_other_errors_are_none_of_shared_memory():
    others = (OSError(errno.ENOSPC, "full", "/data/x"), OSError(errno.EIO, "x"), RuntimeError("x"))
    for other in others:
        with pytest.raises(type(other)) as caught, shared_memory_faults():
            raise other
        assert caught.value is other
