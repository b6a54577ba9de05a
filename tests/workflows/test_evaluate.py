"""Scores of a simulated sensor: those of the sensor, and not of the recorders' start buttons."""

import numpy as np
import pytest
import soundfile
import torch

from bcsim.effects.sensor_noise import SensorNoise
from bcsim.effects.sensor_response import SensorResponse
from bcsim.simulator import Simulator
from bcsim.workflows.evaluate import evaluate

RATE = 16_000


@pytest.fixture
def recordings(tmp_path, sensor, speech):
    """Pairs of the known sensor, and the same with the bone recorder started 50 ms early."""
    sensor.save(tmp_path / "known.sensor")
    simulator = Simulator((SensorResponse(sensor), SensorNoise(sensor)), RATE)
    late = RATE // 20
    for number in range(2):
        air = torch.cat([speech[number], speech[1 - number].flip(0)])
        bone = simulator.render(air[None], [f"real {number}"], seed=9, mean=True).bone[0]
        delayed = torch.cat([torch.zeros(late).double(), bone])
        for name, signal in (("air", air), ("bone", bone), ("late", delayed)):
            (tmp_path / name).mkdir(exist_ok=True)
            soundfile.write(tmp_path / name / f"{number}.wav", signal.numpy(), RATE)
    return tmp_path


def test_the_true_sensor_scores_as_well_as_noise_allows(recordings):
    scores = evaluate(
        str(recordings / "known.sensor"), recordings / "air", recordings / "bone"
    ).scores
    baseline = evaluate("temporal-transforms", recordings / "air", recordings / "bone").scores
    assert scores["ltas"] < 0.5
    assert scores["lsd"] < 8  # two draws of one noise differ by 7.9 where there is nothing else
    for name in ("lsd", "mel_sd", "mcd", "ltas"):
        assert scores[name] < baseline[name]


def test_a_recorder_that_started_early_changes_no_score(recordings):
    sensor = str(recordings / "known.sensor")
    together = evaluate(sensor, recordings / "air", recordings / "bone").scores
    apart = evaluate(sensor, recordings / "air", recordings / "late").scores
    for name in ("lsd", "mel_sd", "mcd", "ltas", "stoi", "estoi"):
        # the noise of the simulation is another draw where the clip has another length
        assert np.isclose(apart[name], together[name], rtol=0.05, atol=0.02), name
