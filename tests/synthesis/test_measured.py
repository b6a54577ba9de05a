"""The manifest tells what came about, and the end of a run counts it."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from bcsim.audio.write import write_audio
from bcsim.datasets.noise_folder import NoiseFolder
from bcsim.datasets.remarks import Remarks
from bcsim.effects.recorded_noise import RecordedNoise
from bcsim.errors import UsageError
from bcsim.rng import stream
from bcsim.simulator import Simulator
from bcsim.workers.pool import Workers
from bcsim.workflows.synthesize import plan_synthesis, synthesize

RATE = 16_000


def noise(*names: object, seconds: float = 1.0) -> np.ndarray:
    return stream(0, *map(str, names)).standard_normal(round(seconds * RATE))


def rows(out: Path) -> dict[str, dict]:
    manifests = out.glob("*/metadata.jsonl")
    lines = [line for path in manifests for line in path.read_text().splitlines()]
    return {row["id"]: row for row in map(json.loads, lines)}


@pytest.fixture
def rendered(tmp_path):
    """A function that renders recordings (T,), by the paths of their files, through effects."""

    def render(recordings, *effects: str, settings: tuple[str, ...] = ()):
        for name, samples in recordings.items():
            (tmp_path / "air" / name).parent.mkdir(parents=True, exist_ok=True)
            write_audio(tmp_path / "air" / name, samples, RATE, "PCM_24")
        listed = ", ".join(effects)
        (tmp_path / "r.yaml").write_text(f"kind: synthesis\neffects: [{listed}]\n")
        out = tmp_path / "out"
        plan = plan_synthesis(tmp_path / "air", out, None, tmp_path / "r.yaml", settings)
        return synthesize(plan, Workers()), out

    return render


def test_faint_speech_keeps_its_detail_in_24_bits_and_in_floating_point(rendered):
    """At -66 dBFS, 16 bits left a file with seven to twenty-four values."""
    speech = noise(3)
    speech *= 10 ** (-66 / 20) / np.abs(speech).max()
    result, out = rendered({"s1/a.wav": speech}, "{name: gain, gain_db: -1.0}")
    bone, _ = soundfile.read(next(out.glob("*/bone/s1/a.flac")))
    assert len(np.unique(bone)) < 40
    (told,) = (row["measured"] for row in rows(out).values())
    assert told["bone.peak_dbfs"] == pytest.approx(-67, abs=0.01)
    assert told["air.peak_dbfs"] == pytest.approx(-66, abs=0.01)
    assert [line.split(" (first")[0] for line in result.remarks] == [
        f"1 of 1 pairs have {name} that peaks under -50 dBFS: turn the recordings up, or set "
        "audio.subtype to PCM_24 or FLOAT"
        for name in ("air", "bone")
    ]


@pytest.mark.parametrize(
    ("subtype", "suffix", "step"), [("PCM_24", "flac", 2**-24), ("FLOAT", "wav", 1e-10)]
)
def test_the_subtype_that_is_asked_for_is_written(rendered, subtype, suffix, step):
    speech = noise(3)
    speech *= 10 ** (-66 / 20) / np.abs(speech).max()
    settings = f"audio.subtype={subtype}", f"audio_format={suffix}"
    _, out = rendered({"s1/a.wav": speech}, "{name: gain, gain_db: -6.0206}", settings=settings)
    (path,) = out.glob(f"*/bone/s1/a.{suffix}")
    assert soundfile.info(path).subtype == subtype
    bone, _ = soundfile.read(path)
    stored, _ = soundfile.read(out.parent / "air/s1/a.wav")
    assert np.abs(bone - stored / 2).max() < step + 1e-9  # the gain is rounded
    air, _ = soundfile.read(next(out.glob(f"*/air/s1/a.{suffix}")))
    assert np.array_equal(air, stored)
    assert subtype in (out / "recipe.resolved.yaml").read_text()
    assert (
        f"{'24 bits' if subtype == 'PCM_24' else 'floating point'}, one channel"
        in (out / "README.md").read_text()
    )


def test_floating_point_is_refused_in_flac(rendered):
    with pytest.raises(UsageError, match="FLAC holds no FLOAT; set audio_format to wav"):
        rendered({"s1/a.wav": noise(1) / 10}, settings=("audio.subtype=FLOAT",))


def test_noise_that_is_mostly_silence_is_heard_in_every_clip_at_the_snr_that_is_told(
    rendered, tmp_path, caplog
):
    """Two seconds of noise and a minute of zeros: most clips drew the zeros, SNR .3 dB or not."""
    (tmp_path / "noise").mkdir()
    mostly_silent = np.concatenate([0.1 * noise("n", seconds=2), np.zeros(60 * RATE)])
    write_audio(tmp_path / "noise/some.wav", mostly_silent, RATE)
    write_audio(tmp_path / "noise/none.wav", np.zeros(RATE), RATE)
    (tmp_path / "noise/torn.wav").write_bytes(b"RIFF")
    recordings = {f"s{number}/a.wav": 0.1 * noise(number) for number in range(8)}
    result, out = rendered(
        recordings, f"{{name: ambient_noise, noise: {tmp_path / 'noise'}, snr_db: 0.3}}"
    )
    for row in rows(out).values():
        assert row["drawn"]["ambient_noise"]["noise"] == "some.wav"
        folder = next(path for path in out.glob("*") if (path / row["air_file_name"]).is_file())
        air, noisy = (
            soundfile.read(folder / row[f"{name}_file_name"])[0] for name in ("air", "noisy_air")
        )
        snr_db = 10 * np.log10(np.var(air) / np.var(noisy - air))
        assert row["measured"]["ambient_noise.snr_db"] == pytest.approx(snr_db, abs=0.1)
        assert snr_db == pytest.approx(0.3, abs=0.1)
    assert len(rows(out)) == 8
    left_out = {Path(name).name for name in result.failures}
    assert left_out == {"none.wav", "torn.wav"}
    assert "2 of 3 recordings of noise are left out" in caplog.text


def test_noise_that_is_fainter_than_asked_is_told_and_counted(rendered, tmp_path):
    (tmp_path / "noise").mkdir()
    dull = np.concatenate([0.3 * noise("n", seconds=0.5), 0.001 * noise("m", seconds=8)])
    write_audio(tmp_path / "noise/dull.wav", dull, RATE)
    spec = f"{{name: ambient_noise, noise: {tmp_path / 'noise'}, snr_db: 5, position: 0.5}}"
    result, out = rendered({"s1/a.wav": 0.1 * noise(1)}, spec)
    (row,) = rows(out).values()
    assert row["measured"]["ambient_noise.snr_db"] > 10
    (line,) = result.remarks
    assert "1 of 1 pairs have noise that is up to" in line


def test_pairs_without_noise_are_counted():
    remarks = Remarks(RATE)
    remarks.add({"id": "s1/a", "measured": {"ambient_noise.snr_db": None}})
    assert any("1 of 1 pairs have no noise" in line for line in remarks.lines())


def test_pairs_from_recordings_of_a_lower_rate_are_counted(rendered, tmp_path):
    write_audio(tmp_path / "air/s2/b.wav", 0.1 * noise(2), 8000)
    result, out = rendered({"s1/a.wav": 0.1 * noise(1)})
    bands_hz = {name: row["measured"]["source.bandwidth_hz"] for name, row in rows(out).items()}
    assert bands_hz == {"s1/a": 8000.0, "s2/b": 4000.0}
    assert any(
        line.startswith("1 of 2 pairs come from recordings of a lower sample rate")
        and "nothing above 4000 Hz" in line
        for line in result.remarks
    )


def test_noise_of_the_sensor_itself_tells_the_snr_of_the_part_that_is_played(sensor, tmp_path):
    quiet_half = np.concatenate([0.1 * noise("a", seconds=2), 0.01 * noise("b", seconds=2)])
    write_audio(tmp_path / "n.wav", quiet_half, RATE)
    effect = RecordedNoise(sensor, NoiseFolder(tmp_path), position=0.6, snr_db=10.0)
    air = torch.from_numpy(0.1 * noise("air"))[None]
    scene = Simulator((effect,), RATE)(air, RATE)
    told_db = scene.measured["recorded_noise.snr_db"]
    speech_power = float(air.square().mean()) * 10 ** (sensor.level_db / 10)  # at the sensor
    noise_power = float((scene.bone - air).square().mean())
    expected_db = 10 * np.log10(speech_power / noise_power)
    assert float(told_db) == pytest.approx(expected_db, abs=0.2)
    assert float(told_db) > 25
