"""The losses of magnitudes against closed forms: what a gain or a tone costs is known."""

import math

import pytest
import torch

from bcsim.losses.band_weighted_stft import BandWeightedSTFT
from bcsim.losses.complex_stft import ComplexSTFT
from bcsim.losses.log_complex_stft import LogComplexSTFT
from bcsim.losses.log_magnitude_mse import LogMagnitudeMSE
from bcsim.losses.magnitude_mse import MagnitudeMSE
from bcsim.rng import stream


def speech(*names: str, num_samples: int = 2048) -> torch.Tensor:
    return torch.from_numpy(0.1 * stream(1, "mse", *names).standard_normal((2, 1, num_samples)))


def cost(loss, estimate: torch.Tensor, target: torch.Tensor) -> float:
    (value,) = loss.double().terms(estimate, target).values()
    return value.item()


def mean_power(signal: torch.Tensor, fft_size: int, hop: int) -> float:
    window = torch.hann_window(fft_size, dtype=signal.dtype)
    spectrum = torch.stft(signal[:, 0], fft_size, hop, window=window, return_complex=True)
    return spectrum.abs().square().mean().item()


@pytest.mark.parametrize("gain", [0.5, 3.0])
def test_a_gain_costs_the_square_of_its_logarithm_of_power(gain):
    found = cost(LogMagnitudeMSE(min_power=1e-12), gain * speech("a"), speech("a"))
    assert found == pytest.approx((2 * math.log(gain)) ** 2, rel=1e-3)


def test_what_is_far_below_the_least_power_costs_nothing():
    found = cost(LogMagnitudeMSE(min_power=1e3), 1e-3 * speech("a"), 1e-3 * speech("b"))
    assert found < 1e-9


@pytest.mark.parametrize("gain", [-1.0, 0.5, 3.0])
def test_a_gain_costs_its_distance_from_one_times_the_targets_power(gain):
    found = cost(MagnitudeMSE(), gain * speech("a"), speech("a"))
    expected = (abs(gain) - 1) ** 2 * mean_power(speech("a"), 512, 128)
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-12)


def test_compressed_a_gain_counts_by_its_power():
    """Of g s against s magnitudes to the power c differ by g^c - 1."""
    loss = MagnitudeMSE(compression=0.5)
    unit = cost(loss, torch.zeros_like(speech("a")), speech("a"))
    assert cost(loss, 16 * speech("a"), speech("a")) == pytest.approx(unit * 9, rel=2e-2)


def test_the_parts_of_the_complex_loss_add_up():
    """Magnitudes at weight 1 are those of `magnitude_mse`: the three errors of DPCRN."""
    estimate, target = speech("a"), speech("b")
    both = cost(ComplexSTFT(magnitude_weight=1.0), estimate, target)
    parts = cost(ComplexSTFT(), estimate, target) + cost(MagnitudeMSE(), estimate, target)
    assert both == pytest.approx(parts)


def test_the_logarithm_is_that_of_the_three_errors_of_each_item():
    estimate, target = speech("a"), 3 * speech("b")
    found = cost(LogComplexSTFT(512, 128, 512, min_mse=1e-9), estimate, target)
    expected = [
        math.log(cost(ComplexSTFT(magnitude_weight=1.0), *pair) / 1e-9)
        for pair in zip(estimate.split(1), target.split(1), strict=True)
    ]
    assert found == pytest.approx(sum(expected) / 2)


def test_a_tone_costs_by_the_weight_of_its_band():
    """A tone at a bin, far from the ends of its band: a band of 2 kHz has the same mean in each."""
    time_s = torch.arange(8192, dtype=torch.float64) / 16_000
    silence = torch.zeros(1, 1, 8192, dtype=torch.float64)
    costs = [
        cost(BandWeightedSTFT(), torch.sin(2 * math.pi * hz * time_s)[None, None], silence)
        for hz in (1000, 3000, 5000)
    ]
    assert [value / costs[0] for value in costs] == pytest.approx([1, 1.5, 2.5], rel=1e-3)


def test_with_one_band_of_weight_one_it_is_the_plain_error():
    found = cost(BandWeightedSTFT((0.0, 8000.0), (1.0,)), speech("a"), speech("b"))
    assert found == pytest.approx(cost(MagnitudeMSE(), speech("a"), speech("b")))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (LogMagnitudeMSE, {"min_power": 0.0}),
        (LogMagnitudeMSE, {"hop_size": 0}),
        (MagnitudeMSE, {"compression": 1.5}),
        (MagnitudeMSE, {"win_length": 1024}),
        (LogComplexSTFT, {"min_mse": math.nan}),
        (LogComplexSTFT, {"fft_size": 100}),
        (BandWeightedSTFT, {"edges_hz": (0.0, 4000.0, 2000.0, 6000.0, 8000.0)}),
        (BandWeightedSTFT, {"sample_rate": 8000}),
        (BandWeightedSTFT, {"weights": (1.0, 1.0)}),
        (BandWeightedSTFT, {"weights": (1.0, -1.0, 1.0, 1.0)}),
        (BandWeightedSTFT, {"edges_hz": (0.0, 1.0, 2.0, 6000.0, 8000.0)}),
        (BandWeightedSTFT, {"fft_size": 16, "hop_size": 0}),
    ],
)
def test_settings_out_of_range_are_refused(kind, settings):
    with pytest.raises(ValueError, match=r"it wants|without a bin"):
        kind(**settings)


@pytest.mark.parametrize("kind", [BandWeightedSTFT, LogComplexSTFT, LogMagnitudeMSE, MagnitudeMSE])
def test_a_crop_too_short_for_a_frame_is_refused(kind):
    with pytest.raises(ValueError, match="use longer crops"):
        cost(kind(), *(speech(name, num_samples=100) for name in "ab"))
