"""Spectra: conventions, exactness, and what overlapping frames are worth."""

from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch

from bcsim.dsp.spectra import (
    CrossSpectra,
    chance_coherence,
    cross_spectra,
    density_to_power,
    fill_gaps,
    fractional_octave_smooth,
    frame_power,
    independent_averages,
    median_spectra,
    median_to_mean,
    minimum_phase,
    stft,
)

RATE, NUM_FFT, HOP = 16_000, 512, 128


def noise(*names: int, size: int = 40_000) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(names).standard_normal(size))


def test_cross_spectra_agree_with_scipy():
    x, y = noise(1), noise(2)
    y = y + 0.5 * x
    ours = cross_spectra(x, y, NUM_FFT, HOP)
    settings = {
        "fs": RATE, "window": "hann", "nperseg": NUM_FFT, "noverlap": NUM_FFT - HOP,
        "detrend": False, "return_onesided": False,
    }  # fmt: skip
    bins = NUM_FFT // 2 + 1
    scale = 2 * density_to_power(RATE, NUM_FFT)
    for name, first, second in (("xx", x, x), ("yy", y, y), ("xy", x, y)):
        _, theirs = scipy.signal.csd(first.numpy(), second.numpy(), **settings)
        np.testing.assert_allclose(getattr(ours, name), theirs[:bins] * scale, rtol=1e-9)


@pytest.mark.parametrize("delay", [10, -10])
def test_a_delay_of_ten_samples_has_the_phase_of_ten_samples(delay):
    """Arguments of a cross-spectrum are easily swapped: +10 samples then come out as -10."""
    x = noise(3, size=400_000)
    spectra = cross_spectra(x, x.roll(delay), NUM_FFT, HOP)
    phase = np.unwrap(torch.angle(spectra.xy).numpy())
    slope = np.polyfit(2 * np.pi * np.fft.rfftfreq(NUM_FFT), phase, 1)[0]
    # A shift within the frame loses a bit of overlap, hence the tolerance.
    assert -slope == pytest.approx(delay, abs=0.05)


def test_frame_power_is_that_of_the_spectrum():
    x = noise(4)[None]
    spectrum = stft(x, NUM_FFT, HOP).abs().square()
    both_sides = 2 * spectrum.sum(-1) - spectrum[..., 0] - spectrum[..., -1]
    expected = both_sides / NUM_FFT / density_to_power(2, NUM_FFT)
    torch.testing.assert_close(frame_power(x, NUM_FFT, HOP), expected, rtol=1e-12, atol=0)


def test_only_the_frames_that_are_kept_count():
    x, y = noise(5, size=4096), noise(6, size=4096)
    frames_x, frames_y = (stft(signal[None], NUM_FFT, HOP)[0] for signal in (x, y))
    keep = torch.zeros(len(frames_x), dtype=torch.bool)
    keep[[2, 9]] = True
    spectra = cross_spectra(x, y, NUM_FFT, HOP, keep)
    expected = (frames_x[keep].conj() * frames_y[keep]).mean(0)
    torch.testing.assert_close(spectra.xy, expected, rtol=1e-12, atol=1e-12)


def test_pooling_two_halves_is_averaging_all():
    x, y = noise(7, size=2048), noise(8, size=2048)
    keep = torch.arange(13) < 6
    parts = [cross_spectra(x, y, NUM_FFT, HOP, mask) for mask in (keep, ~keep & True)]
    frames = torch.tensor([6.0, 7.0])
    weights = torch.tensor([part.num_averages for part in parts])
    pooled = CrossSpectra.pooled(parts)
    expected = (weights[0] * parts[0].xx + weights[1] * parts[1].xx) / weights.sum()
    torch.testing.assert_close(pooled.xx, expected.double(), rtol=1e-6, atol=0)
    assert (frames / weights).std() < 0.1  # about equal worth a frame


def test_coherence_is_the_ratio_of_h1_to_h2_and_that_of_its_definition():
    x = noise(9, size=400_000)
    y = x + noise(10, size=400_000)  # half of the power is coherent
    spectra = cross_spectra(x, y, NUM_FFT, HOP)
    h1, h2 = spectra.xy / spectra.xx, spectra.yy / spectra.xy.conj()
    torch.testing.assert_close(spectra.coherence, (h1 / h2).abs(), rtol=1e-12, atol=0)
    assert float(spectra.coherence.mean()) == pytest.approx(0.5, abs=0.01)


def test_signals_without_power_are_not_coherent():
    silence = torch.zeros(4096, dtype=torch.float64)
    spectra = cross_spectra(silence, noise(1, size=4096), NUM_FFT, HOP)
    assert (spectra.coherence == 0).all()


def test_unrelated_signals_have_the_coherence_of_chance():
    """The mean coherence of n independent averages of unrelated noise is 1/n."""
    coherence, averages = [], 0.0
    for trial in range(20):
        spectra = cross_spectra(noise(1, trial, size=8192), noise(2, trial, size=8192), 512, 128)
        coherence.append(spectra.coherence[1:-1])
        averages = spectra.num_averages
    values = torch.cat(coherence)
    assert float(values.mean()) == pytest.approx(1 / averages, rel=0.05)
    assert float((values > chance_coherence(averages)).double().mean()) == pytest.approx(
        0.05, abs=0.015
    )


def test_frames_without_overlap_are_independent():
    assert independent_averages(100, 512, 512) == 100
    assert independent_averages(0, 512, 128) == 0


@pytest.mark.parametrize("hop", [64, 128, 256])
def test_independent_averages_predict_the_variance_of_a_welch_spectrum(hop):
    estimates = torch.stack(
        [
            cross_spectra(x, x, 512, hop).xx[2:-2]
            for x in (noise(9, k, size=8192) for k in range(60))
        ]
    )
    relative = float(estimates.var(dim=0).mean() / estimates.mean() ** 2)
    count = (8192 - 512) // hop + 1
    assert 1 / relative == pytest.approx(independent_averages(count, 512, hop), rel=0.05)


def test_minimum_phase_of_a_minimum_phase_filter_is_its_own():
    signal: Any = scipy.signal  # whose stubs take arrays for integers
    _, denominator = signal.butter(2, 800, fs=RATE)
    zeros = [0.5, -0.3 + 0.4j, -0.3 - 0.4j]  # all within the unit circle
    numerator = np.real(np.poly(zeros))
    _, response = signal.freqz(numerator, denominator, np.linspace(0, np.pi, 1025))
    phase = minimum_phase(torch.from_numpy(np.log(np.abs(response))))
    np.testing.assert_allclose(phase, np.unwrap(np.angle(response)), atol=1e-9)


def test_smoothing_leaves_constants_and_conserves_narrow_power():
    constant = torch.full((513,), 3.0, dtype=torch.float64)
    torch.testing.assert_close(fractional_octave_smooth(constant, 6), constant)
    line = torch.zeros(513, dtype=torch.float64)
    line[200] = 1.0
    smooth = fractional_octave_smooth(line, 3)
    width = 200 * (2 ** (1 / 6) - 2 ** (-1 / 6))
    assert float(smooth[200]) == pytest.approx(1 / width, rel=1e-12)
    assert float(smooth[170]) == 0  # more than a sixth of an octave below


def test_gaps_are_bridged_and_ends_held():
    curve = torch.tensor([9.0, 1.0, 9.0, 9.0, 4.0, 9.0])
    known = torch.tensor([False, True, False, False, True, False])
    torch.testing.assert_close(
        fill_gaps(curve, known), torch.tensor([1.0, 1.0, 2.0, 3.0, 4.0, 4.0])
    )


@pytest.mark.parametrize("coherence", [0.0, 0.04, 0.3, 0.8, 1.0])
def test_medians_of_gaussian_signals_are_their_means(coherence):
    """The bias of the median differs between powers and products: 0.69, and 0.5 to 0.69."""
    x, own = noise(20, size=2_000_000), noise(21, size=2_000_000)
    y = (np.sqrt(coherence) * x + np.sqrt(1 - coherence) * own).roll(3)
    by_median, by_mean = (f(x, y, 64, 64) for f in (median_spectra, cross_spectra))
    inside = slice(1, -1)  # both ends are real and have another distribution
    for name in ("xx", "yy"):
        ratio = (getattr(by_median, name) / getattr(by_mean, name))[inside]
        assert float(ratio.mean()) == pytest.approx(1, abs=0.01)
    magnitude = (by_median.xy.abs() / (by_median.xx * by_median.yy).sqrt())[inside]
    # Unrelated signals have by chance a coherence of one over the averages.
    chance = 2 / by_median.num_averages**0.5
    assert float(magnitude.mean()) == pytest.approx(np.sqrt(coherence), abs=0.01 + chance)
    if coherence > 0:
        turn = torch.angle(by_median.xy / by_mean.xy)[inside]
        assert float(turn.abs().max()) < 0.15 / coherence**0.5


def test_medians_of_a_linear_system_give_its_response_whatever_the_level_does():
    envelope = torch.linspace(0, 12, 80_000, dtype=torch.float64).sin().abs() + 0.01
    x = noise(22, size=80_000) * envelope
    spectra = median_spectra(x, -0.5 * x, NUM_FFT, HOP)
    torch.testing.assert_close(spectra.xy / spectra.xx, torch.full_like(spectra.xy, -0.5))
    torch.testing.assert_close(spectra.coherence, torch.ones_like(spectra.xx))


def test_clicks_move_the_mean_and_not_the_median():
    x = noise(23, size=200_000)
    clicked = 0.5 * x
    clicked[::4000] += 200.0  # within every eighth frame
    clean = median_spectra(x, 0.5 * x, NUM_FFT, HOP)
    by_median, by_mean = (
        float((average(x, clicked, NUM_FFT, HOP).yy / clean.yy)[1:-1].mean())
        for average in (median_spectra, cross_spectra)
    )
    assert by_median < 1.2
    assert by_mean > 3


def test_a_median_says_how_many_averages_it_is_worth():
    """Its scatter over bins is that of so many averages: 1/sqrt(n)."""
    x = noise(24, size=400_000)
    spectra = median_spectra(x, x, 64, 64)
    scatter = float((spectra.xx[1:-1] / spectra.xx[1:-1].mean()).std())
    assert scatter == pytest.approx(spectra.num_averages**-0.5, rel=0.3)  # of 31 bins


def test_the_median_of_no_frames_is_nothing():
    spectra = median_spectra(noise(25), noise(26), NUM_FFT, HOP, torch.zeros(309, dtype=torch.bool))
    assert spectra.num_averages == 0
    assert float(spectra.xx.sum() + spectra.xy.abs().sum()) == 0


@pytest.mark.parametrize("count", [1, 3, 8, 25])
def test_the_median_of_few_frames_is_corrected_as_simulated(count):
    draws = np.random.default_rng(8).exponential(size=(200_000, count - 1 + count % 2))
    expected = float(np.median(draws, axis=1).mean())
    assert median_to_mean(count) == pytest.approx(expected, rel=0.01)


def test_gaps_are_filled_in_every_curve_of_a_batch():
    curves = torch.tensor([[0.0, 1.0, 9.0, 3.0], [5.0, 2.0, 9.0, 0.0]])
    known = torch.tensor([False, True, False, True])
    expected = torch.tensor([[1.0, 1.0, 2.0, 3.0], [2.0, 2.0, 1.0, 0.0]])
    torch.testing.assert_close(fill_gaps(curves, known), expected)


def test_a_window_that_was_first_needed_for_inference_lets_gradients_through():
    with torch.inference_mode():
        stft(torch.zeros(1, 94), 94, 47)
    signal = torch.ones(1, 94, requires_grad=True)
    stft(signal, 94, 47).abs().sum().backward()
    assert signal.grad is not None
    assert float(signal.grad.abs().max()) > 0
