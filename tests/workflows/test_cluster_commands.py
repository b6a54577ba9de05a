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


SYNTHESIZE = "synthesize --in air --sensor known.sensor --engine threading"


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
    code, out = bcsim(
        "synthesize --replay pairs/train/metadata.jsonl --in air --out new --engine threading"
    )
    assert (code, out.split(" (")[0]) == (0, "6 pairs")
    assert tree(tmp_path / "new/train") == tree(tmp_path / "pairs/train")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--scheduler tcp://10.0.0.1:8786", "wants --engine dask"),
        ("--replay m.jsonl --seed 1", "leave out --seed, --mean, --limit, --speakers"),
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


def test_a_format_that_has_no_place_is_refused_before_anything_is_rendered(bcsim, tmp_path):
    (tmp_path / "pairs.kaldi").mkdir()
    (tmp_path / "pairs.kaldi/notes.txt").write_text("mine")
    for more in ("", " --overwrite", " --dry-run"):
        code, out = bcsim(f"{SYNTHESIZE} --out pairs --format kaldi{more}")
        assert code == 2
        assert "it is no export of bcsim" in out
    assert not (tmp_path / "pairs").exists()
    assert (tmp_path / "pairs.kaldi/notes.txt").read_text() == "mine"


def test_an_export_of_other_pairs_is_replaced_when_asked(bcsim, tmp_path, tree):
    line = f"{SYNTHESIZE} --out pairs --limit 2 --format kaldi"
    assert bcsim(line)[0] == bcsim(line)[0] == 0  # the same again is no other
    shutil.rmtree(tmp_path / "pairs")
    code, out = bcsim(f"{line} --seed 1")
    assert (code, "overwrite it" in out) == (2, True)
    assert not (tmp_path / "pairs").exists()
    before = tree(tmp_path / "pairs.kaldi")
    assert bcsim(f"{line} --seed 1 --overwrite")[0] == 0
    after = tree(tmp_path / "pairs.kaldi")
    assert after.keys() == before.keys()
    assert after["export.json"] != before["export.json"]


def test_the_export_of_the_folder_that_one_stands_in_goes_beside_it(bcsim, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    line = "synthesize --in ../air --sensor ../known.sensor --engine threading --limit 1 --out ."
    assert bcsim(f"{line} --format kaldi")[0] == 0
    assert list((tmp_path / "here.kaldi").glob("*_bone/wav.scp"))
    monkeypatch.chdir("/")
    code, out = bcsim(f"synthesize --in {tmp_path / 'air'} --out . --sensor x --format kaldi")
    assert code == 2
    assert "\n" not in out
