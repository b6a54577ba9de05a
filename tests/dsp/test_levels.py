"""Levels of speech, of clips however short."""

import pytest
import torch

from bcsim.dsp.levels import FRAME, active_frames, active_rms, energy_rms, frame_energy
from bcsim.effects.base import Scene

RATE = 16_000


@pytest.mark.parametrize("num_samples", [1, 2, 50, 511, 512, 700, 5000])
def test_a_constant_has_its_own_level_however_short_it_is(num_samples):
    clip = torch.full((1, num_samples), -0.1).double()
    assert active_rms(clip, active_frames(clip)).item() == pytest.approx(0.1)
    assert Scene.from_air(clip, RATE).speech_level().item() == pytest.approx(0.1)


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
        assert torch.allclose(frame_energy(speech, lengths), expected)


def test_silence_has_no_active_frame():
    silence = torch.zeros(2, 100).double()
    active = active_frames(silence)
    assert not active.any()
    assert torch.equal(energy_rms(frame_energy(silence), active), torch.zeros(2).double())
