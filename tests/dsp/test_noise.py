"""White noise by seed: white, Gaussian, and the same in any stretch and batch."""

import math

import pytest
import scipy.stats
import torch

from bcsim.dsp.noise import white_noise

SEEDS = torch.tensor([0, 1, 2, 3, 2**52 + 17])


def test_it_is_gaussian_of_unit_variance():
    noise = white_noise(SEEDS, 200_000)
    for row in noise.numpy():
        assert scipy.stats.kstest(row, "norm").pvalue > 1e-5
    assert noise.var().item() == pytest.approx(1, abs=5e-3)
    assert noise.pow(4).mean().item() == pytest.approx(3, abs=0.05)


def test_its_spectrum_is_flat():
    noise = white_noise(SEEDS, 1 << 18)
    power = torch.fft.rfft(noise).abs().square()[:, 1:-1] / noise.shape[1]
    bands = power[:, : 31 * 4228].unflatten(1, (31, -1)).mean(dim=-1)
    assert (bands - 1).abs().max().item() < 5 / math.sqrt(4228)
    # the power in a bin of white Gaussian noise is exponential, whose deviation is its mean
    assert power.mean().item() == pytest.approx(1, abs=0.01)
    assert power.std().item() == pytest.approx(1, abs=0.01)
    assert power.max().item() < 3 * math.log(power.numel())


def test_seeds_and_neighbouring_samples_are_unrelated():
    noise = white_noise(torch.arange(32), 1 << 16)
    between = torch.corrcoef(noise) - torch.eye(32)
    assert between.abs().max().item() < 5 / 2**8
    for lag in (1, 2, 3, 64, 4096, 32_768):
        product = (noise[:, lag:] * noise[:, :-lag]).mean(dim=1)
        assert product.abs().max().item() < 5 / 2**7.5


@pytest.mark.parametrize("start", [-7, -2, 0, 1, 65_535, 2**31 - 4])
def test_any_stretch_can_be_made_by_itself_and_in_any_batch(start):
    batch = white_noise(SEEDS, 70_000, start)
    alone = white_noise(SEEDS[3:4], 501, start + 12_345)
    assert torch.equal(batch[3:4, 12_345:12_846], alone)


def test_single_precision_is_double_precision_rounded():
    double = white_noise(SEEDS, 100_000)
    single = white_noise(SEEDS, 100_000, dtype=torch.float32)
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), double, rtol=0, atol=2e-4)


def test_the_first_samples_stay_what_they_are():
    """A manifest row keeps a seed, not the noise: the noise of a seed must never change."""
    expected = [-0.153040538052295, -0.026046396834787, 0.508348111845730, -0.148738724689904]
    assert white_noise(torch.tensor([12_345]), 4)[0].tolist() == pytest.approx(expected, abs=1e-12)
