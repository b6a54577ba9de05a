"""Scores of a simulated sensor: those of the sensor, and not of the recorders' start buttons."""

import json
import shutil

import numpy as np
import pytest
import soundfile
import torch

from bcsim.effects.sensor_noise import SensorNoise
from bcsim.effects.sensor_response import SensorResponse
from bcsim.fitting.alignment import align as alignment
from bcsim.fitting.diagnosis import diagnose as diagnosis
from bcsim.metrics import METRICS
from bcsim.metrics.scores import coupling_metrics, simulation_metrics
from bcsim.sensors.recorded_pair import RecordedPair
from bcsim.simulator import Simulator
from bcsim.workflows import evaluate as evaluation
from bcsim.workflows.evaluate import evaluate

RATE = 16_000


@pytest.fixture(scope="module")
def recordings(tmp_path_factory, sensor, speech):
    """Pairs of the known sensor, and the same with the bone recorder started 50 ms early."""
    folder = tmp_path_factory.mktemp("recordings")
    sensor.save(folder / "known.sensor")
    simulator = Simulator((SensorResponse(sensor), SensorNoise(sensor)), RATE)
    late = RATE // 20
    for number in range(2):
        air = torch.cat([speech[number], speech[1 - number].flip(0)])
        bone = simulator.render(air[None], [f"real {number}"], seed=9, mean=True).bone[0]
        delayed = torch.cat([torch.zeros(late).double(), bone])
        for name, signal in (("air", air), ("bone", bone), ("late", delayed)):
            (folder / name).mkdir(exist_ok=True)
            soundfile.write(folder / name / f"{number}.wav", signal.numpy(), RATE)
    return folder


@pytest.fixture(scope="module")
def sensors(recordings) -> list[str]:
    return [str(recordings / "known.sensor"), "temporal-transforms"]


@pytest.fixture(scope="module")
def evaluated(sensors, recordings):
    return evaluate(sensors, recordings / "air", recordings / "bone")


def test_the_true_sensor_scores_as_well_as_noise_allows(evaluated):
    known, baseline = evaluated
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


def test_a_recorder_that_started_early_changes_no_score(sensors, recordings, evaluated):
    together = evaluated[0].scores
    apart = evaluate(sensors[:1], recordings / "air", recordings / "late")[0].scores
    for name in ("lsd", "mel_sd", "mcd", "ltas", "stoi", "estoi"):
        # the noise of the simulation is another draw where the clip has another length
        assert np.isclose(apart[name], together[name], rtol=0.05, atol=0.02), name


def test_several_sensors_score_as_each_alone(sensors, recordings, evaluated):
    for sensor, found in zip(sensors, evaluated, strict=True):
        (alone,) = evaluate([sensor], recordings / "air", recordings / "bone")
        assert json.dumps(found.facts()) == json.dumps(alone.facts())


def test_means_lie_in_their_intervals_and_talkers_make_up_the_mean(recordings, evaluated, tmp_path):
    """Anna says both sentences, Ben the first again."""
    for role in ("air", "bone"):
        (tmp_path / role / "anna").mkdir(parents=True)
        (tmp_path / role / "ben").mkdir()
        for number in range(2):
            shutil.copy(recordings / role / f"{number}.wav", tmp_path / role / "anna")
        shutil.copy(recordings / role / "0.wav", tmp_path / role / "ben")
    (found,) = evaluate(["temporal-transforms"], tmp_path / "air", tmp_path / "bone")
    assert found.talkers_known
    assert {name: row["num_pairs"] for name, row in found.talkers.items()} == {"anna": 2, "ben": 1}
    for name, (low, high) in found.intervals.items():
        assert low <= found.scores[name] <= high, name
        of_talkers = (2 * found.talkers["anna"][name] + found.talkers["ben"][name]) / 3
        assert found.scores[name] == pytest.approx(of_talkers), name
    assert 0 <= found.scores["c2st"] <= 1
    _, nameless = evaluated
    assert not nameless.talkers_known
    assert list(nameless.talkers) == list(nameless.pairs)


def test_a_pair_is_timed_once(recordings, monkeypatch):
    """It was timed again, for half of the time that a pair takes, once it was found to be one."""
    air, bone = (
        np.asarray(soundfile.read(recordings / role / "0.wav")[0], dtype=np.float64)
        for role in ("air", "late")
    )
    timed = []
    measure = diagnosis.measure_timing
    for user in (diagnosis, alignment):
        monkeypatch.setattr(user, "measure_timing", lambda *of: timed.append(of) or measure(*of))
    ready = evaluation.synchronised_pair(RecordedPair("0", air, bone), RATE)
    assert len(timed) == 1
    assert len(air) - RATE // 10 < len(ready.bone) < len(bone)


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
    for name in coupling_metrics():
        assert found.scores[name] == pytest.approx(0, abs=1e-6)
        assert found.coupling["simulated"][name] == pytest.approx(found.coupling["real"][name])
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
    bands = facts["coupling"]["bands"]
    assert len(bands) == 20
    assert all(-1 <= band["real"] <= 1 for band in bands)
    real, simulated = (facts["coupling"][kind]["stoi_coupling"] for kind in ("real", "simulated"))
    assert facts["scores"]["stoi_coupling"] == pytest.approx(simulated - real)
