"""The files of a pair: air as it was or encoded again, and the noisy microphone beside it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from bcsim.audio.infos import audio_info
from bcsim.audio.read import read_audio
from bcsim.audio.write import is_as_written, to_pcm16, write_audio
from bcsim.datasets.dataset import read_manifest
from bcsim.effects import EFFECTS
from bcsim.effects.base import Effect
from bcsim.synthesis import long_files
from bcsim.workers.pool import Workers
from bcsim.workflows.synthesize import plan_synthesis, synthesize


def run(air, out, sensor, **options):
    return synthesize(plan_synthesis(air, out, sensor, **options), Workers())


@pytest.mark.parametrize("air_files", ["copy", "link", "encode"])
def test_the_air_side_is_the_same_however_it_gets_there(
    air, tmp_path, sensor_file, air_files, tree
):
    soundfile.write(air / "s1/loud.flac", 0.9 * np.sin(np.arange(8000.0)), 16_000, "PCM_24")
    before = tree(air)
    run(air, tmp_path / "pairs", sensor_file, air_files=air_files)
    assert tree(air) == before
    (manifest,) = (tmp_path / "pairs").glob("*/metadata.jsonl")
    files = {"copy": 0, "link": 0, "encode": 0}
    for row in read_manifest(manifest):
        taken, source = manifest.parent / row.air_file_name, air / row.source
        original, _ = read_audio(source, 16_000)
        assert np.array_equal(soundfile.read(taken, dtype="int16")[0], to_pcm16(original))
        if taken.samefile(source):
            files["link"] += 1
        else:
            files["copy" if taken.read_bytes() == source.read_bytes() else "encode"] += 1
    # Of seven, one is FLAC of one channel and 16 bits. (Encoding it again gives the same bytes.)
    assert files["link"] == (air_files == "link")
    assert files["copy"] == (air_files != "link")


def test_only_a_whole_file_of_the_right_kind_is_copied(tmp_path, speech):
    """What a pipe wrote says that it has 4 GB, and not every reader forgives that."""
    samples = to_pcm16(speech[0].numpy())
    for name in ("a.wav", "a.flac"):
        soundfile.write(tmp_path / name, samples, 16_000)
        suffix = Path(name).suffix
        info = audio_info(tmp_path / name)
        assert info is not None
        assert is_as_written(info, suffix, 16_000, len(samples))
        assert not is_as_written(info, suffix, 8000, len(samples))
        assert not is_as_written(info, {".wav": ".flac", ".flac": ".wav"}[suffix], 16_000, 1)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[4:8] = content[40:44] = b"\xff" * 4
    (tmp_path / "piped.wav").write_bytes(content)
    assert len(read_audio(tmp_path / "piped.wav")[0]) == len(samples)
    info = audio_info(tmp_path / "piped.wav")
    assert info is not None
    assert not is_as_written(info, ".wav", 16_000, len(samples))
    soundfile.write(tmp_path / "extensible.wav", samples, 16_000, format="WAVEX")
    info = audio_info(tmp_path / "extensible.wav")
    assert info is not None
    assert not is_as_written(info, ".wav", 16_000, len(samples))


def test_an_air_side_that_an_effect_changed_is_encoded(tmp_path, speech, sensor_file):
    (tmp_path / "loud").mkdir()
    loud = 1.2 * speech[0] / speech[0].abs().max()
    soundfile.write(tmp_path / "loud/a.flac", to_pcm16(loud.numpy()), 16_000)
    settings = ("effects.peak_limit.peak=0.5",)
    run(tmp_path / "loud", tmp_path / "pairs", sensor_file, settings=settings)
    written, _ = soundfile.read(next((tmp_path / "pairs").glob("*/air/*.flac")))
    assert np.abs(written).max() == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("longest_whole", [long_files.LONGEST_WHOLE, 8000])
def test_a_pair_that_was_turned_down_says_by_how_much_and_is_counted(
    tmp_path, speech, sensor_file, monkeypatch, longest_whole, together
):
    """The factor was nowhere: a pair's level could not be told from its row, and nobody knew."""
    monkeypatch.setattr(long_files, "LONGEST_WHOLE", longest_whole)
    (tmp_path / "air").mkdir()
    signals = {"loud": 0.9 * speech[0] / speech[0].abs().max(), "faint": 0.001 * speech[1]}
    for name, samples in signals.items():
        soundfile.write(tmp_path / f"air/{name}.flac", samples.numpy(), 16_000)
    settings = (
        "effects.sensor_level.mean_db=40", "effects.sensor_level.highest_mean_db=null",
        "effects.sensor_level.deviation=0", "splits.validation=0", "splits.test=0",
        f"effects.peak_limit.together={together}".lower(),
    )  # fmt: skip
    result = run(tmp_path / "air", tmp_path / "pairs", sensor_file, settings=settings)
    rows = {row.id: row for row in read_manifest(tmp_path / "pairs/train/metadata.jsonl")}
    assert rows["faint"].applied_gain_db == {"bone": 0, "air": 0}
    gains_db = rows["loud"].applied_gain_db
    assert gains_db is not None
    assert gains_db["bone"] < -5
    assert gains_db["air"] == (gains_db["bone"] if together else 0)
    written, _ = soundfile.read(tmp_path / "pairs/train" / rows["loud"].air_file_name)
    restored = written * 10 ** (-gains_db["air"] / 20)
    np.testing.assert_allclose(restored, signals["loud"].numpy(), atol=1e-3)
    bone, _ = soundfile.read(tmp_path / "pairs/train" / rows["loud"].bone_file_name)
    assert np.abs(bone).max() == pytest.approx(1, abs=1e-3)
    assert (result.num_turned_down, result.num_air_turned_down) == (1, int(together))
    assert result.lowest_gain_db == gains_db["bone"]


def test_a_sensor_that_was_recorded_hot_leaves_air_alone_and_is_told(
    tmp_path, speech, sensor, caplog
):
    """At 12 dB over air, 39 of 60 pairs exceeded full scale, and their air was turned down."""
    dataclasses.replace(sensor, level_db=12.0).save(tmp_path / "hot.sensor")
    (tmp_path / "air").mkdir()
    soundfile.write(tmp_path / "air/a.flac", (0.5 * speech[0]).numpy(), 16_000)
    run(tmp_path / "air", tmp_path / "pairs", str(tmp_path / "hot.sensor"), mean=True)
    assert "recorded at +12.0 dB re air, and is rendered at +0.0 dB" in caplog.text
    (row,) = (r for p in (tmp_path / "pairs").glob("*/*.jsonl") for r in read_manifest(p))
    assert row.applied_gain_db == {"bone": 0, "air": 0}


NOISY = """
kind: synthesis
splits: {validation: 0, test: 0}
effects:
  - {name: sensor_response}
  - {name: noise_for_tests}
"""


def test_what_the_air_microphone_picks_up_is_written_beside_air(
    air, tmp_path, sensor_file, monkeypatch, tree
):
    @dataclasses.dataclass(frozen=True)
    class NoiseForTests(Effect):
        def apply(self, scene, drawn):
            return scene.with_ambient(torch.full_like(scene.air, 0.25))

    assert "gain" in EFFECTS  # all of them are there by now
    monkeypatch.setitem(EFFECTS._entries, "noise_for_tests", NoiseForTests)
    (tmp_path / "noisy.yaml").write_text(NOISY)
    run(air, tmp_path / "pairs", sensor_file, recipe=tmp_path / "noisy.yaml")
    folder = tmp_path / "pairs/train"
    for row in read_manifest(folder / "metadata.jsonl"):
        clean, _ = soundfile.read(folder / row.air_file_name)
        noisy, _ = soundfile.read(folder / f"noisy_air/{row.id}.flac")
        assert row.noisy_air_file_name == f"noisy_air/{row.id}.flac"
        assert np.allclose(noisy, clean + 0.25, atol=2**-15)
    before = tree(tmp_path / "pairs")
    next(folder.glob("noisy_air/s2/*.flac")).unlink()
    assert run(air, tmp_path / "pairs", sensor_file, recipe=tmp_path / "noisy.yaml").num_reused == 5
    assert tree(tmp_path / "pairs") == before
    synthesize(plan_synthesis(air, tmp_path / "pairs", sensor_file), Workers(), overwrite=True)
    assert not folder.joinpath("noisy_air").exists()


def test_clipping_is_told_once_a_file_and_only_where_it_is_heard(
    tmp_path, speech, monkeypatch, caplog
):
    monkeypatch.setattr(long_files, "SEGMENT_FRAMES", 64)
    loud = 0.8 * speech[0] / speech[0].abs().max()
    write_audio(tmp_path / "air/a.wav", loud.numpy(), 16_000)
    for number, (gain_db, longest) in enumerate([(9, 1 << 21), (9, 20_000), (2, 1 << 21)]):
        recipe = tmp_path / f"{number}.yaml"
        effect = f"{{name: gain, gain_db: {gain_db}}}"
        recipe.write_text(f"kind: synthesis\neffects: [{effect}]\n")
        monkeypatch.setattr(long_files, "LONGEST_WHOLE", longest)
        run(tmp_path / "air", tmp_path / f"pairs{number}", None, recipe=recipe)
    told = [record.getMessage() for record in caplog.records if "clipped" in record.getMessage()]
    assert told == 2 * [
        f"{tmp_path}/air/a.wav: bone exceeds full scale (peaks at 2.25) and is clipped; end the "
        "recipe with peak_limit"
    ]


def test_a_long_file_becomes_a_pair_like_any_other(tmp_path, sensor_file, speech, monkeypatch):
    monkeypatch.setattr(long_files, "LONGEST_WHOLE", 20_000)
    monkeypatch.setattr(long_files, "SEGMENT_FRAMES", 64)
    monkeypatch.setattr(long_files, "CONTEXT_FRAMES", 32)
    long, whole = tmp_path / "long", tmp_path / "whole"
    # A gain that drives it over full scale: the file is turned down as a whole.
    options = {
        "settings": ("effects.sensor_level.deviation=8", "splits.validation=0", "splits.test=0")
    }
    write_audio(tmp_path / "air" / "s" / "a.wav", speech[0].numpy(), 16_000)
    first = run(tmp_path / "air", long, sensor_file, **options)
    monkeypatch.setattr(long_files, "LONGEST_WHOLE", 1 << 21)
    run(tmp_path / "air", whole, sensor_file, **options)
    assert first.num_pairs == 1
    manifests = [(out / "train" / "metadata.jsonl").read_text() for out in (long, whole)]
    assert manifests[0] == manifests[1]
    for signal in ("air", "bone"):
        pieces, piece = (
            soundfile.read(out / "train" / signal / "s" / "a.flac", dtype="int16")[0].astype(int)
            for out in (long, whole)
        )
        assert np.abs(pieces - piece).max() <= 1
    assert np.abs(piece).max() > 32_000
