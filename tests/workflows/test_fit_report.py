"""The page beside a fitted sensor: written by default, and never in the way of the sensor."""

import dataclasses
import logging
import sys

import numpy as np
import pytest
import soundfile
import torch

from bcsim.dsp.activity import active_frames, active_rms
from bcsim.effects.sensor_noise import SensorNoise
from bcsim.effects.sensor_response import SensorResponse
from bcsim.errors import UsageError
from bcsim.fitting.pairs import AlignedPair
from bcsim.simulator import Simulator
from bcsim.workflows.fit_response import examples_of, fit_response

RATE = 16_000


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, sensor, speech):
    """Three pairs of the known sensor, in a folder to read only."""
    folder = tmp_path_factory.mktemp("recorded")
    simulator = Simulator((SensorResponse(sensor), SensorNoise(sensor)), RATE)
    for number in range(3):
        air = torch.cat([speech[number % 2], speech[1 - number % 2]]).roll(2000 * number)
        bone = simulator.render(air[None], [str(number)], seed=4, mean=True).bone[0]
        for role, signal in (("air", air), ("bone", bone)):
            (folder / role).mkdir(exist_ok=True)
            soundfile.write(folder / role / f"p{number}.wav", signal.numpy(), RATE)
    return folder


@pytest.fixture(scope="module")
def result(recorded, tmp_path_factory):
    """What a fit finds in them: it takes seconds, and no report changes it."""
    return fit_response(
        recorded / "air",
        recorded / "bone",
        tmp_path_factory.mktemp("fitted") / "throat.sensor",
        estimator="power-ratio",
    ).result


@pytest.fixture
def fit(recorded, result, tmp_path, monkeypatch):
    """Return a function that writes what was found, and a report or none."""
    monkeypatch.setattr("bcsim.workflows.fit_response.fit_pairs", lambda *_, **__: result)

    def write(report):
        out = tmp_path / "out" / "throat.sensor"
        return fit_response(recorded / "air", recorded / "bone", out, report=report)

    return write


@pytest.mark.parametrize("report", [True, None])
def test_the_report_lies_beside_the_sensor_and_asks_nobody(fit, tmp_path, report):
    fitted = fit(report)
    assert fitted.report == tmp_path / "out" / "throat.report.html"
    text = (tmp_path / "out" / "throat.report.html").read_text("utf-8")
    assert "Sensor throat" in text
    assert text.count("data:audio/flac") == 9
    outside = text.replace("data:", "")
    assert 'src="http' not in outside
    assert len(text) < 5e6


def test_none_is_written_where_none_is_wanted(fit):
    fitted = fit(False)
    assert fitted.report is None
    assert [path.name for path in fitted.path.parent.iterdir()] == ["throat.sensor"]


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_without_the_packages_the_sensor_is_written_all_the_same(fit, monkeypatch, caplog, package):
    monkeypatch.setitem(sys.modules, package, None)
    with caplog.at_level(logging.WARNING):
        fitted = fit(None)
    assert fitted.path.is_file()
    assert fitted.report is None
    told = [record.getMessage() for record in caplog.records if "report" in record.getMessage()]
    assert told == [f"no report: {package} is not installed; run: pip install 'bcsim[report]'"]


def test_a_report_that_is_asked_for_and_cannot_be_drawn_is_refused_before_work(
    fit, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"pip install 'bcsim\[report\]'"):
        fit(True)
    assert not (tmp_path / "out").exists()


def test_the_same_fit_gives_the_same_page(request, recorded, tmp_path):
    again = fit_response(
        recorded / "air",
        recorded / "bone",
        tmp_path / "throat.sensor",
        estimator="power-ratio",
        report=True,
    )
    before = request.getfixturevalue("fit")(True)
    assert again.report is not None
    assert again.report.read_bytes() == before.report.read_bytes()


def test_examples_are_simulated_by_their_own_sensor_at_the_level_of_the_recording(result, sensor):
    pairs = result.pairs
    quiet = np.zeros_like(sensor.noise_psd)
    silent = dataclasses.replace(sensor, noise_psd=quiet, level_db=-6.0)
    loud = dataclasses.replace(sensor, noise_psd=quiet + 1e-3, level_db=20.0)
    examples = examples_of([(pairs[0], silent), (pairs[1], loud)])
    by_name = {example.name: example for example in examples}
    for pair in pairs[:2]:
        example = by_name[pair.name]
        assert len(example.simulated) == len(example.air) == len(example.bone)
        np.testing.assert_array_equal(example.bone, pair.bone[:].float().numpy())
        assert active_level(pair, example.simulated) == pytest.approx(
            active_level(pair, example.bone), rel=1e-6
        )
    clean, noisy = (by_name[pair.name] for pair in pairs[:2])
    faintest = [np.quantile(np.abs(e.simulated), 0.1) for e in (clean, noisy)]
    assert faintest[1] > 10 * faintest[0]


def active_level(pair: AlignedPair, samples) -> float:
    active = active_frames(pair.air[:][None], pair.sample_rate)
    return float(active_rms(torch.from_numpy(samples)[None], active, pair.sample_rate))


def test_each_talker_is_heard_before_anyone_is_heard_twice(result):
    """Of the three, two are of one talker."""
    named = [
        (dataclasses.replace(pair, talker=talker, seconds=seconds), result.profile)
        for pair, talker, seconds in zip(
            result.pairs, ("anna", "anna", "ben"), (4.0, 4.1, 9.0), strict=True
        )
    ]
    talkers = {pair.name: pair.talker for pair, _ in named}
    heard = [talkers[example.name] for example in examples_of(named)]
    assert heard == ["anna", "ben", "anna"]
