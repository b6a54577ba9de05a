"""Folders of noise: read once, known by name, refused before work starts."""

import dataclasses
import pickle

import numpy as np
import pytest

from bcsim.audio.write import write_audio
from bcsim.datasets import noise_folder as noise_module
from bcsim.datasets.noise_folder import ROUNDING, NoiseFolder, fingerprint, without_pauses
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
        samples = 0.1 * (number + 1) * np.sin(np.arange(1000.0 + number))
        write_audio(tmp_path / name, samples, RATE)
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
    monkeypatch.setattr(noise_module, "open_audio", None)
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
    write_audio(folder / "d.wav", np.sin(np.arange(1000.0)), RATE)
    assert fingerprint(Simulator((AmbientNoise(NoiseFolder(folder)),), RATE)) != before


def test_silent_and_unreadable_recordings_are_found_before_anything_is_drawn(folder, caplog):
    write_audio(folder / "d.wav", np.full(4000, 0.25), RATE)  # an offset is no sound
    (folder / "e.wav").write_bytes(b"RIFF")
    noise = NoiseFolder(folder)
    assert noise.names == ("a/z.wav", "b.wav", "c.flac")
    assert {name.rpartition("/")[2] for name in noise.failures} == {"d.wav", "e.wav"}
    assert "2 of 5 recordings of noise are left out" in caplog.text


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_the_dither_of_a_silent_recording_is_no_noise(tmp_path, subtype):
    """24 bits of silence and dither were raised by 120 dB, and rows told the SNR asked for."""
    steps = np.round(stream(0, "dither").uniform(-1, 1, RATE))
    write_audio(tmp_path / "dither.flac", steps * ROUNDING[subtype], RATE, subtype)
    write_audio(tmp_path / "faint.flac", 4 * steps * ROUNDING[subtype], RATE, subtype)
    noise = NoiseFolder(tmp_path)
    assert noise.names == ("faint.flac",)
    assert [*noise.failures] == [str(tmp_path / "dither.flac")]


def test_a_recording_with_little_but_pauses_is_mentioned(tmp_path, caplog):
    """One click in 30 s of zeros became a click thrice a second, without a word."""
    samples = np.zeros(30 * RATE)
    samples[RATE] = 0.9
    write_audio(tmp_path / "click.flac", samples, RATE)
    write_audio(tmp_path / "noise.flac", 0.1 * stream(0, "x").standard_normal(RATE // 2), RATE)
    assert NoiseFolder(tmp_path).names == ("click.flac", "noise.flac")
    assert "1 of 2 recordings of noise hold less than 1 s of sound" in caplog.text
    assert "click.flac" in caplog.text


def test_a_folder_of_silence_is_refused(tmp_path):
    write_audio(tmp_path / "d.wav", np.zeros(4000), RATE)
    simulator = Simulator((AmbientNoise(NoiseFolder(tmp_path)),), RATE)
    with pytest.raises(InputError, match=r"none of 1 recordings of noise .*d\.wav: .*silence"):
        fingerprint(simulator)


@pytest.mark.parametrize("floor", ["zeros", "an offset", "dither", "hiss at -60 dB"])
def test_wherever_a_clip_starts_in_a_recording_there_is_sound(floor):
    generator = stream(0, floor)
    pause = {
        "zeros": np.zeros(10 * RATE),
        "an offset": np.full(10 * RATE, 0.02),
        "dither": np.round(generator.uniform(-1, 1, 10 * RATE)) / 32768,
        "hiss at -60 dB": 1e-4 * generator.standard_normal(10 * RATE),
    }[floor]
    sounds = [0.1 * generator.standard_normal(2 * RATE) for _ in range(2)]
    kept = without_pauses(np.concatenate([pause, sounds[0], pause, sounds[1], pause]), RATE)
    assert 4.0 <= len(kept) / RATE < 4.7
    power = np.square(kept[: len(kept) // RATE * RATE].reshape(-1, RATE)).mean(axis=1)
    assert power.min() > 0.25 * power.max()


def test_short_pauses_and_even_noise_stay_as_they_are():
    generator = stream(0, "noise")
    clicks = np.where(np.arange(10 * RATE) % (RATE // 2) < 800, 0.1, 1e-5)
    for loudness in (np.full(10 * RATE, 0.1), clicks, np.linspace(1e-3, 0.1, 10 * RATE)):
        noise = loudness * generator.standard_normal(10 * RATE)
        assert without_pauses(noise, RATE) is noise
