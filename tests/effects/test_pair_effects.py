"""What is done to both sides of a pair: a pair is never torn."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import signal

from bcsim.effects.base import Scene, stack_draws
from bcsim.effects.distributions import Constant
from bcsim.effects.pair_gain import PairGain
from bcsim.effects.pitch import Pitch
from bcsim.effects.speed import Speed, change_speed
from bcsim.effects.time_mask import TimeMask

RATE = 16_000


def apply(effect, scene):
    drawn = stack_draws([effect.sample(0, str(row), "step") for row in range(len(scene.air))])
    return effect.apply(scene, drawn)


def tone(frequency_hz, num_samples=RATE):
    return torch.sin(2 * math.pi * frequency_hz / RATE * torch.arange(num_samples).double())[None]


def frequency_of(row):
    spectrum = np.abs(np.fft.rfft(row.numpy() * np.hanning(len(row)), 16 * len(row)))
    return spectrum.argmax() * RATE / (16 * len(row))


def pair_of(air):
    """A sensor that hears 4 samples later, duller, inverted and softer; noise at the microphone."""
    lowpass = np.asarray(signal.firwin(31, 1500, fs=RATE), dtype=np.float64)
    filtered = [np.convolve(row, lowpass)[11 : 11 + len(row)] for row in air.numpy()]
    bone = -0.3 * np.stack(filtered)
    scene = Scene.from_air(air, RATE).with_bone(torch.from_numpy(bone))
    return scene.with_ambient(0.01 * air.roll(3000, -1))


def test_a_gain_is_in_decibels_and_the_same_for_all(speech):
    scene = dataclasses.replace(pair_of(speech), level=torch.tensor([0.1, 0.2]))
    louder = apply(PairGain(Constant(20.0)), scene)
    for name in ("air", "bone", "ambient", "noisy_air"):
        assert torch.allclose(getattr(louder, name), 10 * getattr(scene, name))
    assert louder.level is not None
    assert torch.allclose(louder.level, torch.tensor([1.0, 2.0]))


@pytest.mark.parametrize("factor", [0.9, 1.1, 1.05])
def test_speed_moves_a_tone_and_the_length_by_the_factor(factor):
    scene = apply(Speed(Constant(factor)), Scene.from_air(tone(500), RATE))
    assert scene.air.shape[-1] == scene.lengths[0] == round(RATE / factor)
    assert frequency_of(scene.air[0]) == pytest.approx(500 * factor, abs=0.2)
    expected = tone(500 * factor, scene.air.shape[-1])
    # a tone that is cut off rings a little at the cuts
    assert (scene.air - expected)[:, 400:-400].abs().max() < 0.02


def test_speed_changes_nothing_at_one_and_back_and_forth(speech):
    lowpass = signal.butter(4, 3000, fs=RATE, output="sos")
    smooth = torch.from_numpy(np.array(signal.sosfiltfilt(lowpass, speech[0])))
    assert torch.equal(change_speed(smooth, 1.0), smooth)
    back = change_speed(change_speed(smooth, 0.9), 1 / 0.9)
    assert len(back) == len(smooth)
    # each way keeps the factor to a quarter of a sample over the clip
    assert (back - smooth)[200:-200].norm() < 0.03 * smooth.norm()


def test_speed_aliases_nothing():
    out = change_speed(tone(7800)[0], 1.1)
    assert out[400:-400].abs().max() < 0.01


def test_a_delay_between_the_sides_shrinks_with_the_speed(speech):
    scene = Scene.from_air(speech, RATE).with_bone(speech.roll(110, -1))
    faster = apply(Speed(Constant(1.1)), scene)
    correlation = np.correlate(faster.bone[0].numpy(), faster.air[0].numpy(), mode="full")
    assert correlation.argmax() - (faster.air.shape[-1] - 1) == 100


@pytest.mark.parametrize("semitones", [-3.0, 1.0, 4.0])
def test_pitch_moves_a_tone_and_keeps_length_and_level(semitones):
    air = tone(440)
    scene = apply(Pitch(Constant(semitones)), Scene.from_air(air, RATE))
    assert scene.air.shape == air.shape
    assert frequency_of(scene.air[0]) == pytest.approx(440 * 2 ** (semitones / 12), rel=2e-3)
    middle = slice(3000, -3000)
    before, after = (signal[0, middle].std().item() for signal in (air, scene.air))
    assert after == pytest.approx(before, rel=0.03)


def test_pitch_changes_nothing_at_zero(speech):
    scene = pair_of(speech)
    assert torch.equal(apply(Pitch(Constant(0.0)), scene).bone, scene.bone)


def test_pitch_keeps_the_pace():
    """Two clicks of noise stay where they were."""
    air = torch.zeros(1, 2 * RATE).double()
    burst = torch.from_numpy(np.random.default_rng(0).standard_normal(800))
    air[0, 8000:8800] = burst
    air[0, 24_000:24_800] = burst
    shifted = apply(Pitch(Constant(3.0)), Scene.from_air(air, RATE)).air[0]
    time = torch.arange(len(shifted)).double()
    for start in (8000, 24_000):
        around = slice(start - 4000, start + 4800)
        energy = shifted[around].square()
        assert ((time[around] * energy).sum() / energy.sum()).item() == pytest.approx(
            start + 400, abs=160
        )


def test_pitch_keeps_the_response_from_air_to_sensor():
    """Noise through a fixed filter: the response moves up with the pitch, phase and all."""
    air = torch.from_numpy(np.random.default_rng(1).standard_normal((1, 8 * RATE)))
    taps = np.array([0.5, 0.3, -0.2])
    bone = torch.from_numpy(np.convolve(air[0].numpy(), taps)[None, : air.shape[1]])
    scene = apply(Pitch(Constant(2.0)), Scene.from_air(air, RATE).with_bone(bone))
    frequencies, cross = signal.csd(scene.air[0], scene.bone[0], RATE, nperseg=512)
    _, power = signal.welch(scene.air[0], RATE, nperseg=512)
    _, coherence = signal.coherence(scene.air[0], scene.bone[0], RATE, nperseg=512)
    within = (frequencies > 200) & (frequencies < 6000)
    z = np.exp(-2j * np.pi * frequencies / 2 ** (2 / 12) / RATE)
    expected = np.polyval(taps[::-1], z)
    assert coherence[within].mean() > 0.95
    error = np.abs(cross / power - expected)[within]
    assert np.sqrt(np.mean(error**2)) < 0.1 * np.sqrt(np.mean(np.abs(expected[within]) ** 2))


def test_masks_fall_on_the_same_places_in_every_channel():
    ones = torch.ones(3, 2 * RATE).double()
    scene = Scene.from_air(ones, RATE).with_bone(2 * ones).with_ambient(3 * ones)
    masked = apply(TimeMask(stretches=3, longest_s=0.3), scene)
    assert torch.equal(masked.bone, 2 * masked.air)
    assert masked.ambient is not None
    assert torch.equal(masked.ambient, 3 * masked.air)
    assert torch.equal(masked.microphone, 4 * masked.air)
    gain = masked.air
    assert gain.min() == 0
    assert ((gain == 0) | (gain == 1)).double().mean() > 0.9
    assert len({tuple(row.tolist()) for row in gain}) == 3  # every clip its own
    steepest = math.pi / 2 / (0.005 * RATE)
    assert gain.diff(dim=-1).abs().max() <= 2 * steepest


def test_masks_last_as_long_as_they_may_and_half_of_that_on_average():
    air = torch.ones(300, RATE).double()
    masked = apply(TimeMask(stretches=1, longest_s=0.4), Scene.from_air(air, RATE)).air
    seconds = (masked < 1).sum(dim=-1) / RATE
    assert seconds.max() <= 0.4
    assert seconds.mean().item() == pytest.approx(0.2, abs=0.02)


def test_a_mask_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="stretches is -1; it wants 0 to 1000"):
        TimeMask(stretches=-1)


def test_a_speed_that_cannot_be_is_refused(speech):
    with pytest.raises(ValueError, match=r"factor is 0\.0; it wants 0.1 to 10"):
        apply(Speed(Constant(0.0)), Scene.from_air(speech, RATE))
