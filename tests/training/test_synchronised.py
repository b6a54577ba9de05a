"""Recordings enter a training run as they enter a fit: without what their recorders did."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import soundfile
import torch

from bcsim.workflows import train as workflow

signal: Any = scipy.signal  # whose stubs take arrays for integers

RATE = 16_000
RECIPE = """
kind: training
sample_rate: 16000
model: {name: eben, width: 2, latent: 2}
losses: [{name: l1}]
training: {num_steps: 1, device: cpu}
data: {crop_s: 0.1, batch_size: 2, num_workers: 0, real_fraction: 0.5}
"""
PAIRS = ("fine", "late", "inverted")
SECONDS = 2.5


def speech(seed: int, seconds: float) -> np.ndarray:
    """Return noise in syllables of random length, colour and loudness."""
    rng = np.random.default_rng([seed, 31])
    parts = [np.zeros(RATE // 10)]
    while sum(map(len, parts)) < seconds * RATE:
        size = round(rng.uniform(0.08, 0.3) * RATE)
        colour = signal.butter(1, [rng.uniform(100, 500), 2000], "band", fs=RATE)
        sound = signal.lfilter(*colour, rng.standard_normal(size)) * np.hanning(size)
        parts += [0.2 * rng.uniform(0.3, 1) * sound, np.zeros(round(rng.uniform(0.02, 0.2) * RATE))]
    air = np.concatenate(parts)[: round(seconds * RATE)]
    return air + 1e-5 * rng.standard_normal(len(air))


@pytest.fixture
def recordings(tmp_path) -> Path:
    """Pairs of which two have had things done to them by their recorders."""
    for seed, name in enumerate(PAIRS):
        air = speech(seed, SECONDS)
        bone = 0.6 * np.roll(signal.lfilter(*signal.butter(2, 900, fs=RATE), air), 7)
        noise = 1e-3 * np.random.default_rng(seed).standard_normal(8000)
        changed = {
            "fine": bone,
            "late": np.concatenate([noise, bone]),
            "inverted": -bone,
        }[name]
        for role, samples in (("air", air), ("bone", changed)):
            (tmp_path / "real" / role).mkdir(parents=True, exist_ok=True)
            soundfile.write(tmp_path / "real" / role / f"{name}.wav", samples, RATE)
    return tmp_path / "real"


def similarity(pair: Any) -> tuple[int, float]:
    """Return the lag of bone that makes it most similar to dull air, and how similar it is."""
    air = signal.lfilter(*signal.butter(2, 900, fs=RATE), pair.air.numpy())
    bone = pair.bone.numpy()
    lags = np.arange(-20, 21)
    inner = slice(20, len(air) - 20)
    scale = np.linalg.norm(air) * np.linalg.norm(bone)
    match = [air[inner] @ bone[20 + lag : len(bone) - 20 + lag] / scale for lag in lags]
    best = int(np.argmax(np.abs(match)))
    return int(lags[best]), float(match[best])


def test_recordings_reach_the_trainer_without_what_their_recorders_did(
    recordings, tmp_path, monkeypatch
):
    """Four pairs with noise before bone once gave a STOI of .17 for .55, and exit code 0."""
    taken = {}
    monkeypatch.setattr(workflow, "train_model", lambda _, data, *__, **___: taken.update(d=data))
    monkeypatch.setattr(workflow, "write_run_report", lambda _: None)
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    workflow.train(
        str(tmp_path / "tiny.yaml"),
        tmp_path / "run",
        pairs=recordings,
        real_pairs=recordings,
        validation_pairs=recordings,
    )
    for pairs in (taken["d"].training, taken["d"].real, taken["d"].validation_real):
        assert sorted(pairs.ids) == sorted(PAIRS)
        for index, name in enumerate(pairs.ids):
            whole = pairs.whole(index)
            lag, match = similarity(whole)
            assert match > 0.95, name
            assert 6 <= lag <= 8, name  # the sensor's own delay stays
            crop = pairs.crop(index, 0, RATE)
            start = pairs.crop_start(index, 0, len(whole.air), RATE)
            assert torch.equal(crop.bone, whole.bone[start : start + RATE])
            assert torch.equal(crop.air, whole.air[start : start + RATE])
