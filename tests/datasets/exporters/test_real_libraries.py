"""Every format as its own library reads it."""

import io
import json
import shlex
import subprocess
import sys
import tarfile
import warnings
from itertools import pairwise

import numpy as np
import pytest
import soundfile

from bcsim.datasets.exporters import export


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # of the library
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the same ones
def test_webdataset_reads_the_shards(dataset, tmp_path, samples):
    webdataset = pytest.importorskip("webdataset")
    export(dataset, "webdataset", tmp_path / "out", shard_size=3)
    shards = sorted((tmp_path / "out").glob("train-*.tar"))
    assert [path.name for path in shards] == ["train-000000.tar", "train-000001.tar"]
    urls = [str(path) for path in shards]
    read = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    assert [item["json"]["id"] for item in read] == [
        "s1-2/{x} $HOME", "s1/a.b c", "s1/deep/ü", "solo"
    ]  # fmt: skip
    assert len({item["__key__"] for item in read}) == 4
    for item in read:
        assert item["json"]["drawn"] == {"gain_of_train": {"gain_db": 1.5}}
        for role in ("bone", "air", "noisy_air"):
            stored, _ = soundfile.read(io.BytesIO(item[f"{role}.flac"]), dtype="int16")
            assert np.array_equal(stored, samples("train", item["json"]["id"], role))


def test_a_shard_says_nothing_of_who_wrote_it_and_when(dataset, tmp_path):
    export(dataset, "webdataset", tmp_path / "out")
    with tarfile.open(tmp_path / "out/train-000000.tar") as shard:
        members = shard.getmembers()
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {
        (0, 0, 0, "", "", 0o644)
    }


def test_lhotse_loads_sensor_and_air_of_each_cut(dataset, tmp_path, samples):
    lhotse = pytest.importorskip("lhotse")
    export(dataset, "lhotse", tmp_path / "out")
    cuts = lhotse.CutSet.from_file(tmp_path / "out/cuts_train.jsonl.gz")
    lhotse.validate(cuts, read_data=True)
    seen = {}
    for cut in cuts:
        seen[cut.id] = cut.supervisions[0].speaker
        assert cut.sensor == "known"
        for role, audio in (
            ("bone", cut.load_audio()),
            ("air", cut.load_target_recording()),
            ("noisy_air", cut.load_noisy_air_recording()),
        ):
            assert audio.shape[0] == 1
            assert np.array_equal(audio[0] * 32768, samples("train", cut.id, role))
    assert seen == {
        "s1/a.b c": "s1", "s1/deep/ü": "s1", "s1-2/{x} $HOME": "s1-2", "solo": "solo"
    }  # fmt: skip


@pytest.fixture
def forgotten_afterwards():
    """Takes speechbrain out of memory: its lazy modules fail whoever looks at all modules."""
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "speechbrain"]:
        del sys.modules[name]


@pytest.mark.usefixtures("forgotten_afterwards")
@pytest.mark.filterwarnings("ignore")  # of the library and what it is built on
def test_speechbrain_gives_items_of_both_files(dataset, tmp_path, samples):
    pytest.importorskip("speechbrain")
    from speechbrain.dataio.dataset import DynamicItemDataset

    export(dataset, "speechbrain", tmp_path / "out")
    items = DynamicItemDataset.from_json(
        str(tmp_path / "out/train.json"),
        replacements={"data_root": str(dataset)},
        output_keys=["id", "bone_wav", "air_wav", "noisy_air_wav", "duration", "spk_id"],
    )
    speakers = {}
    for number in range(len(items)):
        item = items[number]
        speakers[item["id"]] = item["spk_id"]
        for role in ("bone", "air", "noisy_air"):
            stored, rate = soundfile.read(item[f"{role}_wav"], dtype="int16")
            assert np.array_equal(stored, samples("train", item["id"], role))
            assert item["duration"] == len(stored) / rate
    assert speakers == {
        "s1/a.b c": "s1", "s1/deep/ü": "s1", "s1-2/{x} $HOME": "s1-2", "solo": "solo"
    }  # fmt: skip


def test_audiofolder_has_the_columns_bone_and_air(dataset, tmp_path, samples, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    export(dataset, "audiofolder", tmp_path / "out")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library
        loaded = datasets.load_dataset(
            "audiofolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache")
        )
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 4, "test": 1}
    for split, rows in loaded.items():
        for role in ("bone", "air", "noisy_air"):
            rows = rows.cast_column(role, datasets.Audio(decode=False))
        for row in rows:
            assert json.loads(row["drawn"]) == {f"gain_of_{split}": {"gain_db": 1.5}}
            for role in ("bone", "air", "noisy_air"):
                stored, _ = soundfile.read(row[role]["path"], dtype="int16")
                assert np.array_equal(stored, samples(split, row["id"], role))


def test_lhotse_reads_the_kaldi_folders(write, tmp_path, samples):
    """WAV: Kaldi reads it, and lhotse without Kaldi's own library."""
    kaldi = pytest.importorskip("lhotse.kaldi")
    export(write(tmp_path / "wav", suffix=".wav", roles=("bone", "air")), "kaldi", tmp_path / "out")
    ids = {"s1-a.b=20c": "s1/a.b c", "s1-deep=2F=C3=BC": "s1/deep/ü", "solo": "solo"}
    ids["s1=2D2-=7Bx=7D=20=24HOME"] = "s1-2/{x} $HOME"
    assert not list((tmp_path / "out").glob("*noisy*"))
    for role in ("bone", "air"):
        recordings, _, _ = kaldi.load_kaldi_data_dir(tmp_path / f"out/train_{role}", 16_000)
        assert {recording.id for recording in recordings} == set(ids)
        for recording in recordings:
            wanted = samples("train", ids[recording.id], role)
            assert recording.num_samples == len(wanted)
            assert np.array_equal(recording.load_audio()[0] * 32768, wanted)


def test_kaldi_folders_are_sorted_as_kaldi_demands(dataset, tmp_path):
    """By utterance and by speaker at once, which is what its validate_data_dir.sh checks."""
    export(dataset, "kaldi", tmp_path / "out")
    for folder in (tmp_path / "out").glob("*_*"):
        tables = {
            name: [line.split() for line in (folder / name).read_text().splitlines()]
            for name in ("wav.scp", "utt2spk", "spk2utt", "utt2dur", "reco2dur")
        }
        for name, table in tables.items():
            assert all(a[0].encode() < b[0].encode() for a, b in pairwise(table)), name
        assert all(utterance.startswith(speaker) for utterance, speaker in tables["utt2spk"])
        speakers = [speaker.encode() for _, speaker in tables["utt2spk"]]
        assert speakers == sorted(speakers)
        assert [[u, who] for who, *members in tables["spk2utt"] for u in members] == (
            tables["utt2spk"]
        )


def test_the_pipe_of_a_flac_file_gives_a_shell_the_file_and_nothing_else(write, tmp_path):
    """What the shell would run, with `flac` replaced by a program that prints its arguments."""
    name = "s1/$(touch owned); `touch owned` 'q' \"d\""
    folder = write(tmp_path / "odd", {"train": [(name, "s1")]})
    export(folder, "kaldi", tmp_path / "out")
    line = (tmp_path / "out/train_bone/wav.scp").read_text().rstrip("\n")
    _, _, value = line.partition(" ")
    assert value.startswith("flac -c -d -s ")
    assert value.endswith(" |")
    program = tmp_path / "flac"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    command = value.removesuffix("|").replace("flac", shlex.quote(str(program)), 1)
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    path = folder.resolve() / f"train/bone/{name}.flac"
    assert done.stdout == f"-c\n-d\n-s\n{path}\n"
    assert not (tmp_path / "owned").exists()
