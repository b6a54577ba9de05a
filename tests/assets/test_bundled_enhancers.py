"""The trained enhancers that come with bcsim are small, told of, and better than the sensor."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import bcsim
from bcsim.audio.folder import audio_files
from bcsim.audio.read import read_audio
from bcsim.errors import InputError, UsageError
from bcsim.metrics.scores import enhancement_scores
from bcsim.workflows.enhancers import bundled_enhancers, enhancer_folder, find_enhancer
from bcsim.workflows.presets import bundled_folder

BUNDLED = bundled_enhancers()
MAX_BYTES = 6_000_000
DEMO = bundled_folder("bcsim.assets") / "demo" / "air"


def test_the_throat_is_there():
    assert "throat" in BUNDLED


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_enhancer_is_small_and_says_where_it_comes_from(name):
    folder = BUNDLED[name]
    assert sum(path.stat().st_size for path in folder.iterdir()) <= MAX_BYTES
    facts = json.loads((folder / "config.json").read_text("utf-8"))["facts"]
    assert facts["trained_on"]
    card = (folder / "README.md").read_text("utf-8")
    for word in ("LibriSpeech", "Vibravox", "CC BY 4.0"):
        assert word in card
    assert str(Path.home()) not in card


@pytest.mark.parametrize("name", BUNDLED)
def test_it_enhances_a_voice_that_it_has_never_heard(name):
    """Synthetic voices, which are no people, through the profile of the sensor."""
    simulator = bcsim.load_simulator("vibravox_throat")
    gains = []
    for path in audio_files(DEMO)[::2]:
        air, rate = read_audio(path)
        bone = simulator(air, rate, clip_ids=[path.stem]).bone[0].numpy()
        enhanced = bcsim.enhance(bcsim.load_enhancer(name), bone, rate)
        assert len(enhanced) == len(bone)
        before, after = (
            enhancement_scores(torch.from_numpy(np.float64(x)), torch.from_numpy(air), rate)
            for x in (bone, enhanced)
        )
        gains.append([after[key] - before[key] for key in ("stoi", "lsd")])
    stoi, lsd = np.mean(gains, axis=0)
    assert stoi > 0
    assert lsd < -1


def test_an_enhancer_is_found_by_name_or_folder_and_another_name_is_told(tmp_path):
    assert enhancer_folder("throat") == BUNDLED["throat"]
    by_folder = find_enhancer(BUNDLED["throat"])
    assert by_folder.fingerprint == find_enhancer("throat").fingerprint
    with pytest.raises(InputError, match=r"throta: no such folder.*did you mean 'throat'"):
        bcsim.load_enhancer("throta")
    with pytest.raises(InputError, match="give the folder of a run, or one of throat"):
        bcsim.load_enhancer(tmp_path / "nothing")


def test_a_folder_of_the_same_name_is_not_taken_for_it_nor_it_for_the_folder(tmp_path, monkeypatch):
    """`adapt --out throat`, then `enhance --model throat`: whose?"""
    shutil.copytree(BUNDLED["throat"], tmp_path / "throat")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"write ./throat for the folder"):
        find_enhancer("throat")
    assert enhancer_folder("./throat") == enhancer_folder(Path("throat")) == Path("throat")
