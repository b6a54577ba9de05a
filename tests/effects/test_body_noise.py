"""Body noise: how often, how loud and in which band, each component by itself."""

import math

import numpy as np
import pytest
import torch
from scipy import signal

from bcsim.effects.base import Scene, stack_draws
from bcsim.effects.body_noise import BodyNoise
from bcsim.effects.distributions import Constant

RATE = 16_000
KINDS = {
    "footstep": "footstep_rate_hz",
    "motion": "motion_rate_per_min",
    "friction": "friction_rate_per_min",
    "heartbeat": "heartbeat_rate_hz",
    "swallow": "swallow_rate_per_min",
}


def noise_of(sensor, num_clips, seconds, **settings):
    """The noise alone, for speech of level 1 at the sensor; components that are not named: off."""
    off = {rate: Constant(0.0) for rate in KINDS.values()}
    given = {key: Constant(value) for key, value in settings.items()}
    effect = BodyNoise(sensor, **(off | given))
    drawn = stack_draws([effect.sample(0, str(k), "step") for k in range(num_clips)])
    silence = torch.zeros(num_clips, round(seconds * RATE)).double()
    level = torch.full((num_clips,), 10 ** (-sensor.level_db / 20)).double()
    scene = Scene(
        air=silence,
        bone=silence,
        lengths=torch.full((num_clips,), silence.shape[1]),
        sample_rate=RATE,
        level=level,
    )
    return effect.apply(scene, drawn).bone


def share_between(noise, low_hz, high_hz):
    power = torch.fft.rfft(noise).abs().square().sum(dim=0)
    hz = torch.fft.rfftfreq(noise.shape[-1], 1 / RATE)
    return (power[(hz >= low_hz) & (hz <= high_hz)].sum() / power.sum()).item()


def test_footsteps_and_motion_lie_below_85_hz(sensor):
    steps = noise_of(sensor, 4, 20, footstep_rate_hz=1.8, footstep_level_db=0.0)
    assert share_between(steps, 0, 85) > 0.999
    moves = noise_of(sensor, 4, 20, motion_rate_per_min=30.0, motion_level_db=0.0)
    assert share_between(moves, 0, 85) > 0.999


def test_the_heart_beats_at_its_rate_between_20_and_60_hz(sensor):
    beats = noise_of(sensor, 3, 40, heartbeat_rate_hz=1.2, heartbeat_level_db=-20.0)
    assert share_between(beats, 20, 60) > 0.9
    for row in beats.numpy():
        envelope = np.abs(np.asarray(signal.hilbert(row)))
        # the second thump is half as loud as the first and comes 0.3 s later
        peaks, _ = signal.find_peaks(envelope, 0.2 * envelope.max(), distance=0.5 * RATE)
        assert abs(len(peaks) - 48) <= 1
        assert np.diff(peaks).mean() / RATE == pytest.approx(1 / 1.2, rel=0.01)


def test_a_beat_has_two_thumps(sensor):
    beats = noise_of(sensor, 1, 40, heartbeat_rate_hz=0.5, heartbeat_level_db=-20.0)[0].numpy()
    envelope = np.abs(np.asarray(signal.hilbert(beats)))
    peaks, _ = signal.find_peaks(envelope, 0.1 * envelope.max(), distance=0.1 * RATE)
    assert abs(len(peaks) - 40) <= 2
    intervals_s = np.diff(peaks) / RATE
    assert np.median(intervals_s[intervals_s < 1]) == pytest.approx(0.3, abs=0.01)


def test_friction_is_short_and_mostly_between_1_and_4_khz(sensor):
    bursts = noise_of(sensor, 10, 20, friction_rate_per_min=30.0, friction_level_db=-20.0)
    assert share_between(bursts, 1000, 4000) > 0.6
    assert share_between(bursts, 500, 6000) > 0.9
    # bursts of 60 ms on average: so much of the time is noisy, at a hundredth of a sample's level
    covered = 1 - math.exp(-0.5 * 0.06)
    noisy = bursts.square().unflatten(-1, (-1, 16)).mean(dim=-1) > 0
    assert noisy.double().mean().item() == pytest.approx(covered, rel=0.2)


def test_swallowing_is_rare_and_lies_below_1_khz(sensor):
    swallows = noise_of(sensor, 20, 30, swallow_rate_per_min=1.0, swallow_level_db=-20.0)
    assert share_between(swallows, 100, 800) > 0.65
    assert share_between(swallows, 50, 2000) > 0.95
    with_one = (swallows != 0).any(dim=-1).double().mean().item()
    assert with_one == pytest.approx(1 - math.exp(-(30 + 0.45) / 60), abs=0.3)


@pytest.mark.parametrize("kind", ["footstep", "motion", "friction", "heartbeat", "swallow"])
def test_levels_are_in_decibels_over_speech_and_a_rate_of_zero_is_silence(sensor, kind):
    rate = KINDS[kind]
    often = 30.0 if rate.endswith("per_min") else 1.0
    soft, loud = (
        noise_of(sensor, 5, 20, **{rate: often, f"{kind}_level_db": level})
        for level in (-20.0, 0.0)
    )
    assert torch.allclose(loud, 10 * soft, rtol=1e-9, atol=1e-15)
    assert loud.abs().max() > 0
    assert noise_of(sensor, 5, 5, **{f"{kind}_level_db": 20.0}).abs().max() == 0


def test_an_events_loudest_moment_has_the_level_asked_for(sensor):
    """A thump's envelope peaks at sqrt(2) times its level; single ones differ by 2 dB."""
    steps = noise_of(sensor, 10, 20, footstep_rate_hz=0.9, footstep_level_db=-6.0)
    peaks_db = []
    for row in steps.numpy():
        envelope = np.abs(np.asarray(signal.hilbert(row))) / math.sqrt(2)
        found, _ = signal.find_peaks(envelope, 0.1, distance=0.6 * RATE)
        peaks_db.extend(20 * np.log10(envelope[found]))
    assert len(peaks_db) > 150
    assert np.mean(peaks_db) == pytest.approx(-6.0, abs=0.6)
    assert np.std(peaks_db) == pytest.approx(2.0, abs=0.4)


def test_components_do_not_disturb_each_other(sensor):
    settings = {"footstep_rate_hz": 1.8, "friction_rate_per_min": 20.0}
    levels = {"footstep_level_db": -5.0, "friction_level_db": -20.0}
    together = noise_of(sensor, 2, 10, **settings, **levels)
    apart = sum(noise_of(sensor, 2, 10, **{key: rate}, **levels) for key, rate in settings.items())
    assert torch.allclose(together, torch.as_tensor(apart), rtol=0, atol=1e-15)
