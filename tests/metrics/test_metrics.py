"""Metrics against closed forms."""

import math

import librosa
import numpy as np
import pytest
import scipy.fft
import scipy.signal
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

from bcsim.metrics import METRICS
from bcsim.metrics.base import Metric
from bcsim.metrics.comparison import Comparison
from bcsim.metrics.mcd import cepstrum_matrix
from bcsim.metrics.scores import (
    enhancement_metrics,
    enhancement_scores,
    headline_metrics,
    simulation_metrics,
    simulation_scores,
)

RATE = 16_000
MEASURED = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            not metric.is_available, reason=f"{metric.package} is not installed"
        ),
    )
    for name, metric in METRICS.items()
]
DISTANCES = [name for name, metric in METRICS.items() if metric.better == "lower"]


def noise(seed: int, seconds: float = 3.0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng([seed, 6]).standard_normal(round(seconds * RATE)))


def speech(seed: int, seconds: float = 3.0) -> torch.Tensor:
    """Noise with syllables and pauses."""
    time = torch.arange(round(seconds * RATE), dtype=torch.float64) / RATE
    envelope = torch.sin(2 * math.pi * 2.2 * time).clamp(min=0) * (time % 1.5 < 1.1)
    return noise(seed, seconds) * (envelope + 1e-3)


def compare(estimate: torch.Tensor, real: torch.Tensor, **options) -> Comparison:
    return Comparison.prepare(estimate, real, RATE, **options)


@pytest.mark.parametrize("name", DISTANCES)
def test_a_signal_is_no_distance_from_itself(name):
    assert METRICS[name](compare(speech(1), speech(1))) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", ["stoi", "estoi", "dynamics_ratio"])
def test_a_signal_is_as_intelligible_and_as_lively_as_itself(name):
    assert METRICS[name](compare(speech(1), speech(1))) == pytest.approx(1, abs=1e-6)


def test_twice_the_signal_is_6_db_away_unless_levels_are_matched():
    x = noise(2)
    doubled = 20 * math.log10(2)
    assert METRICS["lsd"](compare(2 * x, x, match_level=False)) == pytest.approx(doubled, abs=1e-3)
    assert METRICS["mel_sd"](compare(2 * x, x, match_level=False)) == pytest.approx(
        doubled, abs=1e-3
    )
    assert METRICS["ltas"](compare(2 * x, x, match_level=False)) == pytest.approx(doubled, abs=1e-3)
    assert METRICS["lsd"](compare(2 * x, x)) == pytest.approx(0, abs=1e-9)


def test_two_independent_noises_of_equal_spectrum_are_7_9_db_apart():
    r"""The level of a bin is that of an exponential variable, of variance (10/ln 10)^2 pi^2/6.

    Twice that under the root is 7.88 dB; a frame's root mean square over its few hundred
    independent bins lies a little lower.
    """
    expected = 10 / math.log(10) * math.pi / math.sqrt(3)
    assert expected == pytest.approx(7.88, abs=0.01)
    found = METRICS["lsd"](compare(noise(3, 20.0), noise(4, 20.0)))
    assert found == pytest.approx(expected, abs=0.1)


def test_the_floor_is_80_db_under_the_maximum_of_the_real_signal():
    """Real: one loud half, then silence. Estimate: 100 dB under the maximum there. No distance."""
    real = noise(5)
    real[len(real) // 2 :] = 0
    estimate = real.clone()
    estimate[len(real) // 2 :] = 1e-5 * noise(6)[len(real) // 2 :]
    assert METRICS["lsd_pauses"](compare(estimate, real)) == pytest.approx(0, abs=0.05)
    audible = real.clone()
    audible[len(real) // 2 :] = 1e-2 * noise(6)[len(real) // 2 :]
    assert METRICS["lsd_pauses"](compare(audible, real)) > 20


def test_bands_of_lsd_see_their_band_alone():
    real = noise(7)
    spectrum = torch.fft.rfft(real)
    frequencies = torch.fft.rfftfreq(len(real), 1 / RATE)
    estimate = torch.fft.irfft(spectrum * torch.where(frequencies > 3000, 0.1, 1.0), len(real))
    pair = compare(estimate, real, match_level=False)
    assert METRICS["lsd_0_2k"](pair) < 0.01
    assert METRICS["lsd_2_8k"](pair) == pytest.approx(20 * math.sqrt(5 / 6), rel=0.02)


def test_cepstral_distance_of_a_cosine_tilt_is_the_closed_form():
    """A log spectrum that differs by a cos(pi n (m+1/2)/M) differs in the coefficient n, by a."""
    bands = torch.arange(40, dtype=torch.float64) + 0.5
    ripple = 0.7 * torch.cos(math.pi * 3 * bands / 40)
    difference = ripple @ cepstrum_matrix(40)
    expected = torch.zeros(13, dtype=torch.float64)
    expected[2] = 0.7
    torch.testing.assert_close(difference, expected, rtol=0, atol=1e-12)


def test_mcd_agrees_with_librosas_mel_and_scipys_dct():
    pair = compare(speech(8), speech(9))
    mels = [mel_powers(signal.numpy()) for signal in (pair.estimate, pair.real)]
    floor = mels[1].max() * 1e-8
    logs = [np.log(np.maximum(mel[pair.active.numpy()], floor)) / 2 for mel in mels]
    cepstra = [np.asarray(scipy.fft.dct(log, type=2, axis=1))[:, 1:14] / 40 for log in logs]
    expected = 10 / np.log(10) * np.sqrt(2 * ((cepstra[0] - cepstra[1]) ** 2).sum(1)).mean()
    assert METRICS["mcd"](pair) == pytest.approx(expected, rel=1e-4)


def mel_powers(signal: np.ndarray) -> np.ndarray:
    """Return what `librosa.feature.melspectrogram` does; to import that takes seconds."""
    frames = np.lib.stride_tricks.sliding_window_view(signal, 512)[::256]
    window = scipy.signal.get_window("hann", 512)
    filters = librosa.filters.mel(sr=RATE, n_fft=512, n_mels=40, htk=True)
    return np.abs(np.fft.rfft(frames * window)) ** 2 @ filters.T


def test_less_movement_gives_a_dynamics_ratio_below_one():
    real = speech(10)
    pair = compare(real.sign() * real.abs().sqrt(), real)
    assert 0.3 < METRICS["dynamics_ratio"](pair) < 0.9


@pytest.mark.parametrize("snr_db", [0.0, 10.0])
def test_the_band_limited_sdr_is_the_ratio_within_the_band(snr_db):
    """Equal white spectra: what holds from 100 to 1000 Hz is what holds everywhere."""
    real, other = noise(11, 30.0), noise(12, 30.0)
    estimate = -(real + 10 ** (-snr_db / 20) * other).roll(17)  # inverted, 1 ms late
    found = METRICS["si_sdr_100_1000"](compare(estimate, real))
    assert found == pytest.approx(snr_db, abs=0.3)
    assert METRICS["si_sdr"](compare(estimate, real)) < -20  # the plain one takes no lag


def test_plain_sdr_is_the_ratio_of_powers():
    real, other = noise(13, 20.0), noise(14, 20.0)
    estimate = 3 * (real + 0.1 * other)
    assert METRICS["si_sdr"](compare(estimate, real)) == pytest.approx(20, abs=0.2)


@pytest.mark.parametrize("name", MEASURED)
def test_a_silent_target_gives_nan_and_no_warning(name):
    assert math.isnan(METRICS[name](compare(noise(1), torch.zeros(3 * RATE))))


NOTHING = {
    "silence": torch.zeros(RATE),
    "DC": torch.full((RATE,), 0.1),
    "less than the last bit of 24": 1e-8 * noise(3, 1.0),
    "one NaN": noise(3, 1.0).index_fill(0, torch.tensor([5]), math.nan),
    "infinite": noise(3, 1.0).index_fill(0, torch.tensor([5]), math.inf),
}


@pytest.mark.parametrize("match_level", [True, False])
@pytest.mark.parametrize("estimate", NOTHING.values(), ids=NOTHING)
@pytest.mark.parametrize("name", MEASURED)
def test_a_silent_or_non_finite_estimate_has_the_worst_value(name, estimate, match_level):
    """NaN once had an SI-SDR of +100 dB, silence one of 0 dB, and neither counted in STOI."""
    pair = compare(estimate, speech(1, 1.0), match_level=match_level)
    assert METRICS[name](pair) == METRICS[name].worst


@pytest.mark.parametrize("name", MEASURED)
def test_no_value_is_worse_than_that_of_silence(name):
    metric, real = METRICS[name], speech(1, 1.0)
    for other in (-real, 1e6 * noise(4, 1.0), 1e-5 * noise(5, 1.0), real.flip(0)):
        assert not metric.is_better(metric.worst, metric(compare(other, real, match_level=False)))


@pytest.mark.parametrize("name", MEASURED)
def test_the_real_signal_alone_decides_whether_there_is_a_value(name):
    """Means over the same utterances compare; 0.2 s of speech has no STOI, for any estimate."""
    short = speech(1)[:3200]
    estimates = (short, noise(2)[:3200], torch.zeros(3200))
    values = [METRICS[name](compare(estimate, short)) for estimate in estimates]
    assert len({math.isnan(value) for value in values}) == 1


@pytest.mark.parametrize("name", ["si_sdr", "stoi", "estoi"])
def test_a_faint_estimate_scores_as_the_same_one_louder(name):
    """No constant that keeps a division from failing is heard above the last bit of 24."""
    real = speech(1)
    estimate = real + 0.5 * noise(2)
    loud, faint = (compare(gain * estimate, real, match_level=False) for gain in (1.0, 1e-6))
    assert METRICS[name](faint) == pytest.approx(METRICS[name](loud), abs=1e-6)


@pytest.mark.parametrize("name", MEASURED)
@pytest.mark.parametrize("num_samples", [0, 1, 100, 700, 4000])
def test_very_short_signals_do_not_break(name, num_samples):
    value = METRICS[name](compare(noise(1)[:num_samples], noise(2)[:num_samples]))
    assert not math.isinf(value)


@pytest.mark.parametrize("rate", [8_000, 48_000])
def test_other_rates_are_brought_to_16_khz(rate):
    x = torch.from_numpy(np.random.default_rng(3).standard_normal(3 * rate))
    scores = simulation_scores(x, x, x, rate)
    assert all(
        scores[name] == pytest.approx(0, abs=1e-6) for name in ("lsd", "lsd_0_2k", "mel_sd", "mcd")
    )
    assert scores["stoi"] == pytest.approx(1, abs=1e-6)


def test_a_band_that_neither_signal_has_does_not_dilute_the_distance():
    """At 8 kHz both are at the floor above 4 kHz: counting that would halve the square."""
    generator = np.random.default_rng(4)
    first, second = (torch.from_numpy(generator.standard_normal(80_000)) for _ in range(2))
    pair = Comparison.prepare(first, second, 8_000)
    assert METRICS["lsd"](pair) == pytest.approx(7.88, abs=0.2)
    assert math.isnan(METRICS["lsd_2_8k"](pair)) is False


def test_dc_and_lengths_are_taken_care_of():
    x = speech(15)
    scores = simulation_scores(0.5 * x + 0.3, x[:-500], x, RATE)
    assert scores["lsd"] == pytest.approx(0, abs=0.3)


def test_the_sets_of_scores_are_complete_and_finite():
    simulated = simulation_scores(speech(1), speech(2), speech(2), RATE)
    assert list(simulated) == simulation_metrics()
    enhanced = enhancement_scores(speech(1).float(), speech(2).float(), RATE)
    assert list(enhanced) == enhancement_metrics()
    available = {name for name, metric in METRICS.items() if metric.is_available}
    assert set(simulated) == {n for n in METRICS if METRICS[n].simulation is not None}
    assert set(enhanced) == {n for n in available if METRICS[n].enhancement is not None}
    assert all(math.isfinite(value) for value in (*simulated.values(), *enhanced.values()))


@pytest.mark.parametrize("name", MEASURED)
def test_every_registered_metric_says_what_it_is(name):
    metric = METRICS[name]
    assert isinstance(metric, Metric)
    assert metric.function.__doc__
    assert metric.label
    assert isinstance(metric(compare(speech(1), speech(2))), float)


@pytest.mark.parametrize("name", MEASURED)
def test_a_metric_prefers_a_signal_that_is_nearer_to_the_real_one(name):
    """The direction that every metric declares, against two estimates whose order is known."""
    real = speech(1)
    near, far = (METRICS[name](compare(real + part * noise(2), real)) for part in (0.01, 0.3))
    assert METRICS[name].is_better(near, far)
    assert not METRICS[name].is_better(far, near)
    assert not METRICS[name].is_better(near, near)
    assert METRICS[name].is_better(near, None)
    assert not METRICS[name].is_better(None, far)


@pytest.mark.parametrize("which", [simulation_metrics, enhancement_metrics])
def test_no_two_metrics_of_a_set_have_the_same_position(which):
    attribute = which.__name__.removesuffix("_metrics")
    positions = [getattr(METRICS[name], attribute) for name in which()]
    assert positions == sorted(set(positions))


def test_tables_of_simulators_have_narrow_headings():
    headings = [METRICS[name].headline for name in headline_metrics()]
    assert 0 < max(map(len, headings)) < 10
    assert len(set(headings)) == len(headings)


@pytest.mark.parametrize("gain", [1e-6, 0.1, -0.7, 40.0])
def test_the_si_sdr_is_that_of_torchmetrics(gain):
    real = speech(1) + 0.1
    estimate = gain * real + 0.2 * noise(2)
    expected = scale_invariant_signal_distortion_ratio(estimate, real, zero_mean=True)
    found = METRICS["si_sdr"](Comparison(estimate, real, torch.ones(1, dtype=torch.bool)))
    assert found == pytest.approx(expected.item(), rel=1e-12)
