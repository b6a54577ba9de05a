"""What an import makes of recordings and lists that are there twice, or in unusual places."""

import io
import json
import logging
import os
import shutil
import tarfile

import numpy as np
import pytest
import soundfile

from bcsim.datasets.dataset import Dataset
from bcsim.datasets.importers import import_pairs
from bcsim.datasets.verification import verify_files
from bcsim.errors import InputError

RATE = 16_000


def noise(*key):
    return 0.1 * np.random.default_rng(key).standard_normal(800)


def write(path, samples):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE)


def flac(*key):
    content = io.BytesIO()
    soundfile.write(content, noise(*key), RATE, format="FLAC")
    return content.getvalue()


def shard(path, *keys):
    """Write a shard with a pair under each key."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number, key in enumerate(keys):
            for role in (0, 1):
                content = flac(len(path.parts), ord(path.parent.name[0]), number, role)
                member = tarfile.TarInfo(f"{key}.{('air', 'bone')[role]}.flac")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


@pytest.fixture
def source(tmp_path):
    for number, name in enumerate(("a0", "b0", "a1", "b1")):
        write(tmp_path / f"in/w/{name}.wav", noise(number))
    return tmp_path / "in"


def listed(source, rows, name="metadata.csv"):
    (source / name).parent.mkdir(exist_ok=True)
    (source / name).write_text("air,bone,id,split\n" + rows)


@pytest.mark.parametrize("way", ["dots", "link", "copy"])
def test_one_recording_under_two_names_is_no_pair(source, tmp_path, way):
    """`w/a0.wav` and `w/../w/a0.wav` were air and bone of a pair."""
    if way == "link":
        os.link(source / "w/a0.wav", source / "w/c.wav")
    elif way == "copy":
        (source / "w/c.wav").write_bytes((source / "w/a0.wav").read_bytes())
    other = "w/c.wav" if way != "dots" else "w/../w/a0.wav"
    for role, name in (("air", "w/a0.wav"), ("bone", other)):
        (source / role).mkdir()
        (source / role / "wav.scp").write_text(f"u0 {name}\nu1 w/{role[0]}1.wav\n")
    result = import_pairs(source, tmp_path / "out", "kaldi")
    assert (result.num_pairs, [*result.failures]) == ({"": 1}, ["u0"])
    assert "a0.wav is both air and bone" in result.failures["u0"]
    assert not (tmp_path / "out/air/u0.wav").exists()


def test_two_equal_channels_are_no_pair(tmp_path):
    write(tmp_path / "in/a.wav", np.stack([noise(0), noise(0)], 1))
    write(tmp_path / "in/b.wav", np.stack([noise(0), noise(1)], 1))
    result = import_pairs(tmp_path / "in", tmp_path / "out", channels=("air", "bone"))
    assert (result.num_pairs, [*result.failures]) == ({"": 1}, ["a"])


def test_the_same_two_recordings_are_not_in_two_splits(source, tmp_path, caplog):
    """Under two names they were trained and tested on; within a split nothing was said."""
    rows = "w/a0.wav,w/b0.wav,x,train\nw/a1.wav,w/b1.wav,y,test\nw/a0.wav,w/b0.wav,z,test\n"
    rows += "w/a1.wav,w/b1.wav,again,test\n"
    listed(source, rows)
    with caplog.at_level(logging.WARNING):
        result = import_pairs(source, tmp_path / "out")
    assert (result.num_pairs, [*result.failures]) == ({"train": 1, "test": 2}, ["test/z"])
    assert "1 pairs have the same two recordings as another one" in caplog.text
    assert "test/z: these are the recordings of train/x" in result.failures["test/z"]


def test_the_same_recordings_in_two_files_are_not_in_two_splits(source, tmp_path):
    """Copies of a file were two recordings: one trained on, the other tested with."""
    for name in ("a0", "b0"):
        shutil.copy(source / f"w/{name}.wav", source / f"w/{name}-copy.wav")
    rows = "w/a0.wav,w/b0.wav,x,train\nw/a0-copy.wav,w/b0-copy.wav,y,test\n"
    listed(source, rows + "w/a1.wav,w/b1.wav,z,test\n")
    result = import_pairs(source, tmp_path / "out")
    assert (result.num_pairs, [*result.failures]) == ({"train": 1, "test": 1}, ["test/y"])
    assert "test/y: these are the recordings of train/x" in result.failures["test/y"]
    assert sorted(path.name for path in (tmp_path / "out/test").rglob("*.wav")) == ["z.wav"] * 2


def test_ids_that_begin_anew_in_each_split_are_different_pairs(tmp_path):
    """`train` refused the dataset: its pair 000 was in train and in validation."""
    shard(tmp_path / "in/train-0.tar", "000", "001")
    shard(tmp_path / "in/v/dev-0.tar", "000")
    result = import_pairs(tmp_path / "in", tmp_path / "out")
    assert (result.num_pairs, result.failures) == ({"train": 2, "validation": 1}, {})
    dataset = Dataset.open(tmp_path / "out")
    ids = [pair.id for split in dataset.manifests for pair in dataset.pairs(split)]
    assert ids == ["train/000", "train/001", "validation/000"]
    assert [*verify_files(tmp_path / "out")] == []


def test_shards_of_one_name_in_two_folders_keep_all_their_pairs(tmp_path):
    """Those of the second folder were "another pair has this id"."""
    for folder in ("a", "b"):
        shard(tmp_path / f"in/{folder}/0.tar", "k0", "k1")
    result = import_pairs(tmp_path / "in", tmp_path / "out")
    assert (result.num_pairs, result.failures) == ({"": 4}, {})
    ids = [pair.id for pair in Dataset.open(tmp_path / "out").pairs("all")]
    assert sorted(ids) == ["a/0/k0", "a/0/k1", "b/0/k0", "b/0/k1"]


def test_shards_in_a_deep_folder_are_not_passed_over(tmp_path):
    shard(tmp_path / "in/0.tar", "k0")
    shard(tmp_path / "in/x/y/1.tar", "k1")
    result = import_pairs(tmp_path / "in", tmp_path / "out")
    assert (result.num_pairs, result.failures) == ({"": 2}, {})


def test_a_list_in_a_folder_of_any_name_is_read(source, tmp_path, caplog):
    """`test-clean/metadata.csv` and `other/metadata.csv` were passed over without a word."""
    for number, name in enumerate(("train", "test-clean", "other")):
        for role in "ab":
            write(source / name / f"w/{role}.wav", noise(number, ord(role)))
        listed(source, f"w/a.wav,w/b.wav,{name},\n", f"{name}/metadata.csv")
    with caplog.at_level(logging.WARNING):
        result = import_pairs(source, tmp_path / "out")
    assert (result.num_pairs, result.failures) == ({"train": 1, "test": 1, "": 1}, {})
    assert "1 pairs are of no split, beside test, train; nothing trains on them" in caplog.text


def test_a_pair_without_a_side_is_named_as_one(source, tmp_path):
    """A wrong name of the bone column gave "this id cannot be the path of a file"."""
    (source / "metadata.csv").write_text("mic,throat\nw/a0.wav,w/b0.wav\n")
    with pytest.raises(InputError, match="line 2: the source has no bone recording of it"):
        import_pairs(source, tmp_path / "out", names={"air": "mic", "bone": "thorat"})


def test_a_dot_before_a_path_is_no_part_of_a_name(source, tmp_path):
    lines = [{"air": "./w/a0.wav", "bone": "./w/b0.wav"}, {"air": "w//a1.wav", "bone": "w//b1.wav"}]
    (source / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    result = import_pairs(source, tmp_path / "out")
    assert result.failures == {}
    ids = [pair.id for pair in Dataset.open(tmp_path / "out").pairs("all")]
    assert ids == ["w/b0", "w/b1"]
