"""`bcsim train` of a classifier: it is written, not trained twice, and a loss looks through it."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

import bcsim
from bcsim.losses.deep_features import DeepFeatures
from bcsim.rng import stream

AIR = Path(bcsim.__file__).parents[1] / "assets/demo/air"
SMALL = ("num_steps=2", "width=2", "crop_s=0.5", "batch_size=2")


@pytest.fixture
def arguments(tmp_path, sensor_file):
    (tmp_path / "noise").mkdir()
    samples = 0.1 * stream(0, "noise").standard_normal(16_000).astype(np.float32)
    soundfile.write(tmp_path / "noise/hiss.wav", samples, 16_000)
    settings = (*SMALL, f"effects.ambient_noise.noise={tmp_path / 'noise'}")
    return [
        *("train", "--recipe", "deep_feature_loss_net", "--air", AIR, "--sensor", sensor_file),
        *(word for setting in settings for word in ("--set", setting)),
        *("--out", tmp_path / "net"),
    ]


def test_a_classifier_is_trained_once_and_a_loss_looks_through_it(
    command_line, arguments, tmp_path, tree
):
    code, out, err = command_line(*arguments)
    assert code == 0, err
    assert "classifier in" in out
    config = json.loads((tmp_path / "net/classifier.json").read_text())
    assert config["classifier"]["classes"]["noise"] == ["hiss"]
    assert config["facts"]["recipe"]["num_steps"] == 2
    assert DeepFeatures(str(tmp_path / "net")).classifier.config["width"] == 2
    before = tree(tmp_path / "net")
    code, _, err = command_line(*arguments)
    assert (code, "already holds a classifier" in err) == (2, True)
    code, again, err = command_line(*arguments, "--resume")
    assert (code, again) == (0, out), err
    code, _, err = command_line(*arguments, "--resume", "--set", "seed=1")
    assert (code, "of another recipe" in err) == (2, True)
    assert tree(tmp_path / "net") == before
    (tmp_path / "net/classifier.json").unlink()  # as if killed before it was written
    assert command_line(*arguments)[0] == 0
    assert tree(tmp_path / "net") == before
    (tmp_path / "net/other.txt").touch()
    code, _, err = command_line(*arguments, "--resume")
    assert (code, "holds what this command did not write" in err) == (2, True)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--pairs", "x"], "not pairs"),
        (["--nproc", 2], "not nproc"),
        (["--direction", "air-to-bone"], "not direction"),
        (["--set", "width=0"], "width"),
    ],
)
def test_what_a_classifier_does_not_take_is_refused(command_line, arguments, tmp_path, more, told):
    code, _, err = command_line(*arguments, *more)
    assert (code, told in err) == (2, True), err
    assert not (tmp_path / "net").exists()
