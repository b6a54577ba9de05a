"""One reader of manifests: what everybody's has to hold, and what bcsim's own holds besides."""

import json

import pytest

from bcsim.datasets.dataset import Dataset, read_rows
from bcsim.errors import InputError


def write(folder, rows):
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metadata.jsonl").write_text(text)


def test_air_and_bone_are_all_that_a_manifest_needs(tmp_path):
    write(
        tmp_path,
        [
            {"air_file_name": "a.wav", "bone_file_name": "b.wav"},
            {"id": "x", "air_file_name": "a.wav", "bone_file_name": "c.wav", "speaker": "anna",
             "noisy_air_file_name": "n.wav", "weather": "fine"},
        ],
    )  # fmt: skip
    dataset = Dataset.open(tmp_path)
    assert list(dataset.manifests) == ["all"]
    first, second = dataset.pairs("all")
    assert (first.id, first.speaker, set(first.files)) == ("b.wav", None, {"air", "bone"})
    assert (second.id, second.speaker) == ("x", "anna")
    assert second.files["noisy_air"] == tmp_path / "n.wav"
    assert second.content["weather"] == "fine"
    with pytest.raises(InputError, match=r"metadata\.jsonl line 1: "):
        list(read_rows(tmp_path / "metadata.jsonl"))  # which bcsim did not write


def test_each_split_has_a_manifest_of_its_own(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / split, [{"air_file_name": "a.wav", "bone_file_name": "b.wav"}])
    dataset = Dataset.open(tmp_path)
    assert list(dataset.manifests) == ["train", "test"]
    assert [dataset.count(split) for split in dataset.manifests] == [1, 1]


def test_a_folder_without_a_manifest_and_one_in_the_making_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no metadata\.jsonl"):
        Dataset.open(tmp_path)
    write(tmp_path, [{"air_file_name": "a.wav", "bone_file_name": "b.wav"}])
    (tmp_path / ".bcsim.tmp").mkdir()
    with pytest.raises(InputError, match="is not finished"):
        Dataset.open(tmp_path)


def test_rows_are_read_as_they_are_asked_for(tmp_path):
    """A manifest may have a million lines, and a damaged one behind them is met last."""
    rows = [
        {"id": str(k), "air_file_name": f"a{k}.wav", "bone_file_name": f"b{k}.wav"}
        for k in range(5000)
    ]
    write(tmp_path, rows)
    with (tmp_path / "metadata.jsonl").open("a") as file:
        file.write("torn")
    pairs = Dataset.open(tmp_path).pairs("all")
    assert [next(pairs).id for _ in rows] == [row["id"] for row in rows]
    with pytest.raises(InputError, match=r"line 5001: wants JSON"):
        next(pairs)
