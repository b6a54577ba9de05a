"""Which frames carry speech, and how loud it is there: of clips however short, at any rate."""

import numpy as np
import pytest
import torch

from bcsim.dsp.activity import (
    active_frames,
    active_rms,
    frame_energy,
    hop_size,
    is_active,
    speech_rms,
    speech_rms_of_blocks,
)
from bcsim.effects.base import Scene

RATE = 16_000
FRAME = 512


@pytest.mark.parametrize("num_samples", [1, 2, 50, 511, 512, 700, 5000])
@pytest.mark.parametrize("rate", [8000, RATE, 44_100])
def test_a_constant_has_its_own_level_however_short_it_is(num_samples, rate):
    clip = torch.full((1, num_samples), -0.1).double()
    assert active_rms(clip, active_frames(clip, rate), rate).item() == pytest.approx(0.1)
    assert speech_rms(clip, rate).item() == pytest.approx(0.1)
    assert Scene.from_air(clip, rate).speech_level().item() == pytest.approx(0.1)


def test_a_short_clip_has_the_same_level_alone_and_in_a_batch():
    lengths = torch.tensor([3, 300, FRAME, 2000])
    clips = torch.full((4, 2000), 0.2).double() * (torch.arange(2000) < lengths[:, None])
    level = Scene.from_air(clips, RATE, lengths).speech_level()
    assert torch.allclose(level, torch.full((4,), 0.2).double())
    rows = zip(clips, lengths.tolist(), strict=True)
    alone = [Scene.from_air(clip[None, :n], RATE).speech_level() for clip, n in rows]
    assert torch.allclose(level, torch.cat(alone))


def test_a_frame_weighs_by_its_window(speech):
    """Whole frames, against the sum that the docstring promises."""
    windows = speech.unfold(-1, 512, 256) * torch.hann_window(512).double()
    expected = windows.square().sum(dim=-1)
    for lengths in (None, torch.tensor([512, 24_000])):
        assert torch.allclose(frame_energy(speech, RATE, lengths), expected)


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 44_100, 48_000])
def test_a_frame_lasts_as_long_at_any_rate(rate):
    assert hop_size(rate) / rate == pytest.approx(0.016, rel=0.005)
    assert frame_energy(torch.ones(1, 4 * rate), rate).shape[1] == pytest.approx(249, abs=2)


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


def test_silence_has_no_active_frame():
    silence = torch.zeros(2, 100).double()
    assert not active_frames(silence, RATE).any()
    assert torch.equal(speech_rms(silence, RATE), torch.zeros(2).double())


@pytest.mark.parametrize("size", [1, 700, 4096])
@pytest.mark.parametrize("rate", [8000, RATE, 48_000])
def test_a_recording_in_blocks_has_the_level_of_the_whole(speech, size, rate):
    blocks = np.split(speech[0].numpy(), range(size, speech.shape[1], size))[: 9000 // size]
    whole = torch.from_numpy(np.concatenate(blocks))[None]
    level = speech_rms_of_blocks(blocks, rate)
    assert level is not None
    assert level.item() == pytest.approx(speech_rms(whole, rate).item(), rel=1e-6)
    assert speech_rms_of_blocks([], rate) is None
