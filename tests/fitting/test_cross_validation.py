"""Holding out: nothing leaks, a trial is the simulator, the dynamics come out."""

import dataclasses

import numpy as np
import pytest
import torch

from bcsim.effects.sensor_noise import SensorNoise
from bcsim.effects.sensor_response import SensorResponse
from bcsim.effects.sensor_speech import SensorSpeech
from bcsim.fitting.alignment.align import align
from bcsim.fitting.cross_validation import cross_validate, cut, fold_items, folds_of
from bcsim.fitting.estimation import make_estimator
from bcsim.fitting.mean_sensor import fit_mean_sensor
from bcsim.fitting.residual import (
    dynamics,
    measured_calibration,
    measured_residual,
    prediction_errors,
    wearer_curves,
    with_residual,
)
from bcsim.fitting.simulation import simulate
from bcsim.simulator import Simulator

RATE = 16_000


@pytest.fixture(scope="module")
def aligned(systems):
    return align(systems.spoken(RATE, count=4, seconds=4), RATE)[0]


@pytest.fixture(scope="module")
def trial(aligned):
    estimator = make_estimator("speech-classes")
    folds = folds_of([(pair.talker, pair.name) for pair in aligned])
    fits = {"classes": lambda part: fit_mean_sensor(part, estimator).profile}
    return cross_validate(aligned, folds, fits)["classes"]


def test_folds_cover_everything_once_and_never_part_a_talker():
    keys = [(f"talker {index % 5}", str(index)) for index in range(13)]
    folds = folds_of(keys)
    assert sorted(index for fold in folds for index in fold) == list(range(13))
    assert len(folds) == 4
    for fold in folds:
        inside = {keys[index][0] for index in fold}
        outside = {keys[index][0] for index in range(13) if index not in fold}
        assert not inside & outside


def test_without_three_names_recordings_are_held_out_one_by_one():
    assert folds_of([("ann", "1"), ("ann", "2"), (None, "3")]) == [{0}, {1}, {2}]


def test_a_fit_never_sees_what_it_is_judged_on(aligned):
    seen = []

    def fit(part):
        seen.append({pair.name for pair in part})
        return fit_mean_sensor(part, make_estimator("power-ratio")).profile

    trial = cross_validate(aligned, [{0, 1}, {2, 3}], {"any": fit})["any"]
    names = [pair.name for pair in aligned]
    assert seen == [set(names[2:]), set(names[:2])]
    assert [pair.name for pair, _ in trial.predictions] == names


def test_a_long_recording_is_cut_into_parts_that_make_it_up(aligned):
    whole = aligned[0]
    parts = cut(whole, 2)
    assert torch.equal(torch.cat([part.air[:] for part in parts]), whole.air[:])
    assert torch.equal(torch.cat([part.bone[:] for part in parts]), whole.bone[:])
    assert len(fold_items([whole])) == 2  # 4 s are two parts of 1.5 s or more


def test_of_a_recording_of_many_parts_evenly_spread_ones_are_held_out(aligned, monkeypatch, caplog):
    """Cross-validation of an hour took 120 parts times the candidates times the folds."""
    monkeypatch.setattr("bcsim.fitting.cross_validation.MAX_PART_S", 0.25)
    monkeypatch.setattr("bcsim.fitting.cross_validation.MAX_PARTS", 6)
    monkeypatch.setattr(cut, "__defaults__", (0.25,))
    caplog.set_level("INFO", "bcsim")
    every = cut(aligned[0], 16)
    kept = [part.name for part in fold_items(aligned[:1])]
    assert len(every) > 9
    assert len(kept) == 6
    places = [[part.name for part in every].index(name) for name in kept]
    assert max(np.diff(places)) - min(np.diff(places)) <= 1
    assert places[0] <= 1
    assert places[-1] >= len(every) - 2
    assert f"6 of {len(every)} parts" in caplog.text
    assert len(fold_items(aligned[:2])) == 8  # four of each recording at least


def test_a_short_recording_stays_whole(aligned):
    short = dataclasses.replace(aligned[0], air=aligned[0].air[:RATE], bone=aligned[0].bone[:RATE])
    assert cut(short, 4) == [short]


def test_a_trial_is_simulated_upright_and_without_delay_whatever_the_polarity(
    speaking_sensor, systems
):
    """Aligned pairs are upright; a sensor that inverts is simulated the other way round."""
    air = torch.from_numpy(systems.speech_like(1, RATE, 3.0))
    upright = dataclasses.replace(speaking_sensor, polarity=1)
    assert speaking_sensor.polarity == -1
    assert torch.equal(simulate(speaking_sensor, air, "a"), simulate(upright, air, "a"))
    chain = (SensorSpeech(upright), SensorResponse(upright), SensorNoise(upright))
    simulated = Simulator(chain, RATE).render(air[None], ["a"], seed=0, mean=True).bone[0]
    assert torch.equal(simulate(speaking_sensor, air, "a"), simulated)


def test_without_noise_only_the_noise_is_missing(speaking_sensor, systems):
    air = torch.from_numpy(systems.speech_like(1, RATE, 3.0))
    air = air - air.mean()  # no sensor picks up more
    noise = simulate(speaking_sensor, air, "a") - simulate(speaking_sensor, air, "a", noise=False)
    effect = Simulator((SensorNoise(speaking_sensor),), RATE)
    alone = effect.render(air[None], ["a"], seed=0, mean=True).bone[0] - air
    torch.testing.assert_close(noise, alone, rtol=0, atol=1e-9)


def test_with_the_residual_simulated_speech_moves_as_much_as_real(trial):
    """Held-out recordings of a sensor that also fluctuates at random, as no prediction can know."""
    generator = np.random.default_rng(8)
    moved = []
    for pair, profile in trial.predictions:
        steps = generator.normal(0, 6, len(pair.bone) // 400 + 2)
        gain_db = np.interp(np.arange(len(pair.bone)) / 400, np.arange(len(steps)), steps)
        bone = pair.bone * torch.from_numpy(10 ** (gain_db / 20))
        moved.append((dataclasses.replace(pair, bone=bone), profile))
    residual = measured_residual(*prediction_errors(moved), moved)
    assert dynamics(moved) < 0.97
    assert dynamics(with_residual(moved, residual)) == pytest.approx(1.0, abs=0.04)
    assert 0 < residual.ar_coefficient < 1


def test_the_calibration_is_half_of_what_a_known_regression_asks_for():
    """Levels of new recordings deviate 0.4 as far as predicted, beside what no one can predict."""
    generator = np.random.default_rng(3)
    predicted = [torch.from_numpy(generator.normal(mean, 6, (4000, 5))) for mean in (-30.0, -20.0)]
    errors = [
        -0.6 * (level - level.mean(dim=0)) + 8 + torch.from_numpy(generator.normal(0, 3, (4000, 5)))
        for level in predicted
    ]
    errors[0][::2, 1] = torch.nan  # hidden by noise
    found = measured_calibration(errors, predicted)
    np.testing.assert_allclose(found.slope, 1 - 0.5 * 0.6, atol=0.02)
    np.testing.assert_allclose(found.mean_db, -25, atol=0.3)


def test_a_wearer_with_more_treble_shows_in_his_curve(trial):
    """+4 dB above 3 kHz on the first recording alone."""
    pair, profile = trial.predictions[0]
    spectrum = torch.fft.rfft(pair.bone)
    hz = torch.fft.rfftfreq(len(pair.bone), 1 / RATE)
    spectrum[hz > 3000] *= 10 ** (4 / 20)
    brighter = dataclasses.replace(pair, bone=torch.fft.irfft(spectrum, len(pair.bone)))
    changed = [(brighter, profile), *trial.predictions[1:]]
    before, after = (
        wearer_curves(prediction_errors(predictions)[0], predictions)[0][0].numpy()
        for predictions in (trial.predictions, changed)
    )
    grid = profile.transfer_function.frequencies_hz
    rise = (after - before)[(grid > 4000) & (grid < 7000)].mean()
    fall = (after - before)[(grid > 300) & (grid < 2000)].mean()
    assert rise - fall == pytest.approx(4.0, abs=0.5)


def test_the_shape_of_a_wearer_does_not_hold_his_level(trial):
    """A recording 6 dB louder in the bass, where most of its power is: level, and less treble."""
    errors, _ = prediction_errors(trial.predictions)
    louder = [error + torch.linspace(6, 0, error.shape[1]) for error in errors]
    curve = wearer_curves(louder, trial.predictions)[0][0]
    pair, profile = trial.predictions[0]
    hz = torch.linspace(0, RATE / 2, len(curve), dtype=torch.float64)
    clean = simulate(profile, pair.air, pair.name, noise=False)
    spectrum = torch.fft.rfft(clean).abs().square()
    power = torch.nn.functional.adaptive_avg_pool1d(spectrum[None], len(hz))[0]
    rise = 10 * ((power * 10 ** (curve / 10)).sum() / power.sum()).log10()
    assert abs(float(rise)) < 1.0


def test_minutes_are_held_out_in_parts(aligned):
    pair = aligned[0]
    long = dataclasses.replace(
        pair, air=pair.air.repeat(20), bone=pair.bone.repeat(20), seconds=20 * pair.seconds
    )
    assert max(unit.seconds for unit in fold_items([long, *aligned])) <= 30
