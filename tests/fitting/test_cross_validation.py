"""Holding out: nothing leaks, the trial renders as the simulator does, the dynamics come out."""

import dataclasses

import numpy as np
import pytest
import torch

from bcsim.effects.sensor_noise import SensorNoise
from bcsim.effects.sensor_response import SensorResponse
from bcsim.effects.sensor_speech import SensorSpeech
from bcsim.fitting.alignment.align import align
from bcsim.fitting.cross_validation import (
    cut,
    dynamics,
    fold_items,
    folds_of,
    measured_residual,
    prediction_errors,
    try_fits,
    wearer_curves,
)
from bcsim.fitting.estimation import make_estimator
from bcsim.fitting.rendering import Rendering, fit_rendering, noise_of
from bcsim.simulator import Simulator

RATE = 16_000


@pytest.fixture(scope="module")
def aligned(systems):
    return align(systems.spoken(RATE, count=4, seconds=4), RATE)[0]


@pytest.fixture(scope="module")
def trial(aligned):
    estimator = make_estimator("speech-classes")
    folds = folds_of([(pair.talker, pair.name) for pair in aligned])
    fits = {"classes": lambda part: fit_rendering(part, estimator).rendering}
    return try_fits(aligned, folds, fits)["classes"]


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
        return fit_rendering(part, make_estimator("power-ratio")).rendering

    trial = try_fits(aligned, [{0, 1}, {2, 3}], {"any": fit})["any"]
    names = [pair.name for pair in aligned]
    assert seen == [set(names[2:]), set(names[:2])]
    assert [pair.name for pair, _ in trial.held_out] == names


def test_a_long_recording_is_cut_into_parts_that_make_it_up(aligned):
    whole = aligned[0]
    parts = cut(whole, 2)
    assert torch.equal(torch.cat([part.air for part in parts]), whole.air)
    assert torch.equal(torch.cat([part.bone for part in parts]), whole.bone)
    assert len(fold_items([whole])) == 2  # 4 s are two parts of 1.5 s or more


def test_a_short_recording_stays_whole(aligned):
    short = dataclasses.replace(aligned[0], air=aligned[0].air[:RATE], bone=aligned[0].bone[:RATE])
    assert cut(short, 4) == [short]


def test_the_trial_renders_what_the_simulator_renders(speaking_sensor, systems):
    """The same equations written twice: fused effects for corpora, one clip at a time for a fit."""
    profile = speaking_sensor
    air = torch.from_numpy(systems.speech_like(1, RATE, 3.0))
    rendering = Rendering(
        profile.transfer_function, profile.noise_psd, profile.level_db, profile.speech
    )
    simulator = Simulator((SensorSpeech(profile), SensorResponse(profile)), RATE)
    simulated = simulator.render(air[None], ["a"], seed=0, mean=True).bone[0]
    torch.testing.assert_close(
        profile.polarity * rendering.clean(air), simulated, rtol=0, atol=1e-9
    )


def test_the_noise_of_a_trial_is_as_loud_as_the_simulators(speaking_sensor, systems):
    profile = speaking_sensor
    air = torch.from_numpy(systems.speech_like(1, RATE, 3.0))
    rendering = Rendering(profile.transfer_function, profile.noise_psd, profile.level_db)
    ours = rendering.simulate(air, 4) - rendering.clean(air)
    effect = Simulator((SensorNoise(profile),), RATE)
    theirs = effect.render(air[None], ["a"], seed=0, mean=True).bone[0] - air
    assert 10 * float((ours.square().mean() / theirs.square().mean()).log10()) == pytest.approx(
        0, abs=0.2
    )


def test_noise_has_the_density_it_was_given():
    psd = np.where(np.linspace(0, RATE / 2, 257) < 1000, 1e-4, 1e-7)
    noise = noise_of(psd, RATE, 40 * RATE, seed=3)
    spectrum = torch.fft.rfft(noise).abs().square() * 2 / (RATE * len(noise))
    hz = torch.fft.rfftfreq(len(noise), 1 / RATE)
    low, high = (float(spectrum[(hz > a) & (hz < b)].mean()) for a, b in ((100, 900), (1500, 7000)))
    assert 10 * np.log10(low / 1e-4) == pytest.approx(0, abs=0.1)
    assert 10 * np.log10(high / 1e-7) == pytest.approx(0, abs=0.1)


def test_with_the_residual_simulated_speech_moves_as_much_as_real(trial):
    """Held-out recordings of a sensor that also fluctuates at random, as no prediction can know."""
    generator = np.random.default_rng(8)
    moved = []
    for pair, rendering in trial.held_out:
        steps = generator.normal(0, 6, len(pair.bone) // 400 + 2)
        gain_db = np.interp(np.arange(len(pair.bone)) / 400, np.arange(len(steps)), steps)
        bone = pair.bone * torch.from_numpy(10 ** (gain_db / 20))
        moved.append((dataclasses.replace(pair, bone=bone), rendering))
    fluctuating = dataclasses.replace(trial, held_out=moved)
    errors = prediction_errors(fluctuating)
    residual = measured_residual(errors, fluctuating)
    drawn = [
        (pair, dataclasses.replace(r, speech=dataclasses.replace(r.speech, residual=residual)))
        for pair, r in moved
    ]
    assert dynamics(moved) < 0.97
    assert dynamics(drawn) == pytest.approx(1.0, abs=0.04)
    assert 0 < residual.ar_coefficient < 1


def test_a_wearer_with_more_treble_shows_in_his_curve(trial):
    """+4 dB above 3 kHz on the first recording alone."""
    pair, rendering = trial.held_out[0]
    spectrum = torch.fft.rfft(pair.bone)
    hz = torch.fft.rfftfreq(len(pair.bone), 1 / RATE)
    spectrum[hz > 3000] *= 10 ** (4 / 20)
    brighter = dataclasses.replace(pair, bone=torch.fft.irfft(spectrum, len(pair.bone)))
    changed = dataclasses.replace(trial, held_out=[(brighter, rendering), *trial.held_out[1:]])
    before, after = (wearer_curves(prediction_errors(t), t)[0][0].numpy() for t in (trial, changed))
    grid = trial.held_out[0][1].response.frequencies_hz
    rise = (after - before)[(grid > 4000) & (grid < 7000)].mean()
    fall = (after - before)[(grid > 300) & (grid < 2000)].mean()
    assert rise - fall == pytest.approx(4.0, abs=0.5)


def test_the_shape_of_a_wearer_does_not_hold_his_level(trial):
    """A recording 6 dB louder in the bass, where most of its power is: level, and less treble."""
    errors = prediction_errors(trial)
    louder = [error + torch.linspace(6, 0, error.shape[1]) for error in errors]
    curve = wearer_curves(louder, trial)[0][0]
    pair, rendering = trial.held_out[0]
    hz = torch.linspace(0, RATE / 2, len(curve), dtype=torch.float64)
    spectrum = torch.fft.rfft(rendering.clean(pair.air)).abs().square()
    power = torch.nn.functional.adaptive_avg_pool1d(spectrum[None], len(hz))[0]
    rise = 10 * ((power * 10 ** (curve / 10)).sum() / power.sum()).log10()
    assert abs(float(rise)) < 1.0


def test_minutes_are_held_out_in_parts(aligned):
    pair = aligned[0]
    long = dataclasses.replace(
        pair, air=pair.air.repeat(20), bone=pair.bone.repeat(20), seconds=20 * pair.seconds
    )
    assert max(unit.seconds for unit in fold_items([long, *aligned])) <= 30
