"""One run at a time writes to an output folder, and only with the settings it was begun with."""

import json
import os
import signal
import subprocess
import sys

import pytest

from bcsim.errors import EnvironmentFault, UsageError
from bcsim.files.atomic import not_a_link
from bcsim.files.run_folder import (
    LOCK_NAME,
    check_same_settings,
    clear_folder,
    locked,
    staged_folder,
)


def test_a_second_run_of_the_same_process_is_refused(tmp_path):
    with (
        locked(tmp_path, tmp_path / "lock"),
        pytest.raises(EnvironmentFault, match="another run is writing there"),
        locked(tmp_path, tmp_path / "lock"),
    ):
        pass
    with locked(tmp_path, tmp_path / "lock"):
        pass


def test_a_child_that_outlives_a_killed_run_does_not_hold_its_lock(tmp_path):
    """Loading processes of a training are forked, and go on for some seconds after a kill."""
    code = (
        "import os, sys, time; from pathlib import Path\n"
        "from bcsim.files.run_folder import locked\n"
        "out = Path(sys.argv[1])\n"
        "with locked(out, out / 'lock'):\n"
        "    child = os.fork()\n"
        "    if not child: print(os.getpid(), flush=True)\n"  # once it has let go of the lock
        "    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        child = int(run.stdout.readline())
        try:
            with pytest.raises(EnvironmentFault), locked(tmp_path, tmp_path / "lock"):
                pass
            run.kill()
            run.wait()
            os.kill(child, 0)  # still there
            with locked(tmp_path, tmp_path / "lock"):
                pass
        finally:
            os.kill(child, signal.SIGKILL)


def test_the_first_setting_that_differs_is_named_with_both_values(tmp_path):
    begun = {"seed": 0, "effects": [{"name": "gain", "gain_db": 1.0}], "sets": [1, 2]}
    check_same_settings(tmp_path, begun, dict(begun))
    now = {"seed": 0, "effects": [{"name": "gain", "gain_db": 2.0}], "sets": [1, 2, 3]}
    with pytest.raises(UsageError, match=r"effects\.0\.gain_db 1\.0, now 2\.0 \(and 1 more"):
        check_same_settings(tmp_path, begun, now)


@pytest.mark.parametrize("begun", [{"noise_sha256": "a"}, {"data_facts": {"noise_sha256": "a"}}])
def test_another_hash_is_told_by_what_it_is_of(tmp_path, begun):
    """A dataset whose silent noise had been drawn was refused with two hashes alone."""
    now = json.loads(json.dumps(begun).replace('"a"', '"b"'))
    told = "noise are others, or silent ones and pauses in them were still drawn then"
    with pytest.raises(UsageError, match=rf"noise_sha256 'a', now 'b': .*{told}.*another output"):
        check_same_settings(tmp_path, begun, now)


def test_clearing_a_folder_follows_no_link(tmp_path):
    for name in ("out/a/b", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("out/kept", "out/gone", "elsewhere/file"):
        (tmp_path / name).touch()
    (tmp_path / "out/link").symlink_to(tmp_path / "elsewhere")
    clear_folder(tmp_path / "out", kept={"kept"})
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["kept"]
    assert (tmp_path / "elsewhere/file").is_file()


def test_a_run_that_was_killed_behind_its_renaming_is_finished_by_the_same_run(tmp_path):
    def write(content: str) -> None:
        with staged_folder(out, again=True) as folder:
            (folder / "a").mkdir()
            (folder / "a/file").write_text(content)

    out = tmp_path / "out"
    write("1")
    (out / LOCK_NAME).touch()
    write("1")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "a", "file"]
    (out / LOCK_NAME).touch()
    with pytest.raises(UsageError, match="is there already"):
        write("2")
    assert (out / "a/file").read_text() == "1"
    with locked(out, out / LOCK_NAME), pytest.raises(EnvironmentFault, match="another run"):
        write("1")


def test_a_pipe_where_a_lock_or_a_journal_should_be_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with (
        pytest.raises(UsageError, match="pipe: not a regular file, where bcsim writes one"),
        locked(tmp_path, tmp_path / "pipe"),
    ):
        pass
    with (
        pytest.raises(UsageError, match="remove it"),
        open(tmp_path / "pipe", "ab", opener=not_a_link),
    ):
        pass
