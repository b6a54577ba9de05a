"""`bcsim verify` finds whatever is not as it was written."""

import hashlib
import importlib
import itertools
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from bcsim.datasets.checksums import written_pairs
from bcsim.datasets.importers import import_pairs
from bcsim.datasets.verification import verify_files
from bcsim.errors import InputError, UsageError
from bcsim.synthesis.clips import Shard
from bcsim.workers.pool import Workers
from bcsim.workflows.merge import merge
from bcsim.workflows.synthesize import plan_synthesis, synthesize
from bcsim.workflows.verify import verify

COMMAND_LINE = importlib.import_module("bcsim_cli.main").cli


@pytest.fixture(scope="module")
def written(corpus, tmp_path_factory, sensor) -> Path:
    """A dataset to read only."""
    folder = tmp_path_factory.mktemp("written")
    sensor.save(folder / "known.sensor")
    settings = ("splits.validation=0.3", "splits.test=0.3")
    plan = plan_synthesis(corpus, folder / "pairs", str(folder / "known.sensor"), settings=settings)
    synthesize(plan, Workers())
    return folder / "pairs"


@pytest.fixture
def pairs(written, tmp_path) -> Path:
    """A copy of it, which knows neither its own place nor that of its recordings."""
    return Path(shutil.copytree(written, tmp_path / "pairs"))


def first(folder: Path, pattern: str) -> Path:
    return sorted(folder.glob(pattern))[0]


def test_a_dataset_as_it_was_written_is_whole(pairs):
    result = verify(pairs)
    assert not result.problems
    manifests = len(list(pairs.glob("*/metadata.jsonl")))
    assert result.num_files == 2 * 6 + manifests + 4  # profile, recipe, card and account
    told = CliRunner().invoke(COMMAND_LINE, ["verify", str(pairs)], standalone_mode=False)
    assert told.return_value == 0
    assert "all as they were written" in told.output


def test_sha256sum_reads_the_list(pairs):
    done = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=pairs, check=False)
    assert done.returncode == 0


def test_shards_that_were_merged_and_pairs_that_were_imported_are_whole(
    air, tmp_path, sensor_file, pairs
):
    shards = [tmp_path / f"shard{n}" for n in (1, 2)]
    for n, shard in enumerate(shards, start=1):
        synthesize(plan_synthesis(air, shard, sensor_file, shard=Shard(n, 2)), Workers())
    merge(tmp_path / "merged", shards)
    import_pairs(pairs, tmp_path / "imported")
    for dataset in (*shards, tmp_path / "merged", tmp_path / "imported"):
        assert not verify(dataset).problems


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def lengthen(path: Path) -> None:
    samples, rate = soundfile.read(path, dtype="int16")
    soundfile.write(path, np.tile(samples, 2), rate)


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [
        *itertools.product(("*/air/**/*.flac", "*/bone/**/*.flac"), (flip, cut, lengthen)),
        *itertools.product(("recipe.resolved.yaml", "profile.sensor", "README.md"), (flip, cut)),
        ("*/bone/**/*.flac", Path.unlink),
        ("profile.sensor", Path.unlink),
    ],
)
def test_whatever_happens_to_a_file_it_is_named(pairs, pattern, damage):
    path = first(pairs, pattern)
    damage(path)
    problems = verify(pairs).problems
    assert problems
    assert all(problem.startswith(f"{path}: ") for problem in problems)
    told = CliRunner().invoke(COMMAND_LINE, ["verify", str(pairs), "--json"], standalone_mode=False)
    assert told.return_value == 4
    assert json.loads(told.stdout)["problems"] == problems


def test_a_manifest_that_lost_a_row_or_lists_one_twice_is_named(pairs):
    manifest = first(pairs, "train/metadata.jsonl")
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(lines[1:]))
    found = "\n".join(verify(pairs).problems)
    lost = json.loads(lines[0])
    assert f"{manifest}: is not what was written there" in found
    assert f"{lost['bone_file_name']}: is in no manifest" in found
    assert f"lists {len(lines) - 1} pairs, dataset.json says {len(lines)}" in found
    manifest.write_text("".join([lines[0], *lines]))
    assert any(problem.startswith(f"{manifest} line 2: ") for problem in verify(pairs).problems)
    manifest.unlink()
    assert f"{manifest}: is missing" in verify(pairs).problems


@pytest.mark.parametrize(
    ("samples", "rate", "subtype", "told"),
    [
        (np.zeros(80_000), 48_000, "PCM_16", "48000 Hz"),
        (np.zeros((80_000, 2)), 16_000, "PCM_16", "channels: 2"),
        (np.full(80_000, np.nan), 16_000, "FLOAT", "not finite"),
    ],
)
def test_a_file_whose_sum_is_right_and_that_cannot_be_one_of_the_pair_is_named(
    pairs, samples, rate, subtype, told
):
    """A dataset from a stranger goes with its own sums."""
    path = first(pairs, "*/bone/**/*.flac")
    was = sum_of(path)
    soundfile.write(path, samples, rate, format="WAV", subtype=subtype)
    sums = pairs / "SHA256SUMS"
    sums.write_text(sums.read_text().replace(was, sum_of(path)))
    (problem,) = verify(pairs).problems
    assert problem.startswith(f"{path}: ")
    assert told in problem


def sum_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_that_nobody_listed_is_named(pairs):
    strangers = [pairs / f"train/{name}" for name in ("air/a.flac", "more/b.flac", "c.txt")]
    (pairs / "train/more").mkdir()
    for path in (*strangers, pairs / "notes.txt", pairs / "train/.hidden"):
        path.write_text("a stranger")
    found = {f"{path}: is in no manifest" for path in strangers}
    assert set(verify(pairs).problems) == found
    for path in strangers:
        path.unlink()
    leftovers = [pairs / f"{folder}/.{0:016x}.{0:012x}.tmp" for folder in (".", "train/air")]
    for path in leftovers:
        path.write_text("half a file")
    assert [problem.split(": ")[0] for problem in verify(pairs).problems] == [*map(str, leftovers)]


@pytest.mark.parametrize("name", ["README.md", "recipe.resolved.yaml", "dataset.json"])
def test_what_stands_beside_the_pairs_has_to_be_listed(pairs, name):
    lines = (pairs / "SHA256SUMS").read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.endswith(f"  {name}\n")]
    (pairs / "SHA256SUMS").write_text("".join(kept))
    assert verify(pairs).problems == [f"{pairs / name}: is not in SHA256SUMS"]


@pytest.mark.parametrize("damage", ["another speaker", "fewer rows", "no manifest"])
def test_a_manifest_that_was_damaged_is_not_believed(air, sensor_file, pairs, tree, damage):
    """The same command took its rows over and wrote the sum of what it had found."""
    before = tree(pairs)
    manifest = first(pairs, "train/metadata.jsonl")
    lines = manifest.read_text().splitlines(keepends=True)
    if damage == "another speaker":
        speaker = json.loads(lines[-1])["speaker"]
        lines[-1] = lines[-1].replace(f'"speaker": "{speaker}"', '"speaker": "nobody"')
    manifest.write_text("".join(lines[: -1 if damage == "fewer rows" else None]))
    if damage == "no manifest":
        manifest.unlink()
    with pytest.raises(InputError, match="is not what was written there"):
        list(written_pairs(pairs, "train"))
    settings = ("splits.validation=0.3", "splits.test=0.3")
    plan = plan_synthesis(air, pairs, sensor_file, settings=settings)
    assert synthesize(plan, Workers()).num_reused == 6 - len(lines)
    assert tree(pairs) == before


def test_a_list_that_leads_out_of_the_dataset_is_not_followed(pairs, tmp_path):
    (tmp_path / "secret").write_text("secret")
    for name in ("../secret", str(tmp_path / "secret")):
        with (pairs / "SHA256SUMS").open("a") as file:
            file.write(f"{'0' * 64}  {name}\n")
        assert any("SHA256SUMS" in problem for problem in verify(pairs).problems)


@pytest.mark.parametrize("text", ["", "gibberish\n", "\xff\n", f"{'0' * 63}g  a\n"])
def test_a_list_that_is_none_is_a_problem_and_no_traceback(pairs, text):
    (pairs / "SHA256SUMS").write_bytes(text.encode("latin-1"))
    assert verify(pairs).problems


def test_an_unfinished_dataset_is_no_whole_one_and_anything_else_is_none(
    pairs, tmp_path, monkeypatch
):
    (pairs / ".bcsim.tmp").mkdir()
    assert any("is not finished" in problem for problem in verify(pairs).problems)
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(InputError, match=r"no such folder|is no dataset"):
            verify(folder)


def test_without_hashes_what_is_missing_or_torn_is_found_and_what_is_flipped_is_not(pairs):
    flip(first(pairs, "train/air/**/*.flac"))
    assert not list(verify_files(pairs, hashes=False))
    cut(first(pairs, "train/bone/**/*.flac"))
    first(pairs, "train/bone/**/*.flac").write_bytes(b"")
    assert list(verify_files(pairs, hashes=False))


def test_what_was_flipped_is_rendered_again_by_the_same_command(
    air, tmp_path, sensor_file, pairs, tree
):
    before = tree(pairs)
    flip(first(pairs, "*/bone/**/*.flac"))
    cut(pairs / "README.md")
    settings = ("splits.validation=0.3", "splits.test=0.3")
    plan = plan_synthesis(air, pairs, sensor_file, settings=settings)
    assert synthesize(plan, Workers()).num_reused == 5
    assert tree(pairs) == before


def test_without_its_list_a_dataset_is_rendered_again(air, sensor_file, pairs, tree):
    before = tree(pairs)
    (pairs / "SHA256SUMS").unlink()
    settings = ("splits.validation=0.3", "splits.test=0.3")
    plan = plan_synthesis(air, pairs, sensor_file, settings=settings)
    assert synthesize(plan, Workers()).num_reused == 0
    assert tree(pairs) == before


def test_a_source_that_changed_and_kept_its_size_is_refused(air, sensor_file, pairs, tree):
    before = tree(pairs)
    samples, rate = soundfile.read(air / "s1/a.wav", dtype="int16")
    soundfile.write(air / "s1/a.wav", -samples, rate)
    settings = ("splits.validation=0.3", "splits.test=0.3")
    plan = plan_synthesis(air, pairs, sensor_file, settings=settings)
    with pytest.raises(UsageError, match=r"s1/a was rendered from another s1/a\.wav"):
        synthesize(plan, Workers())
    assert tree(pairs).items() >= before.items()
    assert not verify(pairs).problems


def test_links_out_of_the_output_are_refused(air, tmp_path, sensor_file, pairs, tree):
    (tmp_path / "away").mkdir()
    (tmp_path / "away/decoy").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "away")
    shutil.rmtree(pairs / "train/air")
    (pairs / "train/air").symlink_to(tmp_path / "away")
    settings = ("splits.validation=0.3", "splits.test=0.3")
    for out in (tmp_path / "link", pairs):
        with pytest.raises(UsageError, match="is a link"):
            synthesize(plan_synthesis(air, out, sensor_file, settings=settings), Workers())
    assert tree(tmp_path / "away").keys() == {"decoy"}
