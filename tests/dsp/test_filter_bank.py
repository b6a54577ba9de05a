"""A filter bank that gives back what it took, and moves what it is told to."""

import math

import numpy as np
import pytest
import torch

from bcsim.dsp.filter_bank import FilterBank

RATES = [8000, 11_025, 16_000, 44_100, 48_000]


def noise(rate: int, rows: int = 1) -> torch.Tensor:
    generator = np.random.default_rng(rate)
    return torch.from_numpy(generator.standard_normal((rows, rate // 3 + 17)))


def gains(bank: FilterBank, signal: torch.Tensor, gain_db: float = 0.0) -> torch.Tensor:
    return torch.full_like(bank.levels_db(signal), gain_db)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("minimum", [False, True])
def test_unit_gains_give_the_signal_back_to_its_very_ends(rate, minimum):
    bank, signal = FilterBank(rate), noise(rate, rows=2)
    again = bank.filter(signal, gains(bank, signal), minimum)
    assert float((again - signal).abs().max()) < 1e-12


@pytest.mark.parametrize("rate", RATES)
def test_one_gain_for_all_is_a_plain_gain(rate):
    bank, signal = FilterBank(rate), noise(rate)
    louder = bank.filter(signal, gains(bank, signal, 6.0))
    assert float((louder - 10 ** (6 / 20) * signal).abs().max()) < 1e-11


def test_a_tone_gets_the_gain_of_its_bands_and_nothing_else():
    rate = 16_000
    bank = FilterBank(rate)
    band = 20
    time_s = torch.arange(rate, dtype=torch.float64) / rate
    tones = [float(bank.centres_hz[band + step]) for step in (0, 5)]
    signal = torch.stack([torch.sin(2 * math.pi * hz * time_s) for hz in tones]).sum(0)[None]
    lifted = gains(bank, signal)
    lifted[..., band - 1 : band + 2] = 12.0
    out = bank.filter(signal, lifted)[0, 2000:-2000]
    levels = [
        2 * abs(complex((out * torch.exp(-2j * math.pi * hz * time_s[2000:-2000])).mean()))
        for hz in tones
    ]
    assert 20 * math.log10(levels[0]) == pytest.approx(12.0, abs=0.3)
    assert 20 * math.log10(levels[1]) == pytest.approx(0.0, abs=0.1)


def test_zero_phase_moves_nothing_and_minimum_phase_only_later():
    """A click, low-passed: symmetric about itself with zero phase, all behind it with minimum."""
    rate, place = 16_000, 4000
    bank = FilterBank(rate)
    click = torch.zeros(1, 8000, dtype=torch.float64)
    click[0, place] = 1.0
    lowpass = gains(bank, click)
    lowpass[..., 15:] = -30.0
    zero, later = (bank.filter(click, lowpass, minimum)[0] for minimum in (False, True))
    before, after = zero[place - 100 : place].flip(0), zero[place + 1 : place + 101]
    assert float((before - after).abs().max()) < 0.02 * float(zero.max())
    energy_before = float(later[:place].square().sum() / later.square().sum())
    assert energy_before < 0.01


def test_levels_are_those_of_white_noise_in_every_band():
    """White noise of variance 1 has the power sum of the squared window, N/2, in every bin."""
    bank = FilterBank(16_000)
    white = torch.from_numpy(np.random.default_rng(1).standard_normal((1, 160_000)))
    power = (10 ** (bank.levels_db(white) / 10)).mean(dim=1)[0]
    assert 10 * float((power / (bank.num_fft / 2)).log10().abs().max()) < 0.5


@pytest.mark.parametrize("rate", RATES)
def test_no_band_falls_between_two_bins_and_all_bins_are_heard(rate):
    bank = FilterBank(rate)
    assert bool((bank.weights.sum(dim=1) - 1).abs().max() < 1e-12)
    heard = bank.weights.sum(dim=0) > 0
    frequencies = torch.linspace(0, rate / 2, len(heard))
    inside = (frequencies > bank.centres_hz[0]) & (frequencies < bank.centres_hz[-1])
    assert bool(heard[inside].all())
