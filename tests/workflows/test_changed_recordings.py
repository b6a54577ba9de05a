"""Recordings that are replaced or written to while a command reads them."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from bcsim.audio import read
from bcsim.audio.read import AudioFile
from bcsim.audio.write import to_pcm16
from bcsim.datasets.dataset import read_manifest
from bcsim.effects.base import Scene
from bcsim.errors import InputError
from bcsim.files.atomic import copy_file, link_file
from bcsim.files.hashing import hash_file
from bcsim.synthesis import long_files
from bcsim.workers.pool import Workers
from bcsim.workflows.presets import resolve_simulator
from bcsim.workflows.synthesize import plan_synthesis, synthesize

SETTINGS = ("splits.validation=0", "splits.test=0")


@pytest.fixture(params=["flac"])
def folder(request, tmp_path, speech) -> Path:
    (tmp_path / "air").mkdir()
    for name, samples in (("air/a", speech[0]), ("other", speech[0].flip(0))):
        soundfile.write(tmp_path / f"{name}.{request.param}", samples.numpy()[:8000], 16_000)
    return tmp_path


def change_when_hashed(monkeypatch, folder: Path, how: str) -> None:
    """Let the recording become another one as soon as its hash was asked for."""
    original = AudioFile.sha256

    def sha256(audio: AudioFile) -> str:
        digest = original(audio)
        (path,) = (folder / "air").iterdir()
        for other in folder.glob("other.*"):
            if how == "renamed":
                other.replace(path)
            else:
                path.write_bytes(other.read_bytes())
                other.unlink()
        return digest

    monkeypatch.setattr(AudioFile, "sha256", sha256)


def synthesized(folder: Path, sensor_file: str, **options):
    plan = plan_synthesis(folder / "air", folder / "out", sensor_file, settings=SETTINGS, **options)
    return synthesize(plan, Workers())


@pytest.mark.parametrize("how", ["renamed", "written into"])
@pytest.mark.parametrize("air_files", ["copy", "link", "encode"])
def test_air_and_bone_are_of_one_recording_that_is_replaced_meanwhile(
    folder, sensor_file, monkeypatch, how, air_files
):
    """The file was opened four times: 34 of 80 pairs had the air of one and the bone of another."""
    before = (folder / "air/a.flac").read_bytes()
    expected, _ = soundfile.read(folder / "air/a.flac", dtype="int16")
    change_when_hashed(monkeypatch, folder, how)
    result = synthesized(folder, sensor_file, air_files=air_files)
    assert (folder / "air/a.flac").read_bytes() != before
    assert result.num_pairs == 1
    (row,) = read_manifest(folder / "out/train/metadata.jsonl")
    air, _ = soundfile.read(folder / "out/train" / row.air_file_name, dtype="int16")
    assert np.array_equal(air, expected)
    scene = Scene.from_air(torch.from_numpy(air / 2.0**15)[None], 16_000)
    bone = resolve_simulator(sensor_file, settings=SETTINGS).simulator.apply(scene, [row.drawn])
    stored, _ = soundfile.read(folder / "out/train" / row.bone_file_name, dtype="int16")
    assert np.array_equal(stored, to_pcm16(bone.bone[0].numpy()))


@pytest.mark.parametrize("folder", ["wav"], indirect=True)
@pytest.mark.parametrize("is_long", [False, True])
def test_a_large_file_that_is_written_into_meanwhile_is_named(
    folder, sensor_file, monkeypatch, is_long
):
    monkeypatch.setattr(read, "MOST_HELD", 0)
    if is_long:
        monkeypatch.setattr(long_files, "LONGEST_WHOLE", 1000)
    change_when_hashed(monkeypatch, folder, "written into")
    with pytest.raises(InputError, match=r"none of 1 recordings .* was changed while it was read"):
        synthesized(folder, sensor_file)
    assert not list((folder / "out").rglob("*.flac"))
    assert synthesized(folder, sensor_file).num_pairs == 1  # what lies there now is rendered


def test_a_long_file_that_is_renamed_between_its_passes_is_named(folder, sensor_file, monkeypatch):
    """The level of one recording and the samples of another made one pair."""
    monkeypatch.setattr(long_files, "LONGEST_WHOLE", 1000)
    change_when_hashed(monkeypatch, folder, "renamed")
    with pytest.raises(InputError, match=r"none of 1 recordings .* was changed while it was read"):
        synthesized(folder, sensor_file)


@pytest.mark.parametrize("bring", [copy_file, link_file])
def test_a_file_of_another_content_than_was_checked_is_not_taken(tmp_path, bring):
    """`merge` compared the files of shards with their sums, and took them a while later."""
    (tmp_path / "a").write_text("one")
    digest = hash_file(tmp_path / "a")
    bring(tmp_path / "a", tmp_path / "b", sha256=digest)
    (tmp_path / "a").unlink()
    (tmp_path / "a").write_text("two")
    with pytest.raises(InputError, match="a: was changed while it was read"):
        bring(tmp_path / "a", tmp_path / "c", sha256=digest)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    assert (tmp_path / "b").read_text() == "one"
