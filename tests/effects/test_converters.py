"""What amplifier, converter and clock do to a signal, against closed forms."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import integrate

from bcsim.dsp.resample import resample_clock
from bcsim.effects.band_limit import BandLimit
from bcsim.effects.base import Scene, stack_draws
from bcsim.effects.clock_drift import ClockDrift
from bcsim.effects.distributions import Constant
from bcsim.effects.quantisation import Quantisation
from bcsim.effects.saturation import Saturation

RATE = 16_000


def tone(frequency_hz, amplitude=1.0, num_samples=RATE):
    time_s = torch.arange(num_samples).double() / RATE
    return amplitude * torch.cos(2 * math.pi * frequency_hz * time_s)


def apply(effect, air, **scene):
    drawn = stack_draws([effect.sample(0, str(k), "step") for k in range(len(air))])
    return effect.apply(dataclasses.replace(Scene.from_air(air, RATE), **scene), drawn).bone


def amplitude(out, frequency_hz):
    """The amplitude of a whole number of periods in one second."""
    return 2 * torch.fft.rfft(out)[..., frequency_hz].abs() / out.shape[-1]


def fundamental(curve, drive):
    """The first Fourier coefficient of the clipped cosine, over the limit."""
    if curve == "hard":  # the describing function of a limiter
        ratio = min(1.0, 1 / drive)
        return drive * 2 / math.pi * (math.asin(ratio) + ratio * math.sqrt(1 - ratio**2))
    if curve == "cubic":  # cos^3 = 3/4 cos + 1/4 cos 3x
        assert drive <= 1.5
        return drive - 4 / 27 * 3 / 4 * drive**3
    return integrate.quad(
        lambda x: 2 / math.pi * math.tanh(drive * math.cos(x)) * math.cos(x), 0, math.pi
    )[0]


@pytest.mark.parametrize(
    ("curve", "drive"),
    [("tanh", 0.1), ("tanh", 1), ("tanh", 4), ("hard", 0.9), ("hard", 3), ("cubic", 1.4)],
)
def test_a_clipped_tone_keeps_the_fundamental_of_its_curve(sensor, curve, drive):
    effect = Saturation(sensor, Constant(-6.0), curve, relative_to="full_scale")
    limit = 10 ** (-6 / 20)
    # Harmonics of 40 Hz reach half the sample rate after 200 of them: little folds back on it.
    out = apply(effect, tone(40, drive * limit)[None])[0]
    assert amplitude(out, 40).item() == pytest.approx(limit * fundamental(curve, drive), rel=2e-4)
    assert out.abs().max().item() <= limit


@pytest.mark.parametrize("curve", ["tanh", "cubic", "hard"])
def test_what_is_small_goes_through_and_what_is_loud_meets_the_limit(sensor, curve):
    effect = Saturation(sensor, Constant(0.0), curve, relative_to="full_scale")
    quiet = 1e-4 * torch.linspace(-1, 1, 1000).double()[None]
    assert torch.allclose(apply(effect, quiet), quiet, rtol=1e-7, atol=0)
    loud = torch.tensor([[-1000.0, 1000.0]]).double()
    assert apply(effect, loud).tolist() == [[-1.0, 1.0]]


def test_the_limit_stands_above_active_speech_at_the_sensor(sensor, speech):
    effect = Saturation(sensor, Constant(6.0), "hard")
    level = Scene.from_air(speech, RATE).speech_level() * 10 ** (sensor.level_db / 20)
    out = apply(effect, speech)
    expected = level * 10 ** (6 / 20)
    assert torch.allclose(out.abs().amax(-1), expected, rtol=1e-12)
    # and louder recordings are clipped alike
    assert torch.allclose(apply(effect, 10 * speech), 10 * out, rtol=1e-9, atol=0)


@pytest.mark.parametrize(("dither", "steps_squared"), [(False, 1 / 12), (True, 1 / 4)])
def test_the_error_of_quantisation_has_the_known_variance(sensor, speech, dither, steps_squared):
    effect = Quantisation(sensor, Constant(10.0), Constant(30.0), dither)
    scene = Scene.from_air(speech.repeat(1, 4), RATE)
    level = scene.speech_level() * 10 ** ((sensor.level_db + 30) / 20)
    step = 2 * level / 2**10
    noise = 20 * step[:, None] * torch.randn(2, 96_000, generator=torch.Generator().manual_seed(0))
    drawn = stack_draws([effect.sample(0, c, "s") for c in "ab"])
    out = effect.apply(scene.with_bone(noise), drawn).bone
    error = (out - noise) / step[:, None]
    assert error.square().mean().item() == pytest.approx(steps_squared, rel=0.02)
    assert torch.allclose((out / step[:, None]).round(), out / step[:, None], rtol=0, atol=1e-9)


def test_dither_frees_the_mean_error_from_the_signal(sensor, speech):
    """Without it a constant of 0.3 steps is rounded away; with it its mean comes through."""
    scene = Scene.from_air(speech.repeat(1, 4), RATE)
    step = 2 * scene.speech_level() * 10 ** ((sensor.level_db + 30) / 20) / 2**10
    constant = (0.3 * step[:, None]).expand(-1, 96_000)
    for dither, expected in ((False, 0.0), (True, 0.3)):
        effect = Quantisation(sensor, Constant(10.0), Constant(30.0), dither)
        drawn = stack_draws([effect.sample(0, c, "s") for c in "ab"])
        out = effect.apply(scene.with_bone(constant), drawn).bone / step[:, None]
        # half a step's deviation over so many samples
        assert torch.allclose(out.mean(-1), torch.tensor(expected).double(), rtol=0, atol=8e-3)


def test_the_converter_has_as_many_steps_as_its_bits_and_clips_at_both_ends(sensor, speech):
    effect = Quantisation(sensor, Constant(4.0), Constant(10.0))
    scene = Scene.from_air(speech, RATE)
    full_scale = scene.speech_level() * 10 ** ((sensor.level_db + 10) / 20)
    ramp = torch.linspace(-2, 2, speech.shape[1]).double() * full_scale[:, None]
    drawn = stack_draws([effect.sample(0, c, "s") for c in "ab"])
    out = effect.apply(scene.with_bone(ramp), drawn).bone / full_scale[:, None]
    for row in out:
        assert torch.allclose(row.unique(), torch.arange(-8, 8).double() / 8, atol=1e-12)


@pytest.mark.parametrize(("rate_hz", "frequency_hz"), [(3200, 2900), (3210.5, 2500), (8000, 6100)])
def test_a_tone_above_half_the_sensors_rate_folds_down(rate_hz, frequency_hz):
    effect = BandLimit(Constant(rate_hz), aliasing=True)
    out = apply(effect, tone(frequency_hz)[None])[0]
    middle = slice(2000, -2000)
    folded = rate_hz - frequency_hz
    assert (out - tone(folded))[middle].abs().max().item() < 2e-3


def test_a_tone_above_twice_the_sensors_rate_folds_more_than_once():
    out = apply(BandLimit(Constant(1600.0), aliasing=True), tone(7000)[None])[0]
    assert (out - tone(7000 - 4 * 1600))[2000:-2000].abs().max().item() < 2e-3


@pytest.mark.parametrize("aliasing", [False, True])
@pytest.mark.parametrize("rate_hz", [1600.0, 3333.3, 16_000.0])
def test_what_the_sensor_can_sample_comes_through_without_delay(aliasing, rate_hz):
    effect = BandLimit(Constant(rate_hz), aliasing)
    low = tone(500)
    assert (apply(effect, low[None])[0] - low)[2000:-2000].abs().max().item() < 2e-3


def test_a_good_filter_leaves_nothing_to_fold():
    out = apply(BandLimit(Constant(3200.0)), tone(1601)[None])[0]
    assert out[2000:-2000].abs().max().item() < 10 ** (-70 / 20)


def test_a_sensor_at_the_pairs_own_rate_changes_nothing(speech):
    for aliasing in (False, True):
        out = apply(BandLimit(Constant(16_000.0), aliasing), speech)
        assert torch.allclose(out, speech, rtol=0, atol=1e-13)


@pytest.mark.parametrize("drift_ppm", [-188.0, 100.0])
def test_a_late_click_is_later_by_the_drift(drift_ppm):
    time_s, late = torch.arange(20 * RATE).double() / RATE, 18.0

    def click(at_s):  # of 1 kHz bandwidth
        return torch.exp(-((time_s - at_s) * 2 * math.pi * 1000).square() / 2)

    out = apply(ClockDrift(Constant(drift_ppm)), click(late)[None])[0]
    expected = click(late * (1 + 1e-6 * drift_ppm))
    assert (out - expected).abs().max().item() < 1e-3
    assert (out - click(late)).abs().max().item() > 0.5


def test_resampling_by_the_estimated_drift_undoes_it(speech):
    smooth = apply(BandLimit(Constant(8000.0)), speech)
    out = apply(ClockDrift(Constant(250.0)), smooth)[0].numpy()
    again = resample_clock(out, 250e-6)
    error = again[500:20_000] - smooth[0, 500:20_000].numpy()
    assert np.abs(error).max() < 2e-3 * smooth.abs().max().item()


def test_a_slow_clock_ends_in_silence():
    out = apply(ClockDrift(Constant(-1e4)), torch.ones(1, RATE).double())[0]
    assert out[: RATE - 200][100:].sub(1).abs().max().item() < 1e-3
    assert out[RATE - 100 :].abs().max().item() < 1e-3
