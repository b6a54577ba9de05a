"""Fixtures for effects: a folder of recordings of noise, and a network for a sensor."""

from pathlib import Path

import numpy as np
import pytest

from bcsim.audio.write import write_audio
from bcsim.effects import EFFECTS
from bcsim.models.storage import AIR_TO_BONE, build_enhancer, save_enhancer
from bcsim.recipe import takes_recordings
from bcsim.registry import parameter_types


@pytest.fixture(scope="session")
def noise_folder(tmp_path_factory) -> Path:
    """Two recordings, one shorter than the clips, one longer and at another rate."""
    folder = tmp_path_factory.mktemp("noise")
    generator = np.random.default_rng(11)
    for name, seconds, rate in (("short.wav", 0.7, 16_000), ("far/long.flac", 2.5, 22_050)):
        noise = np.cumsum(generator.standard_normal(round(seconds * rate)))
        write_audio(folder / name, 0.2 * np.sin(noise / 5), rate)
    return folder


@pytest.fixture(scope="session")
def air_to_bone_run(tmp_path_factory) -> Path:
    """A small network from air to bone, with fresh weights."""
    folder = tmp_path_factory.mktemp("runs") / "reversed"
    network = build_enhancer({"name": "eben", "p": 4, "width": 4, "latent": 4}, seed=2)
    save_enhancer(folder, network, {}, AIR_TO_BONE)
    return folder


@pytest.fixture(scope="session")
def required(noise_folder, air_to_bone_run):
    """Return a function that says what a recipe has to give an effect, by the effect's name."""

    def settings(name: str) -> dict[str, str]:
        hints = parameter_types(EFFECTS[name])
        folders = {key: str(noise_folder) for key, hint in hints.items() if takes_recordings(hint)}
        return folders | ({"model": str(air_to_bone_run)} if "model" in hints else {})

    return settings
