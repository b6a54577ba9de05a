"""Which frames carry speech, and how loud it is there: of clips however short, at any rate."""

from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch

from bcsim.dsp.activity import (
    active_frames,
    active_rms,
    frame_energies,
    hop_size,
    is_active,
    mean_speech_power,
    speech_power,
    speech_rms,
    speech_rms_of_blocks,
)
from bcsim.effects.base import Scene

signal: Any = scipy.signal  # whose stubs take arrays for integers

RATE = 16_000
FRAME = 512


def square(num_samples: int, amplitude: float) -> torch.Tensor:
    """Return a square wave of two samples a period, (1, T): all of it above 50 Hz."""
    return amplitude * (1.0 - 2.0 * (torch.arange(num_samples) % 2)).double()[None]


@pytest.mark.parametrize("num_samples", [2, 50, 510, 512, 700, 5000])
@pytest.mark.parametrize("rate", [8000, RATE, 44_100])
def test_a_square_wave_has_its_own_level_however_short_it_is(num_samples, rate):
    clip = square(num_samples, 0.1)
    assert active_rms(clip, active_frames(clip, rate), rate).item() == pytest.approx(0.1)
    assert speech_rms(clip, rate).item() == pytest.approx(0.1)
    assert Scene.from_air(clip, rate).speech_level().item() == pytest.approx(0.1)


def test_a_short_clip_has_the_same_level_alone_and_in_a_batch():
    lengths = torch.tensor([4, 300, FRAME, 2000])
    clips = square(2000, 0.2) * (torch.arange(2000) < lengths[:, None])
    level = Scene.from_air(clips, RATE, lengths).speech_level()
    assert torch.allclose(level, torch.full((4,), 0.2).double())
    rows = zip(clips, lengths.tolist(), strict=True)
    alone = [Scene.from_air(clip[None, :n], RATE).speech_level() for clip, n in rows]
    assert torch.allclose(level, torch.cat(alone))


def test_a_frame_weighs_by_its_window(speech):
    """Whole frames, against SciPy's spectra: what lies above 50 Hz and above 300 Hz."""
    frames = speech.unfold(-1, 512, 256).numpy()
    grid, density = signal.periodogram(frames, RATE, signal.get_window("hann", 512), detrend=False)
    # per Hz, for a window of unit power, against the energy under the window itself
    scale = RATE / 512 * np.sum(signal.get_window("hann", 512) ** 2)
    for lengths in (None, torch.tensor([512, 24_000])):
        for energy, cutoff in zip(frame_energies(speech, RATE, lengths), (50, 300), strict=True):
            expected = density[..., grid >= cutoff].sum(axis=-1) * scale
            np.testing.assert_allclose(energy.numpy(), expected, rtol=1e-9)
    _, energy = frame_energies(speech, RATE)
    assert torch.allclose(speech_power(speech, RATE, 512, 256), energy / (3 / 8 * 512))


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 44_100, 48_000])
def test_a_frame_lasts_as_long_at_any_rate(rate):
    assert hop_size(rate) / rate == pytest.approx(0.016, rel=0.005)
    assert frame_energies(torch.ones(1, 4 * rate), rate)[0].shape[1] == pytest.approx(249, abs=2)


def test_the_rule_is_the_98th_percentile_less_35_db():
    """Against NumPy's percentile; a clip in a batch has the frames that it has alone."""
    power = torch.from_numpy(np.random.default_rng(3).exponential(size=(2, 400)) ** 8)
    expected = power.numpy() > np.percentile(power.numpy(), 98, axis=1, keepdims=True) / 10**3.5
    assert 0.1 < expected.mean() < 0.9
    assert np.array_equal(is_active(power).numpy(), expected)
    among = is_active(power, torch.tensor([400, 150]))
    assert np.array_equal(among[0].numpy(), expected[0])
    assert torch.equal(among[1, :150], is_active(power[1, :150]))
    assert not among[1, 150:].any()


def test_an_offset_is_no_part_of_the_level(speech):
    """3 % of DC raised the level of speech by 5 dB, and with it the sensor's noise."""
    offset = torch.tensor([[0.03], [-0.5]])
    assert torch.equal(active_frames(speech + offset, RATE), active_frames(speech, RATE))
    assert torch.allclose(speech_rms(speech + offset, RATE), speech_rms(speech, RATE), rtol=1e-9)


@pytest.mark.parametrize("rumble_db", [-10.0, 0.0, 10.0])
def test_rumble_is_neither_speech_nor_its_level(speech, rumble_db):
    """Below 150 Hz, in the pauses as in speech: every frame was active."""
    speech = speech.repeat(1, 10)
    low = signal.butter(8, 130, fs=RATE, output="sos")
    noise = signal.sosfilt(low, np.random.default_rng(2).standard_normal(speech.shape))
    noise *= 10 ** (rumble_db / 20) * speech_rms(speech, RATE).numpy()[:, None] / noise.std()
    rumbling = speech + torch.from_numpy(noise)
    same = active_frames(rumbling, RATE) == active_frames(speech, RATE)
    assert same.double().mean() > 0.97
    level_db = 20 * (speech_rms(rumbling, RATE) / speech_rms(speech, RATE)).log10()
    assert level_db.abs().max() < 1.0


def test_the_level_of_ordinary_speech_is_what_it_was(speech):
    """The RMS over active frames: without rumble, nothing that matters is taken away."""
    _, energy = frame_energies(speech, RATE)
    whole = (speech.unfold(-1, 512, 256) * torch.hann_window(512).double()).square().sum(dim=-1)
    frames = zip(whole, is_active(energy), strict=True)
    plain = [(e[active].mean() / (3 / 8 * 512)).sqrt() for e, active in frames]
    assert torch.allclose(speech_rms(speech, RATE), torch.stack(plain), rtol=2e-3)


def test_the_mean_power_of_speech_is_that_of_active_frames_less_the_rumble():
    power = torch.tensor([[3.0, 5.0, 1.0, 1.0]]).double()
    above = torch.tensor([[1.5, 3.0, 1e-9, 1e-9]]).double()
    assert mean_speech_power(power, above).item() == pytest.approx(4.0 - 1.0)


def test_silence_has_no_active_frame():
    silence = torch.zeros(2, 100).double()
    assert not active_frames(silence, RATE).any()
    assert torch.equal(speech_rms(silence, RATE), torch.zeros(2).double())


@pytest.mark.parametrize("size", [1, 700, 4096])
@pytest.mark.parametrize("rate", [8000, RATE, 48_000])
def test_a_recording_in_blocks_has_the_level_of_the_whole(speech, size, rate):
    blocks = np.split(speech[0].numpy(), range(size, speech.shape[1], size))[: 9000 // size]
    whole = torch.from_numpy(np.concatenate(blocks))[None]
    found = speech_rms_of_blocks(blocks, rate)
    assert found is not None
    level, mean = found
    assert level.item() == pytest.approx(speech_rms(whole, rate).item(), rel=1e-6)
    assert mean.item() == pytest.approx(whole.mean().item(), abs=1e-12)
    assert speech_rms_of_blocks([], rate) is None
