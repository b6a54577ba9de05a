"""Contact losses and dropouts: how often, how long, and what is left."""

import math

import pytest
import torch

from bcsim.effects.base import Scene, stack_draws
from bcsim.effects.contact_loss import ContactLoss
from bcsim.effects.distributions import Constant
from bcsim.effects.dropouts import Dropouts

RATE = 16_000


def apply(effect, air):
    drawn = stack_draws([effect.sample(0, str(k), "step") for k in range(len(air))])
    return effect.apply(Scene.from_air(air, RATE), drawn).bone


def tone(frequency_hz, num_samples, num_clips=1):
    time_s = torch.arange(num_samples).double() / RATE
    return torch.cos(2 * math.pi * frequency_hz * time_s).repeat(num_clips, 1)


def stretches(inside):
    """First and last sample of each run of True."""
    edges = torch.nn.functional.pad(inside.int(), (1, 1)).diff()
    return (edges == 1).nonzero()[:, 0], (edges == -1).nonzero()[:, 0] - 1


def test_as_much_is_lost_as_a_poisson_process_of_gaps_covers():
    """A moment is in no gap with probability exp(-rate gap), from a clip's first sample on."""
    effect = Dropouts(Constant(300.0), Constant(100.0))
    out = apply(effect, torch.ones(400, 2 * RATE).double())
    covered = 1 - math.exp(-300 / 60 * 0.1)
    lost = (out == 0).double()
    assert lost.mean().item() == pytest.approx(covered, rel=0.05)
    assert lost[:, 0].mean().item() == pytest.approx(covered, abs=0.1)


def test_a_gap_lasts_as_long_as_asked():
    out = apply(Dropouts(Constant(6.0), Constant(25.0)), torch.ones(20, 10 * RATE).double())
    lengths = torch.cat([torch.stack(stretches(row[1:-1] == 0)).diff(dim=0)[0] + 1 for row in out])
    assert len(lengths) > 10
    # 400 samples, but for a gap at a clip's edge and two that overlap
    assert (lengths == 400).double().mean().item() > 0.8


def test_a_held_gap_repeats_the_sample_before_it():
    air = 1 + torch.arange(10 * RATE).double()[None]
    effect = Dropouts(Constant(60.0), Constant(20.0), fill="hold")
    out = apply(effect, air)[0]
    silenced = apply(Dropouts(Constant(60.0), Constant(20.0)), air)[0]
    first, last = stretches(silenced == 0)
    assert len(first) > 3
    for start, end in zip(first.tolist(), last.tolist(), strict=True):
        held = 0 if start == 0 else air[0, start - 1].item()
        assert (out[start : end + 1] == held).all()
    assert torch.equal(out[silenced != 0], air[0, silenced != 0])


def test_a_gap_without_end_is_held_for_a_second():
    """A packet of a second is lost time and again: what has been held for a second is silence."""
    effect = Dropouts(Constant(120.0), Constant(1000.0), fill="hold")
    zeroed = Dropouts(Constant(120.0), Constant(1000.0))
    air = torch.ones(8, 10 * RATE).double()
    out, lost = apply(effect, air), apply(zeroed, air) == 0
    checked = 0
    for row, gaps in zip(out, lost, strict=True):
        for start, end in zip(*map(torch.Tensor.tolist, stretches(gaps)), strict=True):
            held = min(RATE, end + 1 - start) if start else 0
            assert (row[start : start + held] == 1).all()
            assert (row[start + held : end + 1] == 0).all()
            checked += 0 < held < end + 1 - start
    assert checked > 0


def test_at_rate_zero_nothing_is_lost(speech):
    assert torch.equal(apply(Dropouts(Constant(0.0)), speech), speech)
    assert torch.equal(apply(ContactLoss(Constant(0.0)), speech), speech)


def lost_for(seconds, rate_per_min=60.0):
    return ContactLoss(
        Constant(rate_per_min), Constant(seconds), Constant(20.0), Constant(500.0), fade_s=0.01
    )


def test_without_contact_speech_is_fainter_by_the_attenuation_and_dull():
    """Losses so long that a clip lies within: what is left is the filter's gain."""
    always = lost_for(10.0)
    low, high = (apply(always, tone(hz, RATE))[0, 2000:-2000] for hz in (100, 2000))
    assert low.abs().max().item() == pytest.approx(0.1, rel=1e-3)
    assert high.abs().max().item() < 0.1 * 10 ** (-70 / 20)


def test_in_touch_nothing_changes_and_the_edges_are_smooth():
    out = apply(lost_for(0.4), torch.ones(20, 10 * RATE).double())[:, 500:-500]
    assert (out == 1).any()
    assert out.min().item() == pytest.approx(0.1, abs=1e-3)
    # the steepest slope of a raised cosine over 10 ms, in a drop of 0.9
    assert out.diff(dim=-1).abs().max().item() < 2.02 * 0.9 * math.pi / 2 / (0.01 * RATE)


def test_losses_last_half_to_one_and_a_half_times_their_mean():
    out = apply(lost_for(0.2, rate_per_min=10.0), torch.ones(60, 10 * RATE).double())[:, 500:-500]
    durations = torch.cat([torch.stack(stretches(row < 1)).diff(dim=0)[0] + 1 for row in out])
    alone = durations[durations < 1.5 * 0.2 * RATE + 2] / RATE
    assert len(alone) > 0.85 * len(durations)  # the others are two in one
    assert alone.mean().item() == pytest.approx(0.2, rel=0.05)
    assert ((alone > 0.09) & (alone < 0.31)).double().mean().item() > 0.95


def test_three_in_ten_clips_have_a_bad_moment():
    effect = ContactLoss()
    out = apply(effect, torch.ones(150, 7 * RATE))[:, 300:-300]
    affected = (out < 0.9).any(dim=-1).double().mean().item()
    assert affected == pytest.approx(0.3, abs=0.1)
