"""Manifests: strict about what they read, stable in what they write."""

import dataclasses
import json

import pytest

from bcsim.data.manifest import PairRow, read_manifest, write_manifest
from bcsim.errors import InputError


@pytest.fixture
def row():
    return PairRow(
        id="s/a", bone_file_name="bone/s/a.flac", air_file_name="air/s/a.flac", speaker="s",
        duration_s=1.5, sample_rate=16_000, sensor="known", source="s/a.wav", source_sha256="0",
        seed=0, drawn={"gain": {"gain_db": 0.1 + 0.2}},
    )  # fmt: skip


def test_rows_come_back_as_they_were_sorted_by_id(tmp_path, row):
    other = dataclasses.replace(row, id="é/ü", source="é/ü.wav")
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
    ],
)
def test_a_wrong_row_is_refused_with_file_and_line(tmp_path, row, change, message):
    good = row.to_json()
    bad = json.dumps({**json.loads(good), "id": "x", **change})
    (tmp_path / "m.jsonl").write_text(f"{good}\n{bad}\n")
    with pytest.raises(InputError, match=rf"m\.jsonl line 2: .*{message}"):
        read_manifest(tmp_path / "m.jsonl")


@pytest.mark.parametrize("text", ["not json\n", "[1]\n", "{}\n", '{"id": NaN}\n'])
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
