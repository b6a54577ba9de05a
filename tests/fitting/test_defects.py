"""Channels that are clipped, interrupted or shifted, and channels that are not."""

import numpy as np
import pytest
import torch

from bcsim.audio.inspection import CLIPPED_SHARE, levels_of
from bcsim.fitting.diagnosis.defects import dropouts

RATE = 16_000


@pytest.fixture
def channels(systems):
    """Air and bone, with the noise that a recorder leaves in the pauses."""
    (pair,) = systems.recorded(systems.two_mass(RATE), RATE, count=1, snr_db=45, seconds=5)
    noise = np.random.default_rng(4).standard_normal(len(pair.air))
    return pair.air + 1e-4 * noise, pair.bone


@pytest.mark.parametrize("share", [0.01, 0.002])
@pytest.mark.parametrize("gain", [1.0, 0.01])
def test_the_share_that_was_clipped_is_the_share_reported(share, gain, channels):
    for samples in channels:
        limit = np.quantile(np.abs(samples), 1 - share)
        assert levels_of(gain * np.clip(samples, -limit, limit)).clipped_share == pytest.approx(
            share, 0.05
        )


def test_one_side_alone_may_be_clipped(channels):
    samples = channels[0]
    limit = np.quantile(samples, 0.99)
    assert levels_of(np.minimum(samples, limit)).clipped_share == pytest.approx(0.01, rel=0.05)


def test_peaks_are_no_clipping(channels):
    for samples in channels:
        assert levels_of(samples).clipped_share < CLIPPED_SHARE / 3


def test_dc_is_told_from_speech(channels):
    for samples in channels:
        assert levels_of(samples).dc_offset == 0
        assert levels_of(samples + 0.034).dc_offset == pytest.approx(0.034, abs=1e-3)


SPEECH = round(0.95 * RATE)  # within a phrase


@pytest.mark.parametrize("fill", ["zeros", "held", "noise"])
@pytest.mark.parametrize("index", [0, 1])
def test_a_dropout_is_found_where_it_is(fill, index, channels):
    own, other = channels[index].copy(), channels[1 - index]
    gap = slice(SPEECH, SPEECH + round(0.2 * RATE))
    noise = np.random.default_rng(2).standard_normal(len(own[gap]))
    own[gap] = {"zeros": 0.0, "held": own[SPEECH], "noise": 1e-4 * noise}[fill]
    found = dropouts(torch.from_numpy(own), torch.from_numpy(other), RATE)
    assert min(stretch.start_s for stretch in found) == pytest.approx(SPEECH / RATE, abs=0.1)
    longest = 0.2 if fill != "noise" else 0.12  # only where the other channel speaks is it seen
    assert max(stretch.seconds for stretch in found) == pytest.approx(longest, abs=0.08)
    assert all(stretch.start_s < 0.95 + 0.2 for stretch in found)


def test_digital_silence_in_a_pause_counts_from_a_tenth_of_a_second(channels):
    air, bone = channels
    quiet = np.convolve(np.abs(air), np.ones(3200), "valid").argmin()
    for seconds, expected in ((0.15, 1), (0.05, 0)):
        gapped = bone.copy()
        gapped[quiet : quiet + round(seconds * RATE)] = 0
        assert len(dropouts(torch.from_numpy(gapped), torch.from_numpy(air), RATE)) == expected


def test_whole_channels_and_padded_ones_have_no_dropouts(channels):
    air, bone = channels
    padding = np.zeros(RATE)
    padded = [np.concatenate([padding, samples, padding]) for samples in channels]
    for own, other in ((air, bone), (bone, air), padded, padded[::-1]):
        assert dropouts(torch.from_numpy(own), torch.from_numpy(other), RATE) == []
