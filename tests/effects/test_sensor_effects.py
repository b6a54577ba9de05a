"""The effects of a fitted sensor, against what the profile says in numbers."""

import math

import numpy as np
import pytest
import torch
from scipy import signal

from bcsim.dsp.activity import speech_rms
from bcsim.effects.base import Scene, stack_draws
from bcsim.effects.distributions import Constant, Normal, Uniform
from bcsim.effects.gain import Gain
from bcsim.effects.peak_limit import PeakLimit
from bcsim.effects.sensor_delay import SensorDelay
from bcsim.effects.sensor_level import SensorLevel
from bcsim.effects.sensor_noise import SensorNoise
from bcsim.effects.sensor_response import SensorResponse
from bcsim.simulator import Simulator

RATE = 16_000


def apply(effect, air, mean=True, clip_ids=None):
    ids = clip_ids or [str(k) for k in range(len(air))]
    drawn = stack_draws([effect.sample(0, clip_id, "step", mean) for clip_id in ids])
    return effect.apply(Scene.from_air(air, RATE), drawn).bone


def test_an_impulse_comes_out_as_the_profiles_impulse_response(sensor):
    impulse = torch.zeros(1, 4000).double()
    impulse[0, 2000] = 1
    out = apply(SensorResponse(sensor), impulse)[0].numpy()
    taps, centre = sensor.impulse_response()
    start = 2000 - centre
    # all but the tap at half the grid, which counts half before and half after
    assert np.abs(out[start + 1 : start + len(taps)] - taps[1:]).max() < 1e-12
    assert np.abs(out[: start - 1]).max() < 1e-9


def test_the_mean_response_is_a_butterworth_with_the_sensors_polarity(sensor, speech):
    butterworth = signal.butter(2, 800, fs=RATE, output="sos")
    expected = -0.5 * np.asarray(signal.sosfilt(butterworth, speech.numpy()))
    out = apply(SensorResponse(sensor), speech).numpy()
    # the profile's grid holds the tail of the response up to 16 ms
    assert np.abs(out - expected).max() < 1e-4 * np.abs(expected).max()


def test_a_wearer_moves_the_response_along_the_components(sensor):
    impulse = torch.zeros(1, 4000).double()
    impulse[0, 2000] = 1
    effect = SensorResponse(sensor, wearer=Normal(0, 1, size=8))
    draw = effect.sample(7, "someone", "step")
    out = effect.apply(Scene.from_air(impulse, RATE), stack_draws([draw])).bone[0]
    mean = apply(SensorResponse(sensor), impulse)[0]
    gain_db = 20 * torch.log10(torch.fft.rfft(out).abs() / torch.fft.rfft(mean).abs())
    grid = np.fft.rfftfreq(4000, 1 / RATE)
    on_grid = np.array(draw["wearer"])[:3] @ sensor.spread_components_db
    expected = np.interp(grid, sensor.transfer_function.frequencies_hz, on_grid)
    below = grid < 4000  # above, the Butterworth's response is too small to compare with
    assert np.abs(gain_db.numpy() - expected)[below].max() < 0.05


def test_wearers_differ_as_much_as_the_profile_says(sensor):
    effect = SensorResponse(sensor)
    impulse = torch.zeros(400, 2048).double()
    impulse[:, 1024] = 1
    out = apply(effect, impulse, mean=False)
    level_db = 20 * torch.log10(torch.fft.rfft(out).abs()[:, 32])
    at_250_hz = sensor.spread_db[8]
    assert level_db.std().item() == pytest.approx(at_250_hz, rel=0.12)


def test_the_noise_floor_has_the_fitted_spectrum_and_level(sensor, speech):
    air = speech[:1].repeat(1, 20)
    noise = (apply(SensorNoise(sensor), air) - air)[0].numpy()
    frequencies, psd = signal.welch(noise, RATE, nperseg=512)
    level = speech_rms(air, RATE).item() * 10 ** (sensor.level_db / 20)
    expected = sensor.noise_psd * level**2
    ratio_db = 10 * np.log10(psd / expected)[2:-2]
    assert np.array_equal(frequencies, sensor.transfer_function.frequencies_hz)
    assert abs(ratio_db.mean()) < 0.1
    assert np.abs(ratio_db).max() < 1.5


def test_speech_and_noise_scale_together(sensor, speech):
    effects = (SensorResponse(sensor), SensorNoise(sensor), SensorLevel(sensor))
    simulator = Simulator(effects, RATE)
    quiet = simulator.render(speech, ["a", "b"], seed=1).bone
    loud = simulator.render(10 * speech, ["a", "b"], seed=1).bone
    assert torch.allclose(loud, 10 * quiet, rtol=1e-9, atol=1e-12)


def test_the_level_spreads_as_between_recordings(sensor):
    effect = SensorLevel(sensor)
    ones = torch.ones(500, 4).double()
    level_db = 20 * torch.log10(apply(effect, ones, mean=False)[:, 0])
    assert level_db.std().item() == pytest.approx(sensor.level_std_db, rel=0.1)
    assert abs(level_db.mean().item()) < 0.6


def test_the_mean_level_can_be_set_whatever_the_knobs_stood_at(sensor):
    out = apply(SensorLevel(sensor, Constant(0.0), mean_db=2.0), torch.ones(1, 4).double())
    assert 20 * math.log10(out[0, 0].item()) == pytest.approx(2.0 - sensor.level_db)


def test_the_sensors_own_delay_has_its_size_and_sign(sensor, speech):
    out = apply(SensorDelay(sensor), speech)[0].numpy()
    upsampled = signal.resample_poly(out, 20, 1), signal.resample_poly(speech[0].numpy(), 20, 1)
    lag = np.correlate(upsampled[0][:60_000], upsampled[1][:60_000], mode="same").argmax() - 30_000
    assert lag / (20 * RATE) == pytest.approx(-0.45e-3, abs=1 / (20 * RATE))


def test_gain_is_in_decibels(speech):
    assert torch.allclose(apply(Gain(Constant(20.0)), speech), 10 * speech)


def test_the_limiter_turns_down_and_never_up(speech):
    loud = torch.cat([speech[:1] * 20, speech[1:] * 0.1])
    scene = PeakLimit(0.99).apply(Scene.from_air(loud, RATE), {})
    out = scene.bone
    assert torch.equal(scene.air, scene.bone)  # both sides by one factor
    assert out[0].abs().max().item() == pytest.approx(0.99)
    assert torch.allclose(out[0] / out[0].abs().max(), loud[0] / loud[0].abs().max())
    assert torch.equal(out[1], loud[1])
    assert scene.gains is not None
    assert torch.allclose(scene.gains["air"][:, None] * loud, scene.air)
    again = PeakLimit(0.5).apply(scene, {})
    assert again.gains is not None
    assert torch.allclose(again.gains["bone"][:, None] * loud, again.bone)


def test_a_sensor_that_is_too_loud_is_turned_down_by_itself_on_demand(speech):
    """All that the air microphone picks up keeps its level, and so does what is in its noise."""
    air = 0.5 * speech / speech.abs().max()
    scene = Scene.from_air(air, RATE).with_ambient(0.1 * air.roll(5)).with_bone(8 * air)
    out = PeakLimit(together=False).apply(scene, {})
    assert out.air is scene.air  # the file is copied as it is
    assert out.microphone is scene.microphone
    assert out.bone.abs().amax(dim=-1).max() == 1
    assert out.gains is not None
    torch.testing.assert_close(out.gains["bone"][:, None] * scene.bone, out.bone)
    loud = PeakLimit(0.25, together=False).apply(scene, {})
    assert loud.ambient is not None
    assert loud.noisy_air is not None
    torch.testing.assert_close(loud.noisy_air, loud.air + loud.ambient)
    assert loud.noisy_air.abs().max() <= 0.25


def test_a_sensor_louder_than_the_highest_mean_level_is_rendered_at_that_level(sensor):
    """The known one is 6 dB under air."""
    ones = torch.ones(1, 4).double()
    levels = {limit: SensorLevel(sensor, 0.0, highest_mean_db=limit) for limit in (-10.0, 0.0)}
    assert apply(levels[-10.0], ones)[0, 0].item() == pytest.approx(10 ** (-4 / 20))
    assert torch.equal(apply(levels[0.0], ones), ones)


def test_one_coordinate_a_clip_makes_a_wearer_of_each_clip(sensor):
    """Taken for one wearer's many coordinates, it once gave every clip of a batch the same one."""
    effect = SensorResponse(sensor, Uniform(-2.0, 2.0))
    drawn = stack_draws([effect.sample(0, clip, "step") for clip in "abcd"])
    hz = torch.linspace(0, RATE / 2, 513, dtype=torch.float64)
    together = effect.response(hz, drawn, RATE)
    assert together.shape == (4, 513)
    for row in range(4):
        alone = effect.response(hz, {"wearer": drawn["wearer"][row : row + 1]}, RATE)
        assert torch.allclose(together[row], alone[0])
    assert not torch.allclose(together[0], together[1])
