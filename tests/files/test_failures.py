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
