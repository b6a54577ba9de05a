"""The list of failures: each run keeps to its own lines."""

import json

from bcsim.files.failures import write_failures


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
    others = '{"run": "x", "error": "a\u2028b\x85c"}\n\n'.encode() + b"\xff\n"
    path.write_bytes(others)
    write_failures(path, "synthesize", {"x": "broken"})
    assert path.read_bytes().startswith(others)
    write_failures(path, "synthesize", {})
    assert path.read_bytes() == others
