"""The estimators against systems and noises that are known exactly."""

from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.signal
import torch

from bcsim.dsp.activity import active_frames
from bcsim.dsp.spectra import CrossSpectra, chance_coherence, stft
from bcsim.errors import UsageError
from bcsim.fitting.estimation import EstimationSettings, make_estimator
from bcsim.fitting.estimators import ESTIMATORS
from bcsim.fitting.estimators.base import pool
from bcsim.fitting.estimators.cross_correlation import (
    CrossCorrelation,
    correlations,
    wiener_taps,
)
from bcsim.fitting.estimators.cross_spectral import Hv
from bcsim.fitting.estimators.frequency_response_curve import loud_ratios, loudness_threshold
from bcsim.fitting.pairs import AlignedPair, NoiseFloor, frame_size

signal: Any = scipy.signal  # whose stubs take arrays for integers

RATE = 16_000
NUM_FFT = frame_size(RATE)
GRID = np.linspace(0, RATE / 2, NUM_FFT // 2 + 1)


def aligned(air: np.ndarray, bone: np.ndarray, noise_psd: float = 0.0) -> AlignedPair:
    """Return a pair as alignment would, every frame active, level untouched."""
    frames = (len(air) - NUM_FFT) // (NUM_FFT // 4) + 1
    quiet = torch.zeros(len(GRID), dtype=torch.float64)
    return AlignedPair(
        name="pair", talker=None, air=torch.from_numpy(air), bone=torch.from_numpy(bone),
        sample_rate=RATE, active=torch.ones(frames, dtype=torch.bool), num_fft=NUM_FFT,
        noise=NoiseFloor(quiet + noise_psd, 1.0, True), air_noise=NoiseFloor(quiet, 1.0, True),
        delay_s=0.0, level_db=0.0, seconds=len(air) / RATE, active_seconds=len(air) / RATE,
    )  # fmt: skip


def white(seed: int, seconds: float = 60.0) -> np.ndarray:
    return np.random.default_rng([seed, 3]).standard_normal(round(seconds * RATE))


@pytest.mark.parametrize("name", list(ESTIMATORS))
def test_every_estimator_recovers_a_known_two_mass_system(name, systems):
    """White excitation, no noise: within 0.2 dB and 0.02 rad up to 3 kHz.

    What is left is the system's ringing past the end of a frame. The mean of a ratio overshoots
    by nature; its constant factor is compared apart.
    """
    air = white(1)
    bone = signal.lfilter(*systems.two_mass(RATE), air)
    estimate = ESTIMATORS[name]().estimate([aligned(air, bone)])
    known = systems.response_of(systems.two_mass(RATE), GRID, RATE)
    band = (GRID > 40) & (GRID < 3000)
    ratio = (estimate.response / known)[band]
    if name == "frequency-response-curve":
        ratio = ratio / np.median(np.abs(ratio))
        assert np.abs(20 * np.log10(np.abs(ratio))).max() < 2.0
    else:
        assert np.abs(20 * np.log10(np.abs(ratio))).max() < 0.2
    assert np.abs(np.angle(ratio)).max() < 0.02


@pytest.mark.parametrize("name", list(ESTIMATORS))
@pytest.mark.parametrize("delay", [10, -10, 3.5])
def test_every_estimator_gives_a_delay_its_sign(name, delay, systems):
    """A cross-spectrum with its arguments swapped conjugates the phase: +10 comes out as -10."""
    air = signal.lfilter(*signal.butter(2, 3000, fs=RATE), white(2))
    bone = systems.delayed(air, delay) if delay > 0 else np.roll(air, int(delay))
    estimate = ESTIMATORS[name]().estimate([aligned(air, bone)])
    band = (GRID > 100) & (GRID < 2500)
    slope = np.polyfit(
        2 * np.pi * GRID[band] / RATE, np.unwrap(np.angle(estimate.response[band])), 1
    )
    assert -slope[0] == pytest.approx(delay, abs=0.02)


@pytest.mark.parametrize("snr_db", [0.0, 10.0])
def test_noise_on_air_biases_h1_down_by_theory_and_leaves_h2(snr_db):
    clean, snr = white(3), 10 ** (snr_db / 10)
    pair = aligned(clean + white(4) / np.sqrt(snr), 0.5 * clean)
    measured = {name: median_gain(name, pair) for name in ("h1", "h2", "h3", "hv")}
    assert measured["h1"] == pytest.approx(0.5 / (1 + 1 / snr), rel=0.01)
    assert measured["h2"] == pytest.approx(0.5, rel=0.01)
    assert measured["h3"] == pytest.approx(0.5 / np.sqrt(1 + 1 / snr), rel=0.01)
    assert measured["h1"] < measured["hv"] < measured["h2"]


@pytest.mark.parametrize("snr_db", [0.0, 10.0])
def test_noise_on_bone_biases_h2_up_by_theory_and_leaves_h1(snr_db):
    clean, snr = white(5), 10 ** (snr_db / 10)
    pair = aligned(clean, 0.5 * (clean + white(6) / np.sqrt(snr)))
    measured = {name: median_gain(name, pair) for name in ("h1", "h2", "h3", "hv")}
    assert measured["h1"] == pytest.approx(0.5, rel=0.01)
    assert measured["h2"] == pytest.approx(0.5 * (1 + 1 / snr), rel=0.01)
    assert measured["h3"] == pytest.approx(0.5 * np.sqrt(1 + 1 / snr), rel=0.01)
    assert measured["h1"] < measured["hv"] < measured["h2"]


def test_hv_is_unbiased_for_the_right_ratio_of_noises():
    clean, ratio = white(7), 4.0
    pair = aligned(clean + 0.5 * white(8), 2 * clean + 0.5 * np.sqrt(ratio) * white(9))
    spectra, noise = pool([pair])
    right = Hv(noise_ratio=ratio).response(spectra, noise).abs().median()
    assert float(right) == pytest.approx(2.0, rel=0.01)


def test_hv_tends_to_h2_and_to_h1():
    pair = aligned(white(10, 5.0) + 0.3 * white(11, 5.0), white(10, 5.0) + 0.3 * white(12, 5.0))
    spectra, noise = pool([pair])
    h1, h2 = (ESTIMATORS[name]().estimate([pair]).response for name in ("h1", "h2"))
    np.testing.assert_allclose(Hv(noise_ratio=1e-9).response(spectra, noise), h2, rtol=1e-6)
    np.testing.assert_allclose(Hv(noise_ratio=1e9).response(spectra, noise), h1, rtol=1e-6)


def test_the_power_ratio_takes_the_known_noise_out_and_keeps_incoherent_speech():
    """Half of the bone signal comes by a path of its own: H1 misses it."""
    clean, psd = white(13), 0.25 * 2 / RATE  # of white noise with a power of 1/4
    bone = clean + white(14) + 0.5 * white(15)
    pair = aligned(clean, bone, noise_psd=psd)
    assert median_gain("power-ratio", pair) == pytest.approx(np.sqrt(2), rel=0.01)
    assert median_gain("h1", pair) == pytest.approx(1.0, rel=0.01)


def test_more_noise_than_power_gives_no_response_rather_than_nan():
    pair = aligned(white(16, 2.0), white(17, 2.0), noise_psd=1.0)
    assert (ESTIMATORS["power-ratio"]().estimate([pair]).response == 0).all()


@pytest.mark.parametrize("name", list(ESTIMATORS))
def test_a_silent_band_gives_finite_responses(name):
    air, bone = white(18, 2.0), white(19, 2.0)
    spectrum = np.fft.rfft(air)
    spectrum[len(spectrum) // 2 :] = 0
    estimate = ESTIMATORS[name]().estimate([aligned(np.fft.irfft(spectrum), bone)])
    assert np.isfinite(estimate.response).all()


def test_spectra_are_pooled_by_power_not_by_response():
    loud = aligned(white(20, 4.0), 2 * white(20, 4.0))
    faint = aligned(0.01 * white(21, 4.0), 0.05 * white(21, 4.0))
    assert ESTIMATORS["h1"]().estimate([loud, faint]).response.real.mean() == pytest.approx(
        2.0, rel=0.01
    )


def test_the_curve_is_the_mean_ratio_over_points_where_both_are_loud():
    air, bone = white(22, 2.0), white(23, 2.0)
    pair = aligned(air, bone)
    curve = np.abs(ESTIMATORS["frequency-response-curve"]().estimate([pair]).response)
    x, y = (stft(s[:][None], NUM_FFT, NUM_FFT // 4)[0].abs().numpy() for s in (pair.air, pair.bone))
    both = (x > loudness_threshold(torch.from_numpy(x))) & (
        y > loudness_threshold(torch.from_numpy(y))
    )
    for k in (10, 200, 400):
        assert curve[k] == pytest.approx(np.mean((y / x)[both[:, k], k]), rel=1e-9)


def test_bins_that_are_never_loud_take_the_curve_of_their_neighbours():
    """A published curve had 237 of 321 bins at 0: those that no frame was ever selected in."""
    air, bone = white(24, 4.0), white(25, 4.0)
    spectrum = np.fft.rfft(bone)
    frequencies = np.fft.rfftfreq(len(bone), 1 / RATE)
    spectrum[(frequencies > 3000) & (frequencies < 3500)] *= 1e-4
    holed = aligned(air, np.fft.irfft(spectrum))
    estimate = ESTIMATORS["frequency-response-curve"]().estimate([holed])
    hole = np.abs(estimate.response[(GRID > 3050) & (GRID < 3450)])
    assert hole.min() > 0


def test_otsu_parts_two_populations():
    levels = torch.cat([torch.full((900,), 0.001), torch.full((100,), 1.0)])
    assert 0.001 < loudness_threshold(levels) < 1.0
    assert loudness_threshold(torch.zeros(5)) == 0


def test_wiener_taps_solve_the_normal_equations_densely_written():
    air = white(26, 0.5)
    bone = np.convolve(air, [0.0, 0.7, -0.2, 0.1])[: len(air)]
    num_taps, before, ridge = 24, 5, 1e-3
    auto, cross = correlations(torch.from_numpy(air), torch.from_numpy(bone), num_taps, before)
    brute_auto = [air[: len(air) - lag] @ air[lag:] for lag in range(num_taps)]
    lags = range(-before, num_taps - before)
    brute_cross = [
        air[max(0, -lag) : len(air) - max(0, lag)] @ bone[max(0, lag) : len(air) + min(0, lag)]
        for lag in lags
    ]
    np.testing.assert_allclose(auto, brute_auto, rtol=1e-9)
    np.testing.assert_allclose(cross, brute_cross, rtol=1e-9, atol=1e-8)
    matrix = scipy.linalg.toeplitz(brute_auto) + ridge * brute_auto[0] * np.eye(num_taps)
    expected = scipy.linalg.solve(matrix, brute_cross, assume_a="pos")
    np.testing.assert_allclose(wiener_taps(auto, cross, ridge), expected, rtol=1e-8, atol=1e-10)


def test_the_wiener_filter_finds_taps_before_time_zero():
    air = white(27, 10.0)
    bone = 0.5 * np.roll(air, -20) + 0.25 * np.roll(air, 30)
    estimate = ESTIMATORS["cross-correlation"]().estimate([aligned(air, bone)])
    taps, centre = estimate.impulse_response()
    assert taps[centre - 20] == pytest.approx(0.5, rel=1e-2)
    assert taps[centre + 30] == pytest.approx(0.25, rel=1e-2)
    taps[[centre - 20, centre + 30]] = 0
    assert np.abs(taps).max() < 0.01


def test_estimators_report_coherence_and_averages():
    clean = white(28)
    estimate = ESTIMATORS["h1"]().estimate([aligned(clean, clean + white(29))])
    assert estimate.coherence.mean() == pytest.approx(0.5, abs=0.01)
    error = estimate.standard_error.mean()
    spread = np.std(np.abs(estimate.response)[2:-2])
    assert spread == pytest.approx(error, rel=0.1)  # Bendat & Piersol's formula holds
    assert active_frames(torch.from_numpy(clean)[None], RATE).all()


def test_pooled_spectra_are_weighted_by_their_averages():
    pair = aligned(white(30, 4.0), white(31, 4.0))
    spectra, noise = pool([pair, pair])
    single = CrossSpectra.pooled([pair.spectra])
    torch.testing.assert_close(spectra.xy, single.xy, rtol=1e-12, atol=1e-12)
    assert spectra.num_averages == pytest.approx(2 * single.num_averages)
    assert noise.shape == single.xx.shape


AVERAGING = ["power-ratio", "h1", "h2", "h3", "hv"]
GATED = ["h1", "h2", "h3", "hv"]


@pytest.mark.parametrize("name", AVERAGING)
def test_the_median_recovers_a_known_two_mass_system_through_knocks(name, systems):
    """A knock on the sensor every half second, 30 dB above the speech: the mean is lost."""
    air = white(40)
    bone = signal.lfilter(*systems.two_mass(RATE), air)
    knocked = bone.copy()
    knocked[:: RATE // 2] += 1000.0
    known = np.abs(systems.response_of(systems.two_mass(RATE), GRID, RATE))
    band = (GRID > 40) & (GRID < 3000)
    errors_db = {}
    for average in ("mean", "median"):
        estimator = make_estimator(name, EstimationSettings(average=average))
        ratio = (np.abs(estimator.estimate([aligned(air, knocked)]).response) / known)[band]
        errors_db[average] = np.sqrt(np.mean((20 * np.log10(ratio / np.median(ratio))) ** 2))
    assert errors_db["median"] < 0.9
    assert errors_db["mean"] > 1.2 * errors_db["median"]


def test_the_curve_may_be_the_median_ratio():
    pair = aligned(white(47, 2.0), white(48, 2.0))
    settings = EstimationSettings(average="median")
    curve = np.abs(make_estimator("frequency-response-curve", settings).estimate([pair]).response)
    ratios = loud_ratios(pair).numpy()
    for k in (10, 200, 400):
        ordered = np.sort(ratios[:, k][~np.isnan(ratios[:, k])])
        assert curve[k] == pytest.approx(ordered[(len(ordered) - 1) // 2], rel=1e-9)
    mean = np.abs(ESTIMATORS["frequency-response-curve"]().estimate([pair]).response)
    assert np.mean(curve) < np.mean(mean)


@pytest.mark.parametrize("name", GATED)
def test_bins_without_coherence_take_the_power_ratio(name):
    """Above 3 kHz bone is another signal: H1 of n averages is 1/sqrt(n) of what it should be."""
    low = signal.firwin(255, 3000, fs=RATE)
    air, other = white(41, 3.0), white(42, 3.0)
    bone = signal.fftconvolve(air, low, mode="same") + other
    bone -= signal.fftconvolve(other, low, mode="same")
    pair = aligned(air, bone)
    gated, plain, power = (
        make_estimator(n, settings).estimate([pair]).response
        for n, settings in (
            (name, EstimationSettings(gated=True)), (name, None), ("power-ratio", None)
        )
    )  # fmt: skip
    coherence = pair.spectra.coherence.numpy()
    believed = coherence > chance_coherence(pair.spectra.num_averages)
    np.testing.assert_array_equal(gated[believed], plain[believed])
    np.testing.assert_array_equal(gated[~believed], power[~believed])
    above = (GRID > 3300) & (GRID < 7800)
    # Carter's threshold: unrelated signals exceed it once in twenty times.
    assert np.mean(believed[above]) == pytest.approx(0.05, abs=0.04)
    assert believed[(GRID > 100) & (GRID < 2700)].all()
    assert np.median(np.abs(gated[above])) == pytest.approx(1.0, rel=0.1)


def test_the_sample_coherence_of_unrelated_signals_is_one_over_the_averages():
    spectra = aligned(white(43, 3.0), white(44, 3.0)).spectra
    expected = 1 / spectra.num_averages
    assert float(spectra.coherence[4:-4].mean()) == pytest.approx(expected, rel=0.15)


def test_options_that_an_estimator_lacks_are_refused_with_those_that_have_them():
    with pytest.raises(UsageError, match=r"'power-ratio' .* gating .*: h1, h2, h3, hv$"):
        make_estimator("power-ratio", EstimationSettings(gated=True))
    with pytest.raises(UsageError, match="'cross-correlation' has no option for the average"):
        make_estimator("cross-correlation", EstimationSettings(average="mean"))
    with pytest.raises(UsageError, match="did you mean 'power-ratio'"):
        make_estimator("power-rato")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("mode", None, 12), "'mode'"), ((None, None, 0.5), "1/0.5 octave")],
)
def test_impossible_settings_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        EstimationSettings(*arguments)


@pytest.mark.parametrize(
    "options", [{"duration_s": 0.1}, {"before_s": 0.04}, {"before_s": -0.01}, {"ridge": 0.0}]
)
def test_an_impossible_wiener_filter_is_refused(options):
    with pytest.raises(UsageError, match=r"a filter of|ridge is 0"):
        CrossCorrelation(**options)


def test_the_ridge_keeps_a_band_without_air_from_being_amplified():
    """Air ends at 3 kHz; without the ridge, the sensor's noise above would be its response."""
    air = signal.lfilter(*signal.butter(8, 3000, fs=RATE), white(45, 10.0))
    pair = aligned(air, 0.5 * air + 0.01 * white(46, 10.0))
    empty = (GRID > 5000) & (GRID < 7500)
    loose, firm = (
        np.abs(CrossCorrelation(ridge=ridge).estimate([pair]).response[empty]).max()
        for ridge in (1e-9, 1e-2)
    )
    assert firm < 0.1
    assert loose > 3 * firm


def median_gain(name: str, pair: AlignedPair) -> float:
    return float(np.median(np.abs(ESTIMATORS[name]().estimate([pair]).response)))
