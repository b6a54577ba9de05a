"""Mel filters: where they lie, and what they weigh."""

import math

import librosa
import numpy as np
import pytest
import torch

from bcsim.dsp.mel import hz_to_mel, mel_bank, mel_centres, mel_means, mel_to_hz


def test_mel_bands_are_htk_triangles_of_unit_area():
    bank = mel_bank(16_000, 512, 40, htk=True, dtype=np.float64)
    peaks = torch.linspace(0, 8000, 257, dtype=torch.float64)[bank.argmax(dim=1)]
    mel = 2595 * math.log10(1 + 8000 / 700)
    centres = [700 * (10 ** (mel * (m + 1) / 41 / 2595) - 1) for m in range(40)]
    assert float((peaks - torch.tensor(centres)).abs().max()) < 8000 / 256
    wide = bank[20:].sum(dim=1) * 8000 / 256
    torch.testing.assert_close(wide, torch.ones_like(wide), rtol=0.02, atol=0)


def test_the_htk_scale_is_librosas_and_its_inverse_gives_it_back():
    hz = torch.linspace(0, 24_000, 97, dtype=torch.float64)
    expected = librosa.hz_to_mel(hz.numpy(), htk=True)
    np.testing.assert_allclose(hz_to_mel(hz).numpy(), expected, rtol=1e-12)
    torch.testing.assert_close(mel_to_hz(hz_to_mel(hz)), hz, rtol=1e-12, atol=1e-9)


def test_means_and_areas_are_of_the_same_bands():
    """Between 1 and 7 kHz, where bands are far wider than bins, both weigh a flat band alike."""
    means = mel_means(16_000, 4096, 40)
    areas = mel_bank(16_000, 4096, 40, htk=True, dtype=np.float64)
    hz = torch.linspace(0, 8000, 2049, dtype=torch.float64)
    centroids = [(bank @ hz) / bank.sum(dim=1) for bank in (means, areas)]
    np.testing.assert_allclose(centroids[0][15:38], centroids[1][15:38], rtol=0.01)
    np.testing.assert_allclose(centroids[0][15:38], mel_centres(16_000, 40)[15:38], rtol=0.02)


def test_bands_narrower_than_a_bin_are_refused_or_widened():
    with pytest.raises(ValueError, match="narrower than the bins of an FFT of 128 at 16000 Hz"):
        mel_bank(16_000, 128, 80)
    assert bool((mel_means(16_000, 128, 80).amax(dim=1) > 0).all())
