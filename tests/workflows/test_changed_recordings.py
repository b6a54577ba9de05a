"""Recordings that are replaced or written to while a command reads them."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from bcsim.audio import unchanging
from bcsim.audio.read import AudioFile
from bcsim.audio.write import to_pcm16
from bcsim.datasets.dataset import read_manifest
from bcsim.datasets.exporters import export
from bcsim.datasets.importers import import_pairs
from bcsim.datasets.pairs import StoredPairs, open_pairs
from bcsim.datasets.rendered_pairs import RenderedPairs
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
    monkeypatch.setattr(unchanging, "MOST_HELD", 0)
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


def swap_when_read(monkeypatch, pairs: Path) -> None:
    """Let both files of a pair become others as soon as the first of them was decoded."""
    original = AudioFile.blocks, AudioFile.read

    def swap() -> None:
        for other in pairs.glob("*/*.other"):
            other.replace(other.with_suffix(".wav"))

    def blocks(audio: AudioFile, *args, **kwargs):
        yield from original[0](audio, *args, **kwargs)
        swap()

    def read_all(audio: AudioFile, *args, **kwargs):
        samples = original[1](audio, *args, **kwargs)
        swap()
        return samples

    monkeypatch.setattr(AudioFile, "blocks", blocks)
    monkeypatch.setattr(AudioFile, "read", read_all)


@pytest.fixture
def pairs(tmp_path) -> Path:
    """Return a folder with a pair, and another content of both files."""
    for role, seed in (("air", 1), ("bone", 2)):
        (tmp_path / "rec" / role).mkdir(parents=True)
        for number, suffix in enumerate(("wav", "other")):
            samples = 0.1 * np.random.default_rng([seed, number]).standard_normal(8000)
            path = tmp_path / "rec" / role / f"a.{suffix}"
            soundfile.write(path, samples, 16_000, format="WAV")
    return tmp_path / "rec"


def test_the_sides_of_a_pair_are_read_as_they_were_at_one_moment(pairs, monkeypatch):
    """Air was of before and bone of after, for fit-response, doctor, evaluate and train."""
    swap_when_read(monkeypatch, pairs)
    paths = {role: pairs / role / "a.wav" for role in ("air", "bone")}
    with pytest.raises(InputError, match=r"a\.wav: was changed while it was read"):
        unchanging.read_pair(paths, 16_000, {})
    assert len(unchanging.read_pair(paths, 16_000, {})["bone"].samples) == 8000


def test_the_sides_of_a_pair_are_imported_as_they_were_at_one_moment(pairs, tmp_path, monkeypatch):
    (pairs / "metadata.csv").write_text("air_file_name,bone_file_name\nair/a.wav,bone/a.wav\n")
    swap_when_read(monkeypatch, pairs)
    with pytest.raises(InputError, match=r"none of 1 pairs .* was changed while it was read"):
        import_pairs(pairs, tmp_path / "out", "audiofolder")
    assert sum(import_pairs(pairs, tmp_path / "out", "audiofolder").num_pairs.values()) == 1


@pytest.mark.parametrize("format", ["webdataset", "audiofolder"])
def test_the_sides_of_a_pair_are_converted_as_they_were_at_one_moment(
    format, pairs, tmp_path, monkeypatch
):
    (pairs / "metadata.csv").write_text("air_file_name,bone_file_name\nair/a.wav,bone/a.wav\n")
    import_pairs(pairs, tmp_path / "set", "audiofolder")
    (path,) = {*(tmp_path / "set/bone").rglob("*.wav")}
    other = path.read_bytes() + b"\0\0"
    module = importlib.import_module(f"bcsim.datasets.exporters.{format}")
    name = "link_file" if format == "audiofolder" else "state_of"
    original, seen = getattr(module, name), []

    def change(*args):
        result = original(*args)
        seen.append(args)
        if len(seen) == 2:
            path.with_suffix(".new").write_bytes(other)
            path.with_suffix(".new").replace(path)
        return result

    monkeypatch.setattr(module, name, change)
    with pytest.raises(InputError, match="was changed while it was read"):
        export(tmp_path / "set", format, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_cropped_is_of_the_recordings_as_they_were_when_the_run_began(
    folder, pairs, sensor_file, tmp_path
):
    """A run of days trained on whatever came to lie there, with exit code 0."""
    simulator = resolve_simulator(sensor_file).simulator
    synthesized(folder, sensor_file)
    stored = StoredPairs(folder / "out", "train", 16_000, 0)
    recorded = open_pairs(pairs, 16_000, 0)
    rendered = RenderedPairs([pairs / "air/a.wav"], pairs, simulator, 0)
    for taken in (stored, recorded, rendered):
        taken.crop(0, 0, 1000)
    for path in (*folder.glob("out/train/bone/*"), pairs / "air/a.wav"):
        path.write_bytes(path.read_bytes() + b"\0\0")
    for taken in (stored, recorded, rendered):
        with pytest.raises(InputError, match="was changed while it was read; run the same command"):
            taken.crop(0, 1, 1000)
