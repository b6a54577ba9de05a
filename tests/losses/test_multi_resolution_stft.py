import math
from typing import Any, cast

import pytest
import torch
from auraloss.freq import MultiResolutionSTFTLoss
from scipy.signal import freqz

from bcsim.losses.multi_resolution_stft import MultiResolutionSTFT, a_weighting_filter
from bcsim.rng import stream


def speech(num_samples: int = 8000) -> torch.Tensor:
    noise = stream(1, "mrstft").standard_normal((2, 1, num_samples))
    return torch.from_numpy(noise).float()


def test_a_gain_costs_its_distance_from_one_plus_its_logarithm():
    """Of g s against s the spectral convergence is |g - 1| and the log distance ln g."""
    for gain in (0.5, 2.0):
        loss = MultiResolutionSTFT().terms(gain * speech(), speech())["multi_resolution_stft"]
        assert loss.item() == pytest.approx(abs(gain - 1) + abs(math.log(gain)), rel=1e-4)


def test_the_definition_computed_by_hand_gives_the_same():
    estimate, target = speech() + 0.3 * speech().roll(7, -1), speech()
    sizes = ((256, 64, 200), (512, 100, 400))
    expected = 0.0
    for fft_size, hop, window in sizes:
        magnitudes = []
        for signal in (estimate[:, 0], target[:, 0]):
            spectrum = torch.stft(
                signal, fft_size, hop, window, torch.hann_window(window), return_complex=True
            )
            magnitudes.append(spectrum.abs().square().clamp(min=1e-8).sqrt())
        ours, wanted = magnitudes
        expected += (wanted - ours).norm() / wanted.norm() + (
            wanted.log() - ours.log()
        ).abs().mean()
    fft_sizes, hop_sizes, win_lengths = (list(column) for column in zip(*sizes, strict=True))
    loss = MultiResolutionSTFT(fft_sizes, hop_sizes, win_lengths)
    value = loss.terms(estimate, target)["multi_resolution_stft"]
    assert value.item() == pytest.approx(float(expected) / len(sizes), rel=1e-5)


@pytest.mark.parametrize("a_weighting", [False, True])
def test_auraloss_as_it_comes_gives_the_same_losses_and_gradients(a_weighting):
    """In float64: in float32 the norms of auraloss are off by up to 1e-5, ours are not."""
    sizes = ([512, 1024], [50, 120], [240, 600])
    plain = MultiResolutionSTFTLoss(*sizes, perceptual_weighting=a_weighting, sample_rate=16_000)
    plain, ours = plain.double(), MultiResolutionSTFT(*sizes, a_weighting=a_weighting).double()
    if a_weighting:  # both have float32 taps, found in different ways: equal to that precision
        (stft_loss, *_) = cast(Any, plain).stft_losses
        theirs = stft_loss.prefilter.fir.weight.data.flatten()
        torch.testing.assert_close(ours.taps, theirs, rtol=0, atol=2e-8)
        ours.taps = theirs
    target = speech().double()
    estimate = (0.7 * target + 0.1 * target.roll(5, -1)).requires_grad_()
    expected = plain(estimate, target)
    value = ours.terms(estimate, target)["multi_resolution_stft"]
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    (gradient,), (wanted,) = (torch.autograd.grad(v, estimate) for v in (value, expected))
    torch.testing.assert_close(gradient, wanted, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(("frequency_hz", "level_db"), [(1000, 0.0), (2000, 1.2), (4000, 1.0)])
def test_the_weighting_filter_has_the_levels_of_iec_61672(frequency_hz, level_db):
    # Within 0.15 dB, for the bilinear transform moves 4 kHz by 2 %.
    frequencies_hz: Any = [frequency_hz]
    _, response = freqz(a_weighting_filter(48_000), worN=frequencies_hz, fs=48_000)
    assert 20 * math.log10(abs(response[0])) == pytest.approx(level_db, abs=0.15)


def test_a_weighting_forgives_errors_below_100_hz():
    time_s = torch.arange(8000) / 16_000
    hum = 0.5 * torch.sin(2 * math.pi * 60 * time_s).expand(2, 1, -1)
    plain, weighted = (
        MultiResolutionSTFT(a_weighting=on).terms(speech() + hum, speech()) for on in (False, True)
    )
    assert weighted["multi_resolution_stft"] < plain["multi_resolution_stft"]


@pytest.mark.parametrize(
    "sizes", [{"hop_sizes": (1, 2)}, {"win_lengths": (513, 600, 1200)}, {"hop_sizes": (0, 1, 1)}]
)
def test_sizes_that_do_not_fit_are_refused(sizes):
    with pytest.raises(ValueError, match="it wants"):
        MultiResolutionSTFT(**sizes)


def test_a_crop_too_short_for_the_longest_frame_is_refused():
    with pytest.raises(ValueError, match="use longer crops"):
        MultiResolutionSTFT().terms(speech(1000), speech(1000))
