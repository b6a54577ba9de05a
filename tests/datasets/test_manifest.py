"""Manifests: strict about what they read, stable in what they write."""

import dataclasses
import json
import os
from array import array

import pytest

from bcsim.datasets import dataset as datasets
from bcsim.datasets.card import dataset_card
from bcsim.datasets.dataset import read_manifest
from bcsim.datasets.manifest import PairRow, Tally, write_manifest
from bcsim.errors import InputError
from bcsim.files.strict_yaml import parse_yaml
from bcsim.files.text import plain
from bcsim.synthesis.run_folder import continue_or_begin


@pytest.fixture
def row():
    return PairRow(
        id="s/a", bone_file_name="bone/s/a.flac", air_file_name="air/s/a.flac", speaker="s",
        duration_s=1.5, sample_rate=16_000, sensor="known", source="s/a.wav", source_sha256="0",
        seed=0, drawn={"gain": {"gain_db": 0.1 + 0.2}},
    )  # fmt: skip


def test_rows_come_back_as_they_were_sorted_by_id(tmp_path, row):
    other = dataclasses.replace(
        row, id="é/ü", bone_file_name="bone/é/ü.flac", air_file_name="air/é/ü.flac"
    )
    write_manifest(tmp_path / "m.jsonl", [other, row])
    assert read_manifest(tmp_path / "m.jsonl") == [row, other]


def test_keys_stand_in_the_documented_order(row):
    assert list(json.loads(row.to_json())) == [
        "id", "bone_file_name", "air_file_name", "speaker", "duration_s", "sample_rate", "sensor",
        "source", "source_sha256", "seed", "drawn",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bone_file_name": "../../etc/passwd"}, "leaves the dataset"),
        ({"air_file_name": "/etc/passwd"}, "leaves the dataset"),
        ({"air_file_name": "a\\b.wav"}, "leaves the dataset"),
        ({"air_file_name": "a\0.wav"}, "leaves the dataset"),
        ({"sample_rate": "16000"}, "sample_rate"),
        ({"sample_rate": 16000.5}, "sample_rate"),
        ({"drawn": []}, "drawn"),
        ({"extra": 1}, "extra"),
        ({"seed": None}, "seed"),
        ({"air_file_name": ""}, "leaves the dataset"),
        ({"air_file_name": "."}, "leaves the dataset"),
        ({"air_file_name": "a\x1b[2J.wav"}, "leaves the dataset"),
        ({"air_file_name": "http://example.org/a.wav"}, "is an address"),
        ({"air_file_name": "C:a.wav"}, "names a drive"),
        ({"air_file_name": "air/s/a.flac"}, "is listed twice"),
        ({"air_file_name": "b.flac"}, "is listed twice"),
        ({"duration_s": 0.0}, "duration_s is 0.0, which no recording has"),
        ({"duration_s": -1.0}, "duration_s is -1.0, which no recording has"),
        ({"duration_s": 1e300}, "duration_s is 1e[+]300, which no recording has"),
        ({"duration_s": float("nan")}, "NaN is not a finite number"),
        ({"duration_s": float("inf")}, "Infinity is not a finite number"),
        ({"sample_rate": 0}, "sample_rate is 0, which no recording has"),
        ({"sample_rate": -16_000}, "sample_rate is -16000"),
        ({"sample_rate": 10**9}, "sample_rate is 1000000000"),
        ({"drawn": {"x": "y" * 2**20}}, "longer than 1048576 bytes"),
        ({"k" * 10**5: 1}, "k[.][.][.]k+ "),
        ({"id": "\ud800"}, "surrogates not allowed"),
    ],
)
def test_a_wrong_row_is_refused_with_file_and_line(tmp_path, row, change, message):
    good = row.to_json()
    other = {"id": "x", "bone_file_name": "b.flac", "air_file_name": "a.flac"}
    bad = json.dumps({**json.loads(good), **other, **change})
    (tmp_path / "m.jsonl").write_text(f"{good}\n{bad}\n")
    with pytest.raises(InputError, match=rf"m\.jsonl line 2: .*{message}") as caught:
        read_manifest(tmp_path / "m.jsonl")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200 + 2 * len(str(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        *("not json\n", "[1]\n", "{}\n", '{"id": NaN}\n', '{"id": "a", "id": "b"}\n', "\0\n"),
        *("[" * 100_000, '{"drawn": ' * 1000),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path, text):
    (tmp_path / "m.jsonl").write_text(text)
    with pytest.raises(InputError, match="line 1"):
        read_manifest(tmp_path / "m.jsonl")


def test_an_id_twice_is_refused(tmp_path, row):
    (tmp_path / "m.jsonl").write_text(f"{row.to_json()}\n{row.to_json()}\n")
    with pytest.raises(InputError, match=r"line 2: id 's/a' stands there twice"):
        read_manifest(tmp_path / "m.jsonl")


def test_an_id_cannot_leave_the_dataset(row):
    line = json.dumps({**json.loads(row.to_json()), "id": "../../x"})
    with pytest.raises(InputError, match="leaves the dataset"):
        PairRow.from_json(line, "here")


def test_a_value_twice_is_refused_even_where_the_last_one_would_do(tmp_path, row):
    line = row.to_json().replace('"id": "s/a"', '"id": "../../x", "id": "s/a"')
    with pytest.raises(InputError, match="key 'id' is there twice"):
        PairRow.from_json(line, "here")


def test_files_may_be_links_within_the_dataset_and_nowhere_else(tmp_path, row):
    outside, dataset = tmp_path / "outside", tmp_path / "dataset"
    for folder in (outside, dataset / "train/bone/s", dataset / "train/air/s", dataset / "test"):
        folder.mkdir(parents=True)
    for path in (outside / "secret.flac", dataset / "test/a.flac", dataset / "train/air/s/a.flac"):
        path.touch()
    manifest = dataset / "train/metadata.jsonl"
    write_manifest(manifest, [row])
    bone = dataset / "train/bone/s/a.flac"
    bone.symlink_to("../../../test/a.flac")
    with pytest.raises(InputError, match=r"metadata\.jsonl line 1: .*leads out of .* a link"):
        read_manifest(manifest)  # nothing says that the folder above is a dataset
    (dataset / "dataset.json").write_text("{}")
    assert read_manifest(manifest) == [row]
    for target in ("../../../../outside/secret.flac", str(outside / "secret.flac")):
        bone.unlink()
        bone.symlink_to(target)
        with pytest.raises(InputError, match=r"metadata\.jsonl line 1: .*leads out of .* a link"):
            read_manifest(manifest)


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "metadata.jsonl")
    with pytest.raises(InputError, match=r"metadata\.jsonl: not a regular file; give the folder"):
        read_manifest(tmp_path / "metadata.jsonl")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample_rate": 500_000}, "which no recording has"),
        ({"duration_s": 0.0}, "which no recording has"),
        ({"air_file_name": "a\nb.wav"}, "leaves the dataset"),
        ({"speaker": "x" * (1 << 20)}, "longer than 1048576 bytes"),
        ({"measured": {"a": 1e308 * 10}}, "not JSON compliant"),
    ],
)
def test_a_row_that_could_not_be_read_again_is_told_before_it_is_written(row, change, message):
    assert row.read_back() is row
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(row, **change).read_back()


def test_metadata_that_could_not_be_read_again_begin_no_run(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "_MAX_METADATA_BYTES", 100)
    settings = {"schema": 2, "bcsim": "0", "recipe": {"a": "x" * 100}, "seed": 0}
    with pytest.raises(InputError, match="larger than 100 bytes; make the recipe smaller"):
        continue_or_begin(tmp_path, tmp_path, settings)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("name", ["a\n---\nb", "a\u2028b", "a: b # 'c' \"d\" -", "---", "a\x1b[2J"])
def test_the_front_matter_of_a_card_is_read_back_whatever_the_sensor_is_called(name):
    settings = {"sensor": name, "recipe": {"sample_rate": 16_000}, "mean": False}
    tally = Tally(durations_s=array("d", [1.0]))
    card = dataset_card({**settings, "bcsim": "0", "seed": 0}, {"train": tally})
    _, front, text = card.split("---\n", 2)
    files = [{"split": "train", "path": "train/**"}]
    assert parse_yaml(front) == {"configs": [{"config_name": "default", "data_files": files}]}
    assert text.split("\n")[0] == f"# Simulated pairs: {plain(name)}"
    assert "\x1b" not in text
