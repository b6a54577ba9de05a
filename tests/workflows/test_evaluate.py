"""Scores of a simulated sensor: those of the sensor, and not of the recorders' start buttons."""

import json
import shutil

import numpy as np
import pytest
import soundfile
import torch

from bcsim.effects.sensor_noise import SensorNoise
from bcsim.effects.sensor_response import SensorResponse
from bcsim.metrics import METRICS
from bcsim.metrics.scores import simulation_metrics
from bcsim.simulator import Simulator
from bcsim.workflows import evaluate as evaluation
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
    sensors = [str(recordings / "known.sensor"), "temporal-transforms"]
    known, baseline = evaluate(sensors, recordings / "air", recordings / "bone")
    assert (known.sensor, baseline.sensor) == ("known", "temporal-transforms")
    scores = known.scores
    assert scores["ltas"] < 0.5
    assert scores["lsd"] < 8  # two draws of one noise differ by 7.9 where there is nothing else
    for name in ("lsd", "mel_sd", "mcd", "ltas"):
        assert scores[name] < baseline.scores[name]
    error_db = {
        evaluation.sensor: max(abs(band["bias_db"]) for band in evaluation.bands)
        for evaluation in (known, baseline)
    }
    assert error_db["known"] < 1
    assert error_db["temporal-transforms"] > 6


def test_a_recorder_that_started_early_changes_no_score(recordings):
    sensor = [str(recordings / "known.sensor")]
    together = evaluate(sensor, recordings / "air", recordings / "bone")[0].scores
    apart = evaluate(sensor, recordings / "air", recordings / "late")[0].scores
    for name in ("lsd", "mel_sd", "mcd", "ltas", "stoi", "estoi"):
        # the noise of the simulation is another draw where the clip has another length
        assert np.isclose(apart[name], together[name], rtol=0.05, atol=0.02), name


def test_several_sensors_score_as_each_alone(recordings):
    sensors = [str(recordings / "known.sensor"), "temporal-transforms"]
    together = evaluate(sensors, recordings / "air", recordings / "bone")
    for sensor, found in zip(sensors, together, strict=True):
        (alone,) = evaluate([sensor], recordings / "air", recordings / "bone")
        assert json.dumps(found.facts()) == json.dumps(alone.facts())


def test_means_lie_in_their_intervals_and_talkers_make_up_the_mean(recordings):
    """Anna says both sentences, Ben the first again."""
    for role in ("air", "bone"):
        (recordings / "named" / role / "anna").mkdir(parents=True)
        (recordings / "named" / role / "ben").mkdir()
        for number in range(2):
            shutil.copy(recordings / role / f"{number}.wav", recordings / "named" / role / "anna")
        shutil.copy(recordings / role / "0.wav", recordings / "named" / role / "ben")
    (found,) = evaluate(
        ["temporal-transforms"], recordings / "named" / "air", recordings / "named" / "bone"
    )
    assert found.talkers_known
    assert {name: row["num_pairs"] for name, row in found.talkers.items()} == {"anna": 2, "ben": 1}
    for name, (low, high) in found.intervals.items():
        assert low <= found.scores[name] <= high, name
        of_talkers = (2 * found.talkers["anna"][name] + found.talkers["ben"][name]) / 3
        assert found.scores[name] == pytest.approx(of_talkers), name
    assert 0 <= found.scores["c2st"] <= 1
    (nameless,) = evaluate(["temporal-transforms"], recordings / "air", recordings / "bone")
    assert not nameless.talkers_known
    assert list(nameless.talkers) == list(nameless.pairs)


def test_realism_is_judged_with_the_residual_drawn_and_accuracy_without(recordings, monkeypatch):
    """A simulator that is lively only when it draws: it moves as much as the real sensor then."""
    real = {}
    bring = evaluation.synchronised_pair

    def synchronised_pair(pair, sample_rate):
        ready = bring(pair, sample_rate)
        real[ready.name] = torch.from_numpy(np.float64(ready.bone))
        return ready

    def mean_sensor_signal(simulator, air, name, residual=False):
        return real[name] if residual else real[name].sign() * real[name].abs().sqrt()

    monkeypatch.setattr(evaluation, "synchronised_pair", synchronised_pair)
    monkeypatch.setattr(evaluation, "mean_sensor_signal", mean_sensor_signal)
    (found,) = evaluate(["temporal-transforms"], recordings / "air", recordings / "bone")
    assert found.scores["dynamics_ratio"] == pytest.approx(1)
    assert found.scores["dynamics_ratio_mean"] < 0.9
    assert found.scores["lsd"] > 3
    # The same frames in both sets, as many right as wrong.
    assert found.scores["c2st"] == pytest.approx(0.5)
    assert found.scores["c2st_null_std"] >= 0


@pytest.mark.parametrize("factor", [0.0, np.nan])
def test_a_simulation_of_nothing_has_the_worst_scores(recordings, monkeypatch, factor):
    """One that was not finite had no score, and so left the means as they were."""
    simulate = evaluation.mean_sensor_signal
    monkeypatch.setattr(
        evaluation, "mean_sensor_signal", lambda *arguments: factor * simulate(*arguments)
    )
    (found,) = evaluate(
        ["temporal-transforms"], recordings / "air" / "0.wav", recordings / "bone" / "0.wav"
    )
    for name in simulation_metrics():
        assert found.scores[name] == METRICS[name].worst, name
        assert found.num_scored[name] == 1
    assert all(band["bias_db"] < 0 for band in found.bands)


def test_json_has_no_number_that_json_does_not_have(recordings):
    (found,) = evaluate(
        ["temporal-transforms"], recordings / "air" / "0.wav", recordings / "bone" / "0.wav"
    )
    facts = json.loads(json.dumps(found.facts(), allow_nan=False))
    assert facts["scores"]["c2st"] is None  # one pair: nobody to hold out
    assert facts["intervals"]["lsd"] is None
    assert facts["num_pairs"] == 1
