import math

import numpy as np
import pytest
import torch

from bcsim.dsp.pqmf import PQMF, prototype_cutoff
from bcsim.rng import stream


def white_noise(num_samples: int) -> torch.Tensor:
    return torch.from_numpy(stream(3, "pqmf").standard_normal((1, 1, num_samples)))


@pytest.mark.parametrize(
    ("num_bands", "num_taps", "cutoff"),
    [(4, 32, 0.158867), (4, 64, 0.141692), (2, 16, 0.319976), (8, 64, 0.079168)],
)
def test_the_cutoff_is_that_of_the_published_banks(num_bands, num_taps, cutoff):
    assert prototype_cutoff(num_bands, num_taps) == pytest.approx(cutoff, abs=1e-5)


@pytest.mark.parametrize(
    ("num_bands", "num_taps", "snr_db"),
    [(4, 32, 49.1), (4, 64, 61.6), (4, 128, 64.8), (2, 16, 55.4), (8, 64, 50.1)],
)
def test_white_noise_is_reconstructed_at_the_known_snr(num_bands, num_taps, snr_db):
    bank = PQMF(num_bands, num_taps).double()
    signal = white_noise(64_000)
    error = bank.synthesis(bank.analysis(signal)) - signal
    measured_db = 10 * torch.log10(signal.square().sum() / error.square().sum())
    assert measured_db.item() == pytest.approx(snr_db, abs=0.3)


def test_an_impulse_comes_back_where_it_was():
    bank = PQMF(4, 32).double()
    peaks = []
    for position in (500, 501, 502, 503):
        impulse = torch.zeros(1, 1, 1024, dtype=torch.float64)
        impulse[..., position] = 1
        out = bank.synthesis(bank.analysis(impulse))
        assert out.argmax().item() == position
        peaks.append(out.max().item())
    assert max(peaks) == pytest.approx(1.0012, abs=1e-4)


def test_a_tone_of_500_hz_stays_in_the_lowest_of_four_bands():
    bank = PQMF(4, 32).double()
    time_s = torch.arange(16_000, dtype=torch.float64) / 16_000
    bands = bank.analysis(torch.sin(2 * math.pi * 500 * time_s)[None, None])
    power = bands[0, :, 100:-100].square().mean(dim=1)
    level_db = 10 * torch.log10(power / power[0])
    assert level_db[1].item() == pytest.approx(-51, abs=1)
    assert level_db[2:].max() < -90


def test_lower_bands_alone_equal_those_of_the_whole_bank():
    bank = PQMF(4, 32)
    signal = white_noise(1024).float()
    torch.testing.assert_close(bank.analysis(signal, 2), bank.analysis(signal)[:, :2])


def test_filters_are_frozen_parameters_as_in_the_published_checkpoints():
    bank = PQMF(4, 32)
    shapes = {name: tuple(weights.shape) for name, weights in bank.named_parameters()}
    assert shapes == {"analysis_weights": (4, 1, 32), "synthesis_weights": (4, 1, 32)}
    assert not any(weights.requires_grad for weights in bank.parameters())


@pytest.mark.shared
def test_filters_are_those_of_the_published_checkpoints(shared):
    golden = np.load(shared / "golden/eben_p1.npz")
    bank = PQMF(4, 32)
    np.testing.assert_allclose(bank.analysis_weights, golden["pqmf_analysis_weights"], atol=1e-6)
    np.testing.assert_allclose(bank.synthesis_weights, golden["pqmf_synthesis_weights"], atol=1e-6)


@pytest.mark.parametrize(("num_bands", "num_taps"), [(4, 30), (1, 32), (4, 0), (4, 1 << 20)])
def test_sizes_that_cannot_reconstruct_are_refused(num_bands, num_taps):
    with pytest.raises(ValueError, match="multiple of"):
        PQMF(num_bands, num_taps)
