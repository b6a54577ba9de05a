"""Shards, merging and replaying as they are typed."""

import importlib
import shutil

import pytest
from click.testing import CliRunner


@pytest.fixture
def bcsim(air, sensor_file, tmp_path, monkeypatch):
    """Run a command in the folder that holds air/ and known.sensor; give exit code and output."""
    monkeypatch.chdir(tmp_path)
    cli = importlib.import_module("bcsim_cli.main").cli

    def run(line: str) -> tuple[int, str]:
        result = CliRunner().invoke(cli, line.split(), standalone_mode=False)
        if result.exception is not None:
            return getattr(result.exception, "exit_code", -1), str(result.exception)
        return result.return_value, result.output

    return run


SYNTHESIZE = "synthesize --in air --sensor known.sensor --jobs 1"


def test_shards_are_made_and_merged(bcsim, tmp_path, tree):
    for number in (1, 2):
        code, out = bcsim(f"{SYNTHESIZE} --out part{number} --shard {number}/2")
        assert (code, out.split(" (")[0]) == (0, "3 pairs")
    code, out = bcsim("merge whole part2 part1")
    assert code == 0
    assert out.startswith("6 pairs, 0.0 min, in whole")
    assert bcsim(f"{SYNTHESIZE} --out one --engine threading --batch 2")[0] == 0
    assert tree(tmp_path / "whole") == tree(tmp_path / "one")
    shutil.rmtree(tmp_path / "part2")
    assert bcsim("merge again part1") == (2, "shards are missing: 2/2; give all of them")


def test_files_that_a_shard_skipped_are_told_by_the_merge(bcsim, tmp_path):
    (tmp_path / "air/s1/text.wav").write_text("not audio")
    assert [bcsim(f"{SYNTHESIZE} --out part{n} --shard {n}/7")[0] for n in range(1, 8)].count(
        3
    ) == 1
    code, out = bcsim("merge whole " + " ".join(f"part{n}" for n in range(1, 8)))
    assert code == 3
    assert "1 files were skipped; see whole/failures.jsonl" in out


def test_a_replay_takes_sensor_and_recipe_from_the_dataset(bcsim, tmp_path, tree):
    assert bcsim(f"{SYNTHESIZE} --out pairs --set splits.validation=0 --set splits.test=0")[0] == 0
    code, out = bcsim("synthesize --replay pairs/train/metadata.jsonl --in air --out new --jobs 1")
    assert (code, out.split(" (")[0]) == (0, "6 pairs")
    assert tree(tmp_path / "new/train") == tree(tmp_path / "pairs/train")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--scheduler tcp://10.0.0.1:8786", "wants --engine dask"),
        ("--replay m.jsonl --seed 1", "leave out --seed, --mean and --limit"),
        ("--replay m.jsonl", "m.jsonl: no such manifest"),
        ("--shard 3/2", "'3/2' is no shard"),
        ("--shard 1/2 --format kaldi", "first bcsim merge the shards"),
    ],
)
def test_what_does_not_go_together_is_refused(bcsim, tmp_path, options, message):
    code, out = bcsim(f"{SYNTHESIZE} --out pairs {options}")
    assert code == 2
    assert message in out
    assert not (tmp_path / "pairs").exists()


def test_another_format_is_written_beside_the_pairs(bcsim, tmp_path):
    code, out = bcsim(f"{SYNTHESIZE} --out pairs --format kaldi")
    assert code == 0
    assert "as kaldi in" in out
    assert len(list((tmp_path / "pairs.kaldi").glob("*_bone/wav.scp"))) >= 1
