"""Values between samples, against the function that was sampled."""

import math

import pytest
import torch

from bcsim.dsp.interpolation import interpolate


@pytest.mark.parametrize("frequency", [0.0, 0.01, 0.2, 0.45])
def test_a_tone_is_known_between_its_samples(frequency):
    numbers = torch.arange(1000).double()
    tone = torch.cos(2 * math.pi * frequency * numbers + 0.3)[None]
    positions = torch.linspace(100, 900, 7919).double()[None]
    expected = torch.cos(2 * math.pi * frequency * positions + 0.3)
    assert (interpolate(tone, positions) - expected).abs().max().item() < 3e-4


def test_whole_positions_are_the_samples_and_silence_lies_outside():
    noise = torch.randn(2, 100, generator=torch.Generator().manual_seed(0)).double()
    positions = torch.tensor([[0.0, 50.0, 99.0], [-100.0, 1e6, 7.0]])
    out = interpolate(noise, positions)
    assert torch.equal(out[0], noise[0, [0, 50, 99]])
    assert out[1].tolist() == [0.0, 0.0, noise[1, 7].item()]


def test_many_positions_are_taken_in_blocks_without_a_seam():
    noise = torch.randn(1, 300, generator=torch.Generator().manual_seed(0)).double()
    positions = torch.linspace(0, 299, 10_001).double()[None]
    whole = interpolate(noise, positions)
    assert torch.equal(whole[:, 4000:4300], interpolate(noise, positions[:, 4000:4300]))
