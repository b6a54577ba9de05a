"""Lists as the libraries of other toolkits write them."""

import io
import warnings

import numpy as np
import pytest
import soundfile

from bcsim.datasets.dataset import read_manifest
from bcsim.datasets.importers import import_pairs
from bcsim.rng import stream

RATE = 16_000
SIDES = ("air", "bone")


def noise(*names: str, num_samples: int = RATE) -> np.ndarray:
    return stream(0, *names).integers(-9000, 9000, num_samples).astype(np.int16)


def test_cuts_that_lhotse_padded_resampled_or_mixed(tmp_path):
    lhotse = pytest.importorskip("lhotse")
    recordings = {}
    for role in SIDES:
        soundfile.write(tmp_path / f"{role}.wav", noise(role), RATE)
        recordings[role] = lhotse.Recording.from_file(tmp_path / f"{role}.wav")
    plain = recordings["bone"].to_cut().with_id("plain")
    plain.target_recording = recordings["air"]
    halved = recordings["bone"].resample(RATE // 2).to_cut().with_id("halved")
    halved.target_recording = recordings["air"].resample(RATE // 2)
    cuts = [
        plain,
        plain.truncate(offset=0.25, duration=0.5).with_id("part"),
        plain.pad(duration=3.0).with_id("padded"),
        plain.pad(duration=3.0, direction="left").with_id("left"),
        halved,
        plain.append(plain.with_id("again")).with_id("appended"),
        plain.perturb_speed(0.9).with_id("slow"),
        plain.perturb_volume(0.5).with_id("soft"),
    ]
    lhotse.CutSet.from_cuts(cuts).to_file(tmp_path / "cuts_train.jsonl.gz")
    result = import_pairs(tmp_path / "cuts_train.jsonl.gz", tmp_path / "out")
    assert result.failures.keys() == {"appended", "slow", "soft"}
    assert all("save it" in reason for reason in result.failures.values())
    wanted = dict.fromkeys(("plain", "padded", "left"), slice(None)) | {"part": slice(4000, 12_000)}
    rows = {row.id: row for row in read_manifest(tmp_path / "out/metadata.jsonl")}
    assert rows.keys() == {*wanted, "halved"}
    for name, part in wanted.items():
        for role, path in rows[name].file_names.items():
            stored, _ = soundfile.read(tmp_path / "out" / path, dtype="int16")
            assert np.array_equal(stored, noise(role)[part]), (name, role)
    assert (rows["halved"].sample_rate, rows["halved"].duration_s) == (RATE // 2, 1.0)


def test_what_datasets_saved_to_disk_or_wrote_as_parquet(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")

    def cell(role: str, number: int) -> dict:
        content = io.BytesIO()
        soundfile.write(content, noise(role, str(number)), RATE, format="FLAC")
        return {"bytes": content.getvalue(), "path": f"{number}.flac"}

    sides = {role: [cell(role, number) for number in range(4)] for role in ("mic", "throat")}
    table = {**sides, "speaker_id": [0, 0, 1, 1]}
    audio = {name: datasets.Audio(decode=False) for name in ("mic", "throat")}
    features = datasets.Features({**audio, "speaker_id": datasets.Value("int64")})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library
        whole = datasets.Dataset.from_dict(table, features=features)
        chosen = {"train": whole.select([0, 2]), "test": whole.select([3, 1])}
        saved = datasets.DatasetDict(chosen)
        saved.save_to_disk(tmp_path / "saved")
        whole.to_parquet(tmp_path / "written.parquet")
    names = {"air": "mic", "bone": "throat"}
    result = import_pairs(tmp_path / "saved", tmp_path / "out", names=names)
    assert (result.num_pairs, result.speakers) == ({"train": 2, "test": 2}, {"0", "1"})
    import_pairs(tmp_path / "written.parquet", tmp_path / "out2", names=names)
    for folder, numbers in (("out/train", [0, 2]), ("out/test", [3, 1]), ("out2", range(4))):
        rows = sorted(read_manifest(tmp_path / folder / "metadata.jsonl"), key=lambda r: r.id[-6:])
        assert len(rows) == len(numbers)
        for row, number in zip(rows, numbers, strict=True):
            for name, path in ((names[role], path) for role, path in row.file_names.items()):
                stored, _ = soundfile.read(tmp_path / folder / path, dtype="int16")
                assert np.array_equal(stored, noise(name, str(number)))
