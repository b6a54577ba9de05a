"""The sensor's noise lies as far under the speech at one sample rate as at another."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch

from bcsim.audio.read import open_audio
from bcsim.audio.write import write_audio
from bcsim.effects.base import Scene
from bcsim.effects.sensor_noise import SensorNoise
from bcsim.recipe import Constant
from bcsim.sensors.profile import SensorProfile
from bcsim.simulator import Simulator
from bcsim.synthesis import long_files

CLIPS = sorted((Path(__file__).resolve().parents[2] / "assets" / "demo" / "air").glob("**/*.flac"))


def at_rate(sensor: SensorProfile, rate: int) -> SensorProfile:
    """The sensor at another sample rate: flat, its noise the same density, all below 3 kHz."""
    bins = round(rate / 2 / 31.25) + 1
    frequencies_hz = np.linspace(0, rate / 2, bins)
    flat = dataclasses.replace(
        sensor.transfer_function,
        frequencies_hz=frequencies_hz,
        response=np.ones(bins, dtype=np.complex128),
        coherence=np.ones(bins),
    )
    return dataclasses.replace(
        sensor,
        sample_rate=rate,
        transfer_function=flat,
        noise_psd=1e-7 / (1 + (frequencies_hz / 1000) ** 16),
        spread_db=np.zeros(bins),
        spread_components_db=np.zeros((0, bins)),
        coherence_ceiling=np.ones(bins),
        magnitude_interval_db=np.zeros((2, bins)),
    )


@pytest.fixture(scope="module")
def narrow_speech() -> np.ndarray:
    """Speech at 8 kHz, which every other rate can hold, silent for 50 ms after every 60 ms.

    Frames of 64 ms, as 512 samples last at 8 kHz, bridge such gaps; those of 11 ms at 48 kHz do
    not.
    """
    samples = np.concatenate([soundfile.read(path)[0] for path in CLIPS])[: 30 * 16_000]
    speech = soxr.resample(samples, 16_000, 8000, quality="VHQ")
    return speech * (np.arange(len(speech)) % 880 < 480)


def noise_db(simulator: Simulator, speech: np.ndarray, folder: Path | None) -> float:
    """Return the level of what the simulator adds, the clip in memory or as a long file."""
    draws = simulator.sample(0, "a")
    if folder is None:
        scene = Scene.from_air(torch.from_numpy(speech)[None], simulator.sample_rate)
        scenes = [simulator.apply(scene, [draws])]
    else:
        write_audio(folder / "a.wav", speech, simulator.sample_rate)
        with open_audio(folder / "a.wav") as recording:
            scenes = list(long_files.render_segments(simulator, draws, recording))
        assert len(scenes) > 1
    added = torch.cat([scene.bone - scene.air for scene in scenes], dim=1)
    return 10 * math.log10(float(added.square().mean()))


@pytest.mark.parametrize("long_file", [False, True])
def test_noise_is_as_far_under_the_speech_at_any_rate(sensor, narrow_speech, tmp_path, long_file):
    """With frames of 512 samples at every rate, these levels lay 2 dB apart.

    The speech is the same at each rate, so levels re active speech differ as those of the noise do.
    """
    levels = {}
    for rate in (8000, 16_000, 44_100, 48_000):
        speech = soxr.resample(narrow_speech, 8000, rate, quality="VHQ") / 2
        effects = (SensorNoise(at_rate(sensor, rate), level=Constant(0.0)),)
        levels[rate] = noise_db(Simulator(effects, rate), speech, tmp_path if long_file else None)
    assert all(level == pytest.approx(levels[16_000], abs=0.2) for level in levels.values()), levels
