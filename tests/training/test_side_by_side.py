"""Trainings side by side: a bad one costs itself, a bad machine costs all, nothing stays behind."""

import os
import time

import pytest

from bcsim.errors import EnvironmentFault
from bcsim.training import side_by_side
from bcsim.training.side_by_side import Training, run_trainings

# A program in the place of `bcsim`: it does what its second argument says.
PROGRAM = """
import os, pathlib, sys, time
folder, words = pathlib.Path(sys.argv[1]), sys.argv[2]
name = folder / f"running-{os.getpid()}"
name.write_text(os.environ["OMP_NUM_THREADS"])
if words == "wait":
    time.sleep(600)
while words == "meet" and len(list(folder.glob("running-*"))) < 2:
    time.sleep(0.01)
if words == "count":
    time.sleep(0.05)
    with open(folder / "counts", "a") as file:
        file.write(f"{len(list(folder.glob('running-*')))}\\n")
    name.unlink()
if words == "killed":
    os.kill(os.getpid(), 9)
if words.isdecimal():
    print("Error: this one\\nError: no such folder", file=sys.stderr)
    sys.exit(int(words))
"""


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Return a function that runs trainings, each of which does what its word says."""
    monkeypatch.setattr(side_by_side, "PROGRAM", ("-c", PROGRAM))
    monkeypatch.setattr(side_by_side, "_POLL_S", 0.01)

    def run(*words, jobs=1):
        return run_trainings(
            [
                Training(f"{number}", [str(tmp_path), word], tmp_path / f"{number}.log")
                for number, word in enumerate(words)
            ],
            *(jobs, "training"),
        )

    return run


def test_a_training_that_fails_costs_itself(runs, tmp_path):
    failed = runs("6", "0", "3", "killed", "2", jobs=2)
    assert failed == {
        "0": "no such folder",
        "3": "its process was killed by SIGKILL",
        "4": "no such folder",
    }
    assert (tmp_path / "4.log").read_text() == "Error: this one\nError: no such folder\n"


def test_no_more_run_at_a_time_than_asked_for(runs, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert runs("count", "count", "count") == {}
    assert (tmp_path / "counts").read_text() == "1\n1\n1\n"
    assert runs("meet", "meet", jobs=2) == {}  # each waits for the other
    assert {path.read_text() for path in tmp_path.glob("running-*")} == {"1"}  # one thread


@pytest.mark.parametrize(
    ("code", "raised"), [("5", EnvironmentFault), ("130", KeyboardInterrupt), ("143", SystemExit)]
)
def test_a_fault_of_the_machine_and_an_interrupt_end_all(runs, tmp_path, code, raised):
    with pytest.raises(raised):
        runs("wait", code, "0", jobs=2)
    (left,) = [p for p in tmp_path.glob("running-*") if _is_alive(p)] or [None]
    assert left is None
    assert not (tmp_path / "2.log").exists()  # it was never started


def _is_alive(path) -> bool:
    process = int(path.name.rpartition("-")[2])
    for _ in range(100):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.01)
    return True
