"""Folders of noise: read once, known by name, refused before work starts."""

import dataclasses
import pickle

import numpy as np
import pytest

from bcsim.audio.write import write_audio
from bcsim.datasets import noise_folder as noise_module
from bcsim.datasets.noise_folder import NoiseFolder, fingerprint
from bcsim.effects.ambient_noise import AmbientNoise
from bcsim.effects.gain import Gain
from bcsim.errors import InputError, UsageError
from bcsim.recipe import build_effect, resolve_effect
from bcsim.rng import stream
from bcsim.simulator import Simulator

RATE = 16_000


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(("b.wav", "a/z.wav", "c.flac")):
        write_audio(tmp_path / name, np.full(1000 + number, 0.1 * (number + 1)), RATE)
    return tmp_path


def test_recordings_are_named_by_their_paths_in_order(folder):
    assert NoiseFolder(folder).names == ("a/z.wav", "b.wav", "c.flac")


def test_each_recording_is_drawn_as_often(folder):
    noise = NoiseFolder(folder)
    drawn = [noise.draw(stream(0, str(clip))) for clip in range(300)]
    assert {name: 70 < drawn.count(name) < 130 for name in noise.names} == dict.fromkeys(
        noise.names, True
    )


def test_a_recording_is_read_once_and_at_the_rate_asked_for(folder, monkeypatch):
    noise = NoiseFolder(folder)
    assert len(noise.read("b.wav", 8000)) == 500
    first = noise.read("b.wav", RATE)
    assert len(first) == 1000
    assert not first.flags.writeable
    monkeypatch.setattr(noise_module, "read_audio", None)
    assert noise.read("b.wav", RATE) is first


def test_memory_is_bounded(folder, monkeypatch):
    monkeypatch.setattr(noise_module, "MEMORY_BYTES", 20_000)
    noise = NoiseFolder(folder)
    for _ in range(2):
        for name in noise.names:
            noise.read(name, RATE)
    kept = noise_module._KEPT.values()
    assert sum(samples.nbytes for samples in kept) <= 20_000


def test_workers_get_the_names_and_not_the_samples(folder, monkeypatch):
    noise = NoiseFolder(folder)
    samples = noise.read("c.flac", RATE)
    sent = pickle.dumps(noise)
    assert len(sent) < 1000
    monkeypatch.chdir("/")
    again = pickle.loads(sent)
    assert again == noise
    assert np.array_equal(again.read("c.flac", RATE), samples)


def test_a_relative_folder_is_found_from_elsewhere_and_written_as_given(folder, monkeypatch):
    monkeypatch.chdir(folder)
    effect = build_effect({"name": "ambient_noise", "noise": "a"}, "recipe")
    monkeypatch.chdir("/")
    assert isinstance(effect, AmbientNoise)
    assert len(effect.noise.read("z.wav", RATE)) == 1001
    assert resolve_effect(effect)["noise"] == "a"


def test_what_is_missing_is_named_with_a_remedy(folder, tmp_path):
    with pytest.raises(InputError, match=r"gone.wav: no such recording of noise; put it back"):
        NoiseFolder(folder).read("gone.wav", RATE)
    with pytest.raises(InputError, match="nowhere: no such folder"):
        NoiseFolder(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"recipe: ambient_noise.noise: .*nowhere: no such folder"):
        build_effect({"name": "ambient_noise", "noise": str(tmp_path / "nowhere")}, "recipe")
    with pytest.raises(UsageError, match="parameter 'noise' is missing; name a folder of record"):
        build_effect({"name": "ambient_noise"}, "recipe")
    with pytest.raises(UsageError, match="noise"):
        build_effect({"name": "ambient_noise", "noise": 3}, "recipe")


def test_a_fingerprint_changes_with_the_files_alone(folder):
    noise = NoiseFolder(folder)
    simulator = Simulator((Gain(), AmbientNoise(noise)), RATE)
    before = fingerprint(simulator)
    assert before is not None
    louder = dataclasses.replace(AmbientNoise(noise), level="recorded")
    assert fingerprint(Simulator((Gain(), louder), RATE)) == before
    assert fingerprint(Simulator((Gain(),), RATE)) is None
    write_audio(folder / "d.wav", np.zeros(10), RATE)
    assert fingerprint(Simulator((AmbientNoise(NoiseFolder(folder)),), RATE)) != before
