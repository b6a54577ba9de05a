"""The list of failures: each run keeps to its own lines."""

import json

from bcsim.files.failures import write_failures
from bcsim.files.findings import Finding, FoundInRecordings


def test_a_run_replaces_its_own_lines_and_leaves_others_alone(tmp_path):
    path = tmp_path / "failures.jsonl"
    path.write_text("not bcsim's\n")
    write_failures(path, "fit-response a.sensor", {"x.wav": "x.wav: broken"})
    write_failures(path, "fit-response b.sensor", {"y.wav": "y.wav: silent"})
    write_failures(path, "fit-response a.sensor", {})
    lines = path.read_text().splitlines()
    assert lines[0] == "not bcsim's"
    assert [json.loads(line)["source"] for line in lines[1:]] == ["y.wav"]


def test_without_failures_there_is_no_file(tmp_path):
    path = tmp_path / "failures.jsonl"
    write_failures(path, "synthesize", {})
    assert not path.exists()
    write_failures(path, "synthesize", {"x": "broken"})
    write_failures(path, "synthesize", {})
    assert not path.exists()


def test_lines_of_others_stay_byte_for_byte_whatever_ends_a_line_elsewhere(tmp_path):
    """A separator of lines within a text cut the line in two; bytes that are no text ended it."""
    path = tmp_path / "failures.jsonl"
    others = '{"run": "x", "error": "a\u2028b\x85c"}\n\n'.encode() + b"\xff\r\nx\n"
    path.write_bytes(others)
    write_failures(path, "synthesize", {"x": "broken"})
    assert path.read_bytes().startswith(others)
    write_failures(path, "synthesize", {})
    assert path.read_bytes() == others


def test_a_line_of_others_that_is_nested_without_end_stays_as_it_is(tmp_path):
    """It ended the run with an internal error, when its work was done."""
    path = tmp_path / "failures.jsonl"
    others = b"[" * 100_000 + b"\n"
    path.write_bytes(others)
    write_failures(path, "synthesize", {"x": "broken"})
    assert path.read_bytes().startswith(others)
    write_failures(path, "synthesize", {})
    assert path.read_bytes() == others


def test_findings_and_failures_leave_the_ends_of_others_lines_alone(tmp_path):
    """The two had writers of their own, of which one turned CR LF into LF."""
    path = tmp_path / "findings.jsonl"
    path.write_bytes(b"x\r\ny")
    found = FoundInRecordings()
    found.add("a.wav", [Finding("short", "warning", "lasts 0.1 s", "take longer ones")])
    found.write(path, "doctor")
    assert path.read_bytes().startswith(b"x\r\ny\n{")
    FoundInRecordings().write(path, "doctor")
    assert path.read_bytes() == b"x\r\ny\n"
