"""Whatever a disk does, a run ends in one line and exit code 5, and can be finished later.

Here a few faults of each kind; `shimmed.py` and `disk_full.py` beside this file try many, by hand.
"""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

HERE = Path(__file__).parent


def driver(name: str, *arguments: object, prefix: tuple[str, ...] = ()) -> str:
    """Run one of the drivers beside this file; return what it prints."""
    words = [*prefix, sys.executable, str(HERE / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(
        words,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler, cc")
@pytest.mark.parametrize(
    ("options", "totals"),
    [
        (["--count", 2], {"synthesize": 6}),
        (
            ["--count", 1, "--kinds", "rename", "link"],
            {"link": 2, "enhance": 1, "fit-response": 1, "train": 1},
        ),
        (["--count", 1, "--kinds", "write", "--jobs", 1], {"synthesize": 1}),
        (["--count", 1, "--kill"], {"link": 3, "convert": 2, "import": 2, "merge": 3}),
    ],
)
def test_a_run_that_fails_or_dies_at_one_call_is_finished_by_the_next(options, totals):
    printed = driver("shimmed", *options, "--scenario", *totals)
    assert printed == "".join(f"{name}: {total} of {total}\n" for name, total in totals.items())


@pytest.fixture(scope="module")
def _may_mount():
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"]).returncode:
        pytest.skip("this user may not make a namespace in which to mount: unshare -rm")


@pytest.mark.usefixtures("_may_mount")
def test_a_run_on_a_full_or_read_only_disk_is_finished_once_there_is_room():
    assert "disk full: 6 of 6\n" in driver("disk_full", "--count", 2)


def test_a_folder_without_permission_is_told(tmp_path):
    """Root may write anywhere, so it gives that up."""
    prefix = ()
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root needs setpriv to give up its rights")
        prefix = ("setpriv", "--bounding-set", "-all", "--inh-caps", "-all", "--")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine").chmod(0o555)
    runs = driver("one", tmp_path, 4, tmp_path / "mine", tmp_path / "mine/new", prefix=prefix)
    for line in runs.splitlines():
        code, stderr, complaints = json.loads(line)
        assert complaints == []
        assert (code, "permission denied" in stderr) == (5, True)
    assert list((tmp_path / "mine").iterdir()) == []


def test_128_handles_are_enough_for_300_files(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, before[1]))
    try:
        printed = driver("one", tmp_path, 300, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert json.loads(printed)[:2] == [0, ""]


class Call(NamedTuple):
    """A system call of a traced run, with the numbers of the lines where it began and ended."""

    began: int
    ended: int
    name: str
    paths: list[str]


def calls_of(trace: str) -> list[Call]:
    """Read what `strace -f -y` wrote; threads interrupt each other's lines."""
    begun: dict[str, tuple[int, str]] = {}
    calls = []
    for number, line in enumerate(trace.splitlines()):
        thread, _, text = line.partition(" ")
        start, text = begun.pop(thread) if "resumed>" in text else (number, text.strip())
        if "<unfinished" in line:
            begun[thread] = (start, text)
        elif not re.search(r"= -1 E", line) and "(" in text:
            name, _, rest = text.partition("(")
            quoted = re.findall(r'"([^"]*)"|(?<=\d)<(/[^>]*)>', rest.rpartition(" = ")[0] or rest)
            calls.append(Call(start, number, name, [a or b for a, b in quoted]))
    return calls


def promised_too_early(trace: str, out: str) -> list[str]:
    """Name what was given its name before what that promises was on the disk.

    A file promises its content; the account of a folder promises the folders below it, and that of
    the dataset its own folder's place as well.
    """
    synced: dict[str, int] = {}
    entered: dict[str, int] = {}  # when a folder was last given a name
    early = []
    for call in calls_of(trace):
        last = call.paths[-1]
        if call.name == "fsync":
            synced[last] = call.began
            continue
        folder, _, name = last.rpartition("/")
        if call.name.startswith("rename") and last.startswith(out):
            if call.paths[0] not in synced:
                early.append(last)
            if name in ("metadata.jsonl", "SHA256SUMS", "dataset.json"):
                early += [
                    f"{last} ({path})"
                    for path, when in entered.items()
                    if path.startswith(f"{folder}/") or name == "dataset.json"
                    if "/.bcsim" not in path and path != folder and synced.get(path, -1) < when
                ]
        if last.startswith(out):
            entered[folder] = call.ended
    return [*early, *[f"{out} at the end" for _ in range(synced.get(out, -1) < entered[out])]]


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_a_name_is_given_after_what_it_promises_is_on_the_disk(tmp_path):
    """Power may go at any moment."""
    out, log = str(tmp_path / "out"), tmp_path / "trace"
    watched = "trace=fsync,rename,renameat,renameat2,link,linkat,mkdir,mkdirat"
    prefix = ("strace", "-f", "-y", "-s", "4096", "-e", watched, "-o", str(log))
    assert json.loads(driver("one", tmp_path, 4, out, prefix=prefix))[:2] == [0, ""]
    trace = log.read_text()
    assert promised_too_early(trace, out) == []
    renamed = [call.paths[-1] for call in calls_of(trace) if call.name.startswith("rename")]
    names = [name for name in renamed if name.startswith(out)]  # not Python's own bytecode
    assert names[-1] == f"{out}/dataset.json"
    assert len([name for name in names if name.endswith(".flac")]) == 8
    # Without its flushes the run would not have passed.
    unsynced = re.sub(r"^.*fsync.*\n", "", trace, flags=re.MULTILINE)
    assert {name.split()[0] for name in promised_too_early(unsynced, out)} >= {*names, out}
