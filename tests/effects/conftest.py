"""Fixtures for effects: a folder of recordings of noise."""

from pathlib import Path

import numpy as np
import pytest

from bcsim.data.audio import write_audio


@pytest.fixture(scope="session")
def noise_folder(tmp_path_factory) -> Path:
    """Two recordings, one shorter than the clips, one longer and at another rate."""
    folder = tmp_path_factory.mktemp("noise")
    generator = np.random.default_rng(11)
    for name, seconds, rate in (("short.wav", 0.7, 16_000), ("far/long.flac", 2.5, 22_050)):
        noise = np.cumsum(generator.standard_normal(round(seconds * rate)))
        write_audio(folder / name, 0.2 * np.sin(noise / 5), rate)
    return folder
