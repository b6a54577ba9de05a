"""Shards: parts of a corpus that make the whole again, and nothing else."""

import dataclasses
import itertools
import json
import os
import shutil
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from bcsim.datasets import manifest as manifest_files
from bcsim.datasets.dataset import read_dataset_metadata
from bcsim.datasets.manifest import PairRow
from bcsim.errors import InputError, UsageError
from bcsim.files import atomic, hashing
from bcsim.synthesis.clips import Shard
from bcsim.workers.pool import Workers
from bcsim.workflows import merge as merging
from bcsim.workflows.merge import merge
from bcsim.workflows.synthesize import plan_synthesis, synthesize
from bcsim.workflows.verify import verify


@pytest.fixture(scope="module")
def rendered(corpus, sensor, tmp_path_factory):
    """What every test has copies of: shard1 to shard3, and all in one shard."""
    folder = tmp_path_factory.mktemp("shards")
    sensor.save(folder / "known.sensor")
    sensor_file = str(folder / "known.sensor")
    make(corpus, folder / "one", sensor_file, Shard(1, 1))
    shutil.copytree(corpus, folder / "air")
    (folder / "air/s1/text.wav").write_text("not audio")
    for n in (1, 2, 3):
        make(folder / "air", folder / f"shard{n}", sensor_file, Shard(n, 3))
    return folder


@pytest.fixture
def sensor_file(rendered) -> str:
    return str(rendered / "known.sensor")


@pytest.fixture
def shards(air, tmp_path, rendered):
    """Three shards of six clips, and of a file that is no audio."""
    (air / "s1/text.wav").write_text("not audio")
    return [shutil.copytree(rendered / f"shard{n}", tmp_path / f"shard{n}") for n in (1, 2, 3)]


def make(air, out, sensor_file, shard=None, **options):
    synthesize(plan_synthesis(air, out, sensor_file, shard=shard, **options), Workers())
    return out


def test_merged_shards_are_one_run_without_shards(tmp_path, rendered, sensor_file, shards, tree):
    make(rendered / "air", tmp_path / "whole", sensor_file)
    before = [tree(shard) for shard in shards]
    result = merge(tmp_path / "linked", shards)
    merge(tmp_path / "copied", shards[::-1], copy=True)
    assert (result.num_pairs, len(result.failures)) == (6, 1)
    assert tree(tmp_path / "linked") == tree(tmp_path / "copied") == tree(tmp_path / "whole")
    assert [tree(shard) for shard in shards] == before
    (bone,) = shards[0].glob("*/bone/s1/a.flac")
    assert bone.samefile(next(tmp_path.glob("linked/*/bone/s1/a.flac")))
    assert not bone.samefile(next(tmp_path.glob("copied/*/bone/s1/a.flac")))


def test_a_merge_that_was_killed_is_finished_by_the_same_command(tmp_path, shards, tree):
    merge(tmp_path / "whole", shards)
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    next((tmp_path / "killed").glob("*/air/s2/*.flac")).unlink()
    (tmp_path / "killed/.bcsim.tmp").mkdir()
    shutil.move(tmp_path / "killed/dataset.json", tmp_path / "killed/.bcsim.tmp/run.json")
    merge(tmp_path / "killed", shards)
    assert tree(tmp_path / "killed") == tree(tmp_path / "whole")


def test_more_shards_than_clips_are_as_good(air, tmp_path, sensor_file, tree):
    make(air, tmp_path / "whole", sensor_file)
    shards = [make(air, tmp_path / f"part{n}", sensor_file, Shard(n, 8)) for n in range(1, 9)]
    merge(tmp_path / "merged", shards)
    assert tree(tmp_path / "merged") == tree(tmp_path / "whole")


def test_shards_share_the_work_out_evenly(air, sensor_file, tmp_path):
    plan = plan_synthesis(air, tmp_path / "out", sensor_file)
    parts = [dataclasses.replace(plan, shard=Shard(n, 4)).todo for n in (1, 2, 3, 4)]
    assert [len(part) for part in parts] == [2, 2, 1, 1]
    assert sorted(clip.id for part in parts for clip in part) == [clip.id for clip in plan.clips]


def test_missing_shards_are_named(tmp_path, shards):
    with pytest.raises(UsageError, match="shards are missing: 1/3, 3/3"):
        merge(tmp_path / "merged", [shards[1]])
    assert not (tmp_path / "merged").exists()


def test_a_shard_that_is_there_twice_is_refused(tmp_path, shards):
    shutil.copytree(shards[0], tmp_path / "again")
    with pytest.raises(UsageError, match="is shard 1/3, and so is"):
        merge(tmp_path / "merged", [*shards, tmp_path / "again"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed 0, now 1"),
        ({"mean": True}, "mean False, now True"),
        ({"air_files": "encode"}, "air 'copy', now 'encode'"),
        ({"shard": Shard(2, 4)}, "shard '1/3', now '2/4'"),
    ],
)
def test_shards_of_other_settings_are_refused(air, tmp_path, sensor_file, shards, change, message):
    other = make(air, tmp_path / "other", sensor_file, **{"shard": Shard(2, 3), **change})
    with pytest.raises(UsageError, match=f"of another dataset than .*: {message}"):
        merge(tmp_path / "merged", [shards[0], other, shards[2]])


def test_a_shard_that_is_not_finished_is_refused(air, tmp_path, sensor_file, shards):
    (shards[1] / ".bcsim.tmp").mkdir()
    with pytest.raises(UsageError, match="is not finished"):
        merge(tmp_path / "merged", shards)
    make(air, tmp_path / "whole", sensor_file)
    with pytest.raises(UsageError, match="is no finished shard"):
        merge(tmp_path / "merged", [shards[0], tmp_path / "whole", shards[2]])


def test_an_id_in_two_shards_is_refused(tmp_path, shards):
    (first,) = shards[0].glob("*/metadata.jsonl")
    (second,) = shards[1].glob("*/metadata.jsonl")
    line = first.read_text().splitlines()[0]
    rows = sorted([*second.read_text().splitlines(), line], key=lambda row: json.loads(row)["id"])
    second.write_text("".join(f"{row}\n" for row in rows))
    sums = [(shard / "SHA256SUMS").read_text().splitlines() for shard in shards[:2]]
    split, row_id = second.parent.name, json.loads(line)["id"]
    both = sums[1] + [sum_ for sum_ in sums[0] if f"/{row_id}." in sum_]
    names = [
        f"{split}/{json.loads(row)[f'{s}_file_name']}" for row in rows for s in ("bone", "air")
    ]
    both.sort(key=lambda sum_: [*names, sum_[66:]].index(sum_[66:]))
    (shards[1] / "SHA256SUMS").write_text("".join(f"{sum_}\n" for sum_ in both))
    with pytest.raises(UsageError, match=r"is in .*shard1 and in .*shard2"):
        merge(tmp_path / "merged", shards)
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("text", ["3", "0/3", "4/3", f"1/{9:0<5000}", "a/b", "1/3/5", "-1/3", ""])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(UsageError, match="is no shard"):
        Shard.parse(text)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.jsonl", b'{"id": "\xff"}\n'),
        ("metadata.jsonl", b"[" * 200_000),
        ("failures.jsonl", b"junk\n"),
        ("failures.jsonl", b"\xff\n"),
        ("failures.jsonl", b'{"run": "synthesize"}\n'),
        ("failures.jsonl", b'{"run": "synthesize", "source": [1], "error": "x"}\n'),
        ("failures.jsonl", b"{" * (2 << 20)),
        ("metadata.jsonl", b"{" * (2 << 20)),
    ],
)
def test_a_damaged_line_of_a_shard_is_named(tmp_path, shards, name, content):
    split = next(shards[0].glob("*/metadata.jsonl")).parent
    damaged = (split if name == "metadata.jsonl" else shards[0]) / name
    damaged.write_bytes(content)
    with pytest.raises(InputError, match=f"{damaged} line 1: ") as error:
        merge(tmp_path / "merged", shards)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "merged").exists()


def test_no_manifest_stays_open_and_each_folder_is_flushed_once(tmp_path, shards, monkeypatch):
    monkeypatch.setattr(manifest_files, "_BLOCK_BYTES", 1)  # a block a line
    manifests, left_open, flushed = [], [], []
    open_regular, read_row, sync = manifest_files.open_regular, PairRow.from_json, atomic.sync

    def watched_open(path, what):
        file = open_regular(path, what)
        if path.name == "metadata.jsonl":
            manifests.append((path, file))
        return file

    def watched_row(line, where):
        left_open.extend(path for path, file in manifests if not file.closed)
        return read_row(line, where)

    def watched_sync(path):
        flushed.append(path)
        sync(path)

    monkeypatch.setattr(manifest_files, "open_regular", watched_open)
    monkeypatch.setattr(PairRow, "from_json", watched_row)
    monkeypatch.setattr(atomic, "sync", watched_sync)
    assert merge(tmp_path / "merged", shards).num_pairs == 6
    assert len({path for path, _ in manifests}) >= len(shards)  # all of them were watched
    assert left_open == []
    for manifest in (tmp_path / "merged").glob("*/metadata.jsonl"):
        folders = [path for path in manifest.parent.rglob("*") if path.is_dir()]
        assert [flushed.count(folder) for folder in folders] == [1] * len(folders)
        last = max(flushed.index(folder) for folder in folders)
        assert manifest.parent in flushed[last:]  # where the manifest took its name


def change(folder, **settings):
    """Change what a shard says of itself; None takes a key away."""
    account = {**json.loads((folder / "dataset.json").read_text()), **settings}
    account = {key: value for key, value in account.items() if value is not None}
    (folder / "dataset.json").write_text(json.dumps(account))


@pytest.fixture
def one(tmp_path, rendered):
    """A shard that is the whole corpus."""
    return shutil.copytree(rendered / "one", tmp_path / "one")


def test_a_stranger_cannot_make_us_count_to_a_large_number(tmp_path, one):
    change(one, shard="1/99999999999")
    with pytest.raises(UsageError, match=r"missing: 2/99999999999, .* and 99999999993 more; give"):
        merge(tmp_path / "merged", [one])


def test_an_account_that_lacks_something_is_no_shard(tmp_path, one):
    for settings in (
        {"sensor": None},
        {"mean": "no"},
        {"recipe": {}},
        {"schema": True},
        {"seed": "0"},
        {"shard": ["1/1"]},
        {"shard": f"1/{'9' * 5000}"},
    ):
        shard = tmp_path / "changed"
        shutil.copytree(one, shard)
        change(shard, **settings)
        with pytest.raises(UsageError, match="changed: is no finished shard"):
            merge(tmp_path / "merged", [shard])
        shutil.rmtree(shard)
    (one / "dataset.json").unlink()
    os.mkfifo(one / "dataset.json")
    with pytest.raises(UsageError, match="is no finished shard"):
        merge(tmp_path / "merged", [one])
    assert not (tmp_path / "merged").exists()


def test_a_file_that_is_not_what_was_written_is_not_merged(tmp_path, one):
    (tmp_path / "secret").write_text("secret")

    def flip(path):
        path.write_bytes(path.read_bytes()[:-1] + b"?")

    def link(path):
        path.unlink()
        path.symlink_to(tmp_path / "secret")

    def grow(path):
        os.truncate(path, 6 << 30)

    names = [next(one.glob("*/bone/s1/*.flac")), next(one.glob("*/metadata.jsonl"))]
    names = ["profile.sensor", "recipe.resolved.yaml", *(f.relative_to(one) for f in names)]
    for name, damage in [
        *itertools.product(names[:3], (Path.unlink, flip, link)),
        *itertools.product(names[:2], (grow,)),
        (names[3], lambda path: path.write_text(path.read_text().replace('"s1"', '"s7"'))),
    ]:
        shard = tmp_path / "changed"
        shutil.copytree(one, shard)
        damage(shard / name)
        reason = "no such|is missing|is not what was|leads out of|larger than"
        with pytest.raises(InputError, match=f"{Path(name).name}.*({reason})"):
            merge(tmp_path / "merged", [shard], copy=True)
        assert not (tmp_path / "merged").exists()
        shutil.rmtree(shard)


@pytest.mark.parametrize("copy", [False, True])
def test_every_file_is_hashed_once_and_again_if_it_was_changed(tmp_path, one, monkeypatch, copy):
    """Each was hashed when it was checked, and when it was taken: of terabytes, hours twice."""
    digest, finish, hashed = hashing.hashlib.file_digest, merging.finish_dataset, []

    def counted(file, name):
        hashed.append(os.fstat(file.fileno()).st_size)
        return digest(file, name)

    monkeypatch.setattr(hashing, "_OLD_NS", -(10**18))  # the shard was made just now
    monkeypatch.setattr(hashing.hashlib, "file_digest", counted)
    sizes = [path.stat().st_size for path in one.glob("*/*/*/*.flac")]
    assert merge(tmp_path / "merged", [one], copy).num_pairs == 6
    assert Counter(sizes) == Counter(hashed) & Counter(sizes)

    def later(*arguments):
        path = next(one.glob("*/bone/s1/*.flac"))
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content[:-1] + b"?")
        return finish(*arguments)

    monkeypatch.setattr(merging, "finish_dataset", later)
    with pytest.raises(InputError, match="was changed while it was read"):
        merge(tmp_path / "again", [one], copy)


def test_lists_of_a_dataset_are_neither_waited_for_nor_kept_in_memory(one):
    manifest = next(one.glob("*/metadata.jsonl"))
    os.truncate(manifest, 64 << 20)
    tracemalloc.start()
    problems = verify(one).problems
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert any("metadata.jsonl line 7: longer than" in problem for problem in problems)
    assert peak < 32 << 20
    os.truncate(one / "SHA256SUMS", 8 << 30)
    (problem,) = (problem for problem in verify(one).problems if "SHA256SUMS" in problem)
    assert "longer than" in problem
    (one / "dataset.json").unlink()
    os.mkfifo(one / "dataset.json")
    assert f"{one / 'dataset.json'}: damaged" in verify(one).problems
    with pytest.raises(InputError, match=r"dataset.json: not a regular file"):
        read_dataset_metadata(one / "dataset.json")
