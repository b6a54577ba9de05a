"""One run over all audio of the corpus, as a careless user would start it."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import soundfile

from bcsim.audio.read import read_audio, read_blocks
from bcsim.errors import InputError
from bcsim.files.paths import printable
from tests.hostile.audio import write_audio_corpus
from tests.hostile.case import ACCEPT, RATE, REJECT, WARN, Case
from tests.hostile.valid_audio import write_valid_audio

MAX_LINE, MAX_SECONDS, MAX_MIB = 200, 10, 1024


@dataclass(frozen=True)
class Finished:
    """What a command came to: exit code, lines on stderr, processor time, peak memory in MiB."""

    code: int
    lines: list[str]
    seconds: float
    mib: float


def run(air: Path, out: Path, folder: Path) -> Finished:
    """Run `bcsim synthesize` in a process of its own, in an empty folder."""
    folder.mkdir()
    command = [sys.executable, "-m", "bcsim_cli.main", "synthesize", "--jobs", "2"]
    command += ["--sensor", "temporal-transforms", "--in", str(air), "--out", str(out)]
    with (folder.parent / f"{folder.name}.txt").open("w+b") as stderr:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        child = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.DEVNULL, stderr=stderr, env=environment
        )
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        stderr.seek(0)
        # But for what is said of all recordings of a kind: see tests/audio/test_inspection.py.
        lines = [x for x in stderr.read().decode().split("\n") if " or pair" not in x]
    seconds = used.ru_utime + used.ru_stime  # of its workers, too
    return Finished(child.returncode, [x for x in lines if x], seconds, used.ru_maxrss / 1024)


@dataclass(frozen=True)
class Batch:
    """The corpus, and what became of it."""

    root: Path
    air: Path
    cases: list[Case]
    done: Finished
    valid: Finished
    rows: dict[str, dict[str, Any]]
    failures: dict[str, str]
    before: dict[str, str]

    def lines_about(self, case: Case) -> list[str]:
        """Return the lines on stderr that name a case."""
        name = f"/{case.name}" if case.name == case.path.name else case.name
        return [line for line in self.done.lines if name in line]

    def source(self, case: Case) -> str:
        """Return what a case is called in manifest and list of failures."""
        return printable(case.path.relative_to(self.air).as_posix())


@pytest.fixture(scope="module")
def batch(tmp_path_factory, fingerprint) -> Batch:
    root = tmp_path_factory.mktemp("audio")
    air, out = root / "air", root / "out"
    cases = write_audio_corpus(air, root / "canary")
    write_valid_audio(root / "valid")
    before = fingerprint(air)
    valid = run(root / "valid", root / "valid out", root / "a folder")
    done = run(air, out, root / "another folder")
    rows = [
        {**json.loads(line), "folder": manifest.parent}
        for manifest in out.glob("*/metadata.jsonl")
        for line in manifest.read_text("utf-8").splitlines()
    ]
    listed = (out / "failures.jsonl").read_text("utf-8").splitlines() if out.is_dir() else []
    failures = [json.loads(line) for line in listed]
    assert len(rows) == len({row["source"] for row in rows})
    assert len(failures) == len({failure["source"] for failure in failures})
    return Batch(
        root=root,
        air=air,
        cases=cases,
        done=done,
        valid=valid,
        rows={row["source"]: row for row in rows},
        failures={failure["source"]: failure["error"] for failure in failures},
        before=before,
    )


def test_the_corpus_is_large_and_names_every_case_once(batch):
    assert len(batch.cases) == len({case.name for case in batch.cases}) > 250
    counts = Counter(case.verdict for case in batch.cases)
    assert counts[REJECT] > 120
    assert counts[ACCEPT] > 60
    assert counts[WARN] > 8


def test_every_recording_ends_as_expected(batch):
    wrong = {}
    for case in batch.cases:
        source = batch.source(case)
        ended = REJECT if source in batch.failures else None
        if source in batch.rows:
            ended = f"{ended} and used" if ended else WARN if batch.lines_about(case) else ACCEPT
        if ended != case.verdict:
            reason = batch.failures.get(source, batch.lines_about(case))
            wrong[case.name] = f"{ended}, not {case.verdict} ({case.why}): {reason}"
    assert wrong == {}


def test_the_counts_add_up_to_the_files_found(batch):
    expected = {batch.source(case) for case in batch.cases}
    assert batch.failures.keys() | batch.rows.keys() == expected
    assert batch.failures.keys() & batch.rows.keys() == set()


def test_some_rejected_is_partly_done_and_none_is_done(batch):
    assert batch.valid.code == 0, batch.valid.lines
    assert batch.done.code == 3, batch.done.lines[-3:]


def test_each_rejected_file_is_named_in_one_line(batch):
    wrong = {
        case.name: lines
        for case in batch.cases
        if case.verdict == REJECT and len(lines := batch.lines_about(case)) != 1
    }
    assert wrong == {}


def test_every_line_is_short_printable_and_no_traceback(batch):
    wrong = [line for line in batch.done.lines if len(line) > MAX_LINE or not line.isprintable()]
    assert wrong == []
    forged = {"Error: all is well"}  # what a name holds after a line break
    assert not any("Traceback" in line or line in forged for line in batch.done.lines)
    errors = [error for error in batch.failures.values() if not error.isprintable()]
    assert errors == []


def test_a_message_says_what_is_the_matter(batch):
    wrong = {
        case.name: batch.lines_about(case)
        for case in batch.cases
        if case.says and case.says not in "\n".join(batch.lines_about(case))
    }
    assert wrong == {}


def test_what_is_used_has_its_length_and_files_of_its_own(batch):
    used = [
        (case, batch.rows[s]) for case in batch.cases if (s := batch.source(case)) in batch.rows
    ]
    wrong = {
        case.name: row["duration_s"]
        for case, row in used
        if case.seconds is not None and abs(row["duration_s"] - case.seconds) > 2e-3
    }
    assert wrong == {}
    files = [
        row["folder"] / row[f"{role}_file_name"] for _, row in used for role in ("air", "bone")
    ]
    assert len(set(files)) == len(files)
    for path, (_, row) in zip(files[::2], used, strict=True):
        assert soundfile.info(str(path)).frames == round(row["duration_s"] * row["sample_rate"])


def test_no_code_was_run_and_nothing_written_elsewhere(batch):
    names = {path.name for path in batch.root.iterdir()}
    expected = {"air", "out", "valid", "valid out", "elsewhere"}
    folders = {"a folder", "another folder"}
    assert names == expected | folders | {f"{name}.txt" for name in folders}
    assert not any(any((batch.root / name).iterdir()) for name in folders)
    assert [path.name for path in (batch.root / "elsewhere").iterdir()] == ["sound.wav"]


def test_the_recordings_are_as_they_were(batch, fingerprint):
    assert fingerprint(batch.air) == batch.before


def test_in_blocks_a_file_ends_as_it_does_at_once(batch):
    def ending(read: Callable[[], int]) -> int | str:
        try:
            return read()
        except InputError:
            return "refused"

    wrong = {}
    for case in batch.cases:
        path = case.path
        at_once = ending(lambda path=path: len(read_audio(path, RATE)[0]))
        in_blocks = ending(lambda path=path: sum(map(len, read_blocks(path, RATE))))
        if at_once != in_blocks:
            wrong[case.name] = (at_once, in_blocks)
    assert wrong == {}


def test_none_takes_long_or_much_memory(batch):
    # Ten seconds for one file would be ten seconds more than the sound ones take.
    assert batch.done.seconds < batch.valid.seconds + MAX_SECONDS
    assert batch.done.mib < batch.valid.mib + MAX_MIB


def test_nothing_usable_is_a_refusal(batch, bcsim, tmp_path):
    (tmp_path / "air").mkdir()
    names = ("empty_named.wav", "cut_half.wav", "float_nan.wav", "fifo.wav", "bad__newline")
    for case in batch.cases:
        if case.name in names:
            os.link(case.path, tmp_path / "air" / case.path.name)
    command = ("synthesize", "--in", tmp_path / "air", "--out", tmp_path / "out")
    code, _, err = bcsim(*command, "--sensor", "temporal-transforms", "--jobs", 1)
    assert code == 2, err
    (last,) = (line for line in err.splitlines() if "can be used; first: " in line)
    assert last.startswith("Error: ")
    assert len(last) <= MAX_LINE
    assert last.isprintable()
    skipped = [line for line in err.splitlines() if not line.startswith("Error")]
    assert all(sum(name in line for line in skipped) == 1 for name in names)
    assert not (tmp_path / "out/dataset.json").exists()  # a dataset of nothing is no result


def test_with_strict_one_bad_file_is_a_refusal(batch, bcsim, tmp_path):
    (tmp_path / "air").mkdir()
    for name in ("valid/flac_16.flac", "wav/cut_half.wav"):
        os.link(batch.air / name, tmp_path / "air" / Path(name).name)
    command = ("synthesize", "--in", tmp_path / "air", "--out", tmp_path / "out", "--strict")
    code, _, err = bcsim(*command, "--sensor", "temporal-transforms", "--jobs", 1)
    assert code == 2, err
    (failure,) = (tmp_path / "out/failures.jsonl").read_text().splitlines()
    assert "cut_half.wav" in failure
    assert len(list((tmp_path / "out").glob("*/bone/flac_16.flac"))) == 1
