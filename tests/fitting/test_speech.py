"""The speech-dependent part: found where it exists, of its size, and blind to the level."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from bcsim.dsp.filter_bank import FilterBank
from bcsim.effects.base import Scene, stack_draws
from bcsim.effects.sensor_speech import SensorSpeech
from bcsim.fitting.alignment.align import align
from bcsim.fitting.estimation import make_estimator
from bcsim.fitting.mean_sensor import fit_mean_sensor
from bcsim.fitting.simulation import simulate
from bcsim.sensors.responses.band_gain_network import (
    MAX_VALUE,
    MIN_INPUT_STD,
    OFFSETS,
    NetworkResponse,
)
from bcsim.sensors.responses.base import (
    SPEECH_RESPONSES,
    SpeechResponse,
    around,
    relative_levels,
)
from bcsim.sensors.responses.residual import LIMIT_DB, Calibration, Residual

RATE = 16_000
VOWEL_OVER_FRICATIVE_DB = 14.0


@pytest.fixture(scope="module", params=list(SPEECH_RESPONSES))
def fitted(request, systems):
    aligned, _ = align(systems.spoken(RATE, count=4, seconds=5), RATE)
    return fit_mean_sensor(aligned, make_estimator(request.param)).profile


def total_gain_db(profile, air: np.ndarray, sound: np.ndarray, band_hz) -> float:
    """Return the power gain of one sound in a band, in dB, through the whole sensor."""
    clean = simulate(profile, torch.from_numpy(air), "a", noise=False).numpy()
    spectra = [np.fft.rfft(x * sound) for x in (air, clean)]
    hz = np.fft.rfftfreq(len(air), 1 / RATE)
    inside = (hz > band_hz[0]) & (hz < band_hz[1])
    power = [np.sum(np.abs(spectrum[inside]) ** 2) for spectrum in spectra]
    return 10 * np.log10(power[1] / power[0])


def test_the_gain_of_each_sound_is_recovered(fitted, systems):
    """Known truth: a one-pole low-pass, and 14 dB between a dull and a bright sound.

    The middle of each sound alone, on air that the fit has not heard. 1.5 dB: a network learns
    from 15 s; a wrong sign or a missing class would be 14 dB off.
    """
    air, which = systems.two_sounds(99, RATE, 8.0)
    settled = np.convolve(np.diff(which, prepend=which[0]) != 0, np.ones(1600), "same") < 0.5
    dull, bright = (settled & (which == sound) for sound in (0, 1))
    vowel_db = total_gain_db(fitted, air, dull, (200, 800))
    fricative_db = total_gain_db(fitted, air, bright, (2000, 4500))
    lowpass_db = [
        10 * np.log10(np.mean(np.abs(systems.response_of(
            systems.signal.butter(1, 1200, fs=RATE), np.linspace(*band, 50), RATE)) ** 2))
        for band in ((200, 800), (2000, 4500))
    ]  # fmt: skip
    difference = (vowel_db - lowpass_db[0]) - (fricative_db - lowpass_db[1])
    assert difference == pytest.approx(VOWEL_OVER_FRICATIVE_DB, abs=1.5)


def test_the_level_of_simulated_speech_is_that_of_the_recordings(fitted, systems):
    pairs = systems.spoken(RATE, count=2, seconds=5)
    aligned, _ = align(pairs, RATE)
    for pair in aligned:
        air = pair.air[:]
        clean = simulate(fitted, air, pair.name, noise=False)
        have = 10 * np.log10(float(clean.square().mean() / air.square().mean()))
        assert have == pytest.approx(pair.level_db, abs=1.5)


def test_gains_do_not_depend_on_the_level_of_air(fitted, systems):
    air = torch.from_numpy(systems.two_sounds(5, RATE, 2.0)[0])[None]
    bank = FilterBank(RATE)
    quiet, loud = (fitted.speech.gains_db(bank.levels_db(scale * air)) for scale in (0.01, 1.0))
    torch.testing.assert_close(quiet, loud, rtol=0, atol=1e-6)


def test_what_is_stored_predicts_the_same(fitted, systems):
    speech = fitted.speech
    common = {"sample_rate": RATE, "level_db": speech.level_db, "residual": None}
    again = type(speech).from_arrays(common, speech.arrays())
    bank = FilterBank(RATE)
    levels = bank.levels_db(torch.from_numpy(systems.two_sounds(5, RATE, 1.0)[0])[None])
    assert torch.equal(again.gains_db(levels), speech.gains_db(levels))


@pytest.mark.parametrize("damage", ["cut", "infinite"])
def test_damaged_arrays_are_refused(fitted, damage):
    speech = fitted.speech
    common = {"sample_rate": RATE, "level_db": 0.0, "residual": None}
    for name, values in speech.arrays().items():
        broken = values[:-1] if damage == "cut" else np.full_like(values, np.inf)
        with pytest.raises((ValueError, IndexError)):
            type(speech).from_arrays(common, {**speech.arrays(), name: broken})


def test_a_drawn_residual_has_the_covariance_and_ar_coefficient_it_was_given():
    generator = np.random.default_rng(1)
    factor = generator.standard_normal((6, 6))
    residual = Residual(factor, ar_coefficient=0.8, level_correction_db=1.5)
    trajectory = residual.draw(torch.tensor([3]), 60_000)[0].numpy() + 1.5
    covariance = trajectory.T @ trajectory / len(trajectory)
    assert np.abs(covariance - factor @ factor.T).max() < 0.06 * np.abs(factor @ factor.T).max()
    lag_one = (trajectory[1:] * trajectory[:-1]).sum() / (trajectory**2).sum()
    assert lag_one == pytest.approx(0.8, abs=0.02)


def test_any_segment_of_a_trajectory_can_be_drawn_by_itself():
    residual = Residual(np.eye(4), ar_coefficient=0.5, level_correction_db=0.0)
    whole = residual.draw(torch.tensor([6, 7]), 80)
    assert torch.equal(residual.draw(torch.tensor([7]), 50, first=20)[0], whole[1, 20:70])


def test_frames_around_stop_at_each_clips_own_ends():
    values = torch.arange(10.0)[None, :, None].repeat(2, 1, 1)
    found = around(values, (-2, 0, 3), torch.tensor([10, 6]))
    assert found[0, 0, :, 0].tolist() == [0, 0, 3]
    assert found[0, 9, :, 0].tolist() == [7, 9, 9]
    assert found[1, 4, :, 0].tolist() == [2, 4, 5]


def test_levels_are_relative_to_active_speech_whatever_the_pauses():
    generator = np.random.default_rng(2)
    bank = FilterBank(RATE)
    levels = torch.from_numpy(generator.uniform(-10, 0, (1, 100, bank.num_bands)))
    paused = torch.cat([levels, torch.full((1, 100, bank.num_bands), -90.0)], dim=1)
    alone = relative_levels(bank, levels, torch.tensor([100]))
    beside = relative_levels(bank, paused, torch.tensor([200]))[:, :100]
    torch.testing.assert_close(alone, beside, rtol=0, atol=0.3)


def applied(response: SpeechResponse, sensor, air: torch.Tensor) -> torch.Tensor:
    """Return what the response makes of air (B, T), with its residual."""
    effect = SensorSpeech(dataclasses.replace(sensor, speech=response))
    drawn = stack_draws([effect.sample(0, str(clip), "step", False) for clip in range(len(air))])
    return effect.apply(Scene.from_air(air, RATE), drawn).bone


def test_a_residual_of_100_db_leaves_float32_air_finite_and_within_the_limit(
    speaking_sensor, speech
):
    air = speech.float()
    wild = dataclasses.replace(
        speaking_sensor.speech,
        residual=Residual(np.full((40, 40), 100.0), 0.9, level_correction_db=0.0),
    )
    out = applied(wild, speaking_sensor, air)
    assert out.dtype == torch.float32
    assert bool(out.isfinite().all())
    # Four frames overlap: none is louder than by the limit, nor is their sum by twice that.
    assert float(out.norm()) < 2 * 10 ** (LIMIT_DB / 20) * float(air.norm())


def test_a_drawn_residual_adds_to_the_gains_up_to_the_limit(speaking_sensor):
    generator = torch.Generator().manual_seed(2)
    gains = 80 * torch.rand(2, 60, 40, generator=generator, dtype=torch.float64) - 40
    response = speaking_sensor.speech
    levels = 30 * torch.rand(2, 60, 40, generator=generator, dtype=torch.float64) - 40
    seeds, scales = torch.tensor([5, 6]), torch.tensor([[[2.0]], [[0.5]]])
    drawn = response.with_residual(gains, levels, seeds, scales)
    calibration = response.residual.calibration
    for clip, (seed, scale, part) in enumerate([(5, 2.0, 1.0), (6, 0.5, 0.5)]):
        trajectory = response.residual.draw(torch.tensor([seed]), 60)[0].numpy()
        predicted = (levels + gains)[clip].numpy()
        change = (calibration.slope - 1) * np.clip(predicted - calibration.mean_db, -25, 25)
        expected = gains[clip].numpy() + scale * trajectory + part * change
        expected = np.clip(expected, -LIMIT_DB, LIMIT_DB)
        np.testing.assert_allclose(drawn[clip].numpy(), expected, rtol=0, atol=1e-12)
    assert float(drawn.abs().max()) == LIMIT_DB


def test_without_its_residual_a_response_is_the_mean_one(speaking_sensor, speech):
    """The mean rendering is what was fitted, whatever was calibrated for draws."""
    effect = SensorSpeech(speaking_sensor)
    drawn = stack_draws([effect.sample(0, str(clip), "step", True) for clip in range(2)])
    bare = SensorSpeech(
        dataclasses.replace(
            speaking_sensor, speech=dataclasses.replace(speaking_sensor.speech, residual=None)
        )
    )
    scene = Scene.from_air(speech, RATE)
    assert torch.equal(effect.apply(scene, drawn).bone, bare.apply(scene, drawn).bone)


@pytest.mark.parametrize(
    ("slope", "mean_db", "told"),
    [
        (np.full(40, 1.1), np.zeros(40), "slope of the residual is not within 0 and 1"),
        (np.full(40, np.nan), np.zeros(40), "slope of the residual is not within 0 and 1"),
        (np.ones(40), np.full(40, np.inf), "mean_db of the residual is not within 200 dB"),
        (np.ones(40), np.zeros(39), r"have shapes \(40,\) and \(39,\)"),
    ],
)
def test_a_calibration_that_cannot_be_is_refused(slope, mean_db, told):
    with pytest.raises(ValueError, match=told):
        Calibration(slope, mean_db)


def test_a_calibration_has_the_bands_of_its_residual():
    with pytest.raises(ValueError, match="slope of the residual has not 4 bands"):
        Residual(np.eye(4), 0.5, 0.0, Calibration(np.ones(3), np.zeros(3)))


def test_the_wildest_network_that_is_accepted_leaves_float32_air_finite(sensor, speech):
    width, size = 900, len(OFFSETS) * 40
    sizes = [(size, width), (width, width), (width, width), (width, 40)]

    def full(*shape: int, value: float = MAX_VALUE) -> np.ndarray:
        return np.full(shape, value, np.float32)

    wild = NetworkResponse(
        sample_rate=RATE,
        level_db=LIMIT_DB,
        residual=None,
        input_mean=full(size, value=-MAX_VALUE),
        input_std=full(size, value=MIN_INPUT_STD),
        weights=tuple(full(1, *shape) for shape in sizes),
        biases=tuple(full(1, shape[1]) for shape in sizes),
        mean_db=full(40),
    )
    out = applied(wild, sensor, speech[:, :4000].float())
    assert bool(out.isfinite().all())


@pytest.mark.parametrize("coefficient", [-0.1, 0.9999999, 1.0, math.nan])
def test_a_residual_that_decays_too_slowly_to_be_drawn_is_refused(coefficient):
    with pytest.raises(ValueError, match="ar_coefficient of the residual"):
        Residual(np.eye(4), coefficient, level_correction_db=0.0)
