"""A network of sensor and noisy air microphone, from synthesized pairs to enhanced recordings."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import butter, sosfilt

from bcsim.audio.read import read_audio
from bcsim.audio.write import write_audio
from bcsim.errors import InputError, UsageError
from bcsim.models.seanet import SEANet
from bcsim.models.storage import load_enhancer, save_enhancer
from bcsim.rng import stream
from bcsim.workers.pool import Workers
from bcsim.workflows.enhance import enhance
from bcsim.workflows.synthesize import plan_synthesis, synthesize
from bcsim.workflows.train import train

RATE = 16_000
RECIPE = """
kind: training
sample_rate: 16000
model: {name: seanet, width: 1, latent: 2, channels: [bone, air]}
losses: [{name: l1}]
training: {num_steps: 3, device: cpu}
optimizer: {learning_rate: 1.0e-2}
data: {crop_s: 0.25, batch_size: 4, num_workers: 0, real_fraction: 0.5}
validation: {num_items: 2, num_samples: 1, metric: si_sdr}
"""


@pytest.fixture
def noisy(tmp_path, air, sensor_file):
    """A dataset of a noisy place, at 10 dB."""
    write_audio(tmp_path / "noise/hiss.wav", 0.1 * stream(5, "hiss").standard_normal(RATE), RATE)
    noise = f"{{name: ambient_noise, noise: {tmp_path / 'noise'}, snr_db: 10}}"
    settings = (
        f"effects=[{noise}, {{name: sensor_response}}]",
        "splits.validation=0.4",
        "splits.test=0",
    )
    plan = plan_synthesis(air, tmp_path / "pairs", sensor_file, None, settings)
    synthesize(plan, Workers())
    return tmp_path / "pairs"


def test_from_pairs_to_enhanced_recordings(noisy, tmp_path, caplog):
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    run = tmp_path / "run"
    recordings = tmp_path / "real"
    for role in ("air", "bone"):  # real pairs without noise at the air microphone, in every batch
        shutil.copytree(noisy / "train" / role, recordings / role)
    train(str(tmp_path / "tiny.yaml"), run, pairs=noisy, real_pairs=recordings)
    # of the sets that the network sees, the one whose second channel is the target is named
    warned = [message for message in caplog.messages if "have no noisy_air" in message]
    assert len(warned) == 1
    num_real = len(list((recordings / "air").rglob("*.flac")))
    assert f"{num_real} of {num_real} pairs (real) have no noisy_air" in warned[0]
    config = json.loads((run / "config.json").read_text())
    assert config["channels"] == ["bone", "air"]
    assert set(config["facts"]["scores"]["validation"]["enhanced"]) >= {"stoi", "si_sdr"}
    card = (run / "README.md").read_text()
    assert "- Input: bone, air, 16000 Hz." in card
    assert "--in bone.wav --air noisy_air.wav" in card
    assert len(list((run / "samples").glob("*.noisy_air.flac"))) == 1
    assert (run / "report.html").is_file()
    assert load_enhancer(run).channels == ("bone", "air")

    bone, heard = noisy / "train/bone", noisy / "train/noisy_air"
    result = enhance(run, bone, tmp_path / "out", "cpu", heard)
    assert len(result.written) == len([*bone.rglob("*.flac")])
    one = next(bone.rglob("*.flac"))
    name = one.relative_to(bone)
    enhanced, rate = read_audio(tmp_path / "out" / name)
    assert (len(enhanced), rate) == (soundfile.info(str(one)).frames, RATE)

    louder = 0.5 * read_audio(heard / name)[0]
    write_audio(tmp_path / "half.flac", louder, RATE)
    enhance(run, one, tmp_path / "other.flac", "cpu", tmp_path / "half.flac")
    assert np.abs(read_audio(tmp_path / "other.flac")[0] - enhanced).max() > 0.01


@pytest.fixture
def model(tmp_path):
    save_enhancer(tmp_path / "both", SEANet(width=1, latent=1, channels=("bone", "air")), {})
    save_enhancer(tmp_path / "one", SEANet(width=1, latent=1), {})
    return tmp_path


def test_the_second_recording_is_asked_for_and_has_to_fit(model, tmp_path):
    for name, num_samples in (("bone/a", 8000), ("bone/b", 8000), ("air/a", 8100), ("air/c", 8000)):
        write_audio(tmp_path / f"{name}.wav", 0.1 * np.sin(np.arange(num_samples)), RATE)
    bone, heard, out = tmp_path / "bone", tmp_path / "air", tmp_path / "out"
    with pytest.raises(UsageError, match="the model takes bone and air; give air recordings too"):
        enhance(model / "both", bone, out, "cpu")
    with pytest.raises(UsageError, match="the model takes bone alone; leave the air recordings"):
        enhance(model / "one", bone, out, "cpu", heard)
    with pytest.raises(UsageError, match="give two files or two folders"):
        enhance(model / "both", bone, out, "cpu", heard / "a.wav")
    write_audio(heard / "b.wav", np.zeros(8400), RATE)
    with pytest.raises(InputError, match=r"b\.wav: lasts 0\.53 s, .*b\.wav 0\.50 s; .* cut alike"):
        enhance(model / "both", bone / "b.wav", tmp_path / "b.wav", "cpu", heard / "b.wav")


def speech(seed):
    """Return two seconds of noise in syllables, and what a dull sensor makes of them."""
    rng = stream(seed, "syllables")
    parts = []
    while sum(map(len, parts)) < 2 * RATE:
        size = round(rng.uniform(0.08, 0.3) * RATE)
        sound = rng.uniform(0.3, 1) * rng.standard_normal(size) * np.hanning(size)
        parts += [0.1 * sound, np.zeros(round(rng.uniform(0.02, 0.2) * RATE))]
    air = np.concatenate(parts)[: 2 * RATE] + 1e-5 * rng.standard_normal(2 * RATE)
    return air, sosfilt(butter(2, 900, fs=RATE, output="sos"), air)


def test_recordings_that_are_exchanged_or_late_are_refused(model, tmp_path):
    """The network got air in place of bone, or bone half a second late, with exit code 0."""
    air, bone = speech(1)
    late = np.concatenate([1e-4 * stream(2, "late").standard_normal(4000), bone])[: len(bone)]
    for name, signals in {"fine": (air, bone), "swap": (bone, air), "late": (air, late)}.items():
        for role, samples in zip(("air", "bone"), signals, strict=True):
            write_audio(tmp_path / role / f"{name}.wav", samples, RATE)
    result = enhance(model / "both", tmp_path / "bone", tmp_path / "out", "cpu", tmp_path / "air")
    assert [path.name for path in result.written] == ["fine.wav"]
    reasons = {Path(path).stem: reason for path, reason in result.failures.items()}
    assert "the roles are swapped; exchange the two recordings" in reasons["swap"]
    assert "late.wav: bone is +250 ms late; cut both to begin" in reasons["late"]


def test_a_recording_without_its_partner_is_named_and_left_out(model, tmp_path):
    air, bone = speech(1)
    for name, samples in {"bone/a": bone, "bone/b": bone, "air/a": air}.items():
        write_audio(tmp_path / f"{name}.wav", samples, RATE)
    result = enhance(model / "both", tmp_path / "bone", tmp_path / "out", "cpu", tmp_path / "air")
    assert [path.name for path in result.written] == ["a.wav"]
    (reason,) = result.failures.values()
    assert "air/b.wav: no such recording of the air microphone" in reason
