"""Exported filters against filters that are known, and responses that are hostile."""

from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch

from bcsim.dsp.lowpass import lowpass_coefficients
from bcsim.errors import UsageError
from bcsim.sensors.filters.export import KINDS, LOWEST_HZ, RANGE_DB, Kind, response_filter
from bcsim.sensors.filters.fir_design import minimum_phase_factor
from bcsim.sensors.filters.iir_design import RADIUS
from bcsim.sensors.transfer_function import TransferFunction

signal: Any = scipy.signal  # whose stubs take arrays for integers

RATE = 16_000
GRID = np.linspace(0, RATE / 2, 513)
BAND = (GRID >= 80) & (GRID <= 7200)


def response_of(values: np.ndarray, rate: int = RATE) -> TransferFunction:
    grid = np.linspace(0, rate / 2, len(values))
    return TransferFunction(grid, values.astype(np.complex128), np.ones(len(grid)), 10.0)


def magnitude_db(coefficients: np.ndarray) -> np.ndarray:
    if coefficients.ndim == 2:
        values = signal.sosfreqz(coefficients, GRID, fs=RATE)[1]
    else:
        values = signal.freqz(coefficients, 1, GRID, fs=RATE)[1]
    return 20 * np.log10(np.maximum(np.abs(values), 1e-30))


def peaking(frequency_hz: float, q: float, gain_db: float) -> tuple[np.ndarray, np.ndarray]:
    """The bell of the Audio EQ Cookbook."""
    w, root = 2 * np.pi * frequency_hz / RATE, 10 ** (gain_db / 40)
    alpha = np.sin(w) / (2 * q)
    b = np.array([1 + alpha * root, -2 * np.cos(w), 1 - alpha * root])
    a = np.array([1 + alpha / root, -2 * np.cos(w), 1 - alpha / root])
    return b / a[0], a / a[0]


def cookbook_lowpass(cutoff_hz: float, q: float) -> tuple[np.ndarray, np.ndarray]:
    one = torch.ones(1, dtype=torch.float64)
    b, a = lowpass_coefficients(cutoff_hz * one, q * one, RATE)
    return b[0].numpy(), a[0].numpy()


BIQUADS = {
    "bell": peaking(1000, 2, 12),
    "dip": peaking(2440, 6, -10),
    "low bell": peaking(150, 1, 6),
    "low-pass": cookbook_lowpass(600, 1.0),
    "resonant low-pass": cookbook_lowpass(1500, 5.0),
}


@pytest.mark.parametrize("name", list(BIQUADS))
def test_one_section_recovers_a_known_biquad(name):
    known = signal.freqz(*BIQUADS[name], GRID, fs=RATE)[1]
    designed = response_filter(response_of(known), "iir", size=2)
    known_db = 20 * np.log10(np.maximum(np.abs(known), 1e-30))
    above = BAND & (known_db > known_db.max() - RANGE_DB)
    assert np.abs(magnitude_db(designed.coefficients) - known_db)[above].max() < 0.1
    assert designed.error.max_db < 0.1


def test_its_phase_is_the_minimum_phase():
    known = signal.freqz(*BIQUADS["bell"], GRID, fs=RATE)[1]
    sections = response_filter(response_of(known), "iir", size=2).coefficients
    ours = signal.sosfreqz(sections, GRID, fs=RATE)[1]
    assert np.abs(np.angle(ours / known))[BAND].max() < 0.02


def test_an_order_is_chosen_by_its_error():
    one, three = (
        np.prod([signal.freqz(*BIQUADS[n], GRID, fs=RATE)[1] for n in names], axis=0)
        for names in (["bell"], ["bell", "dip", "low bell"])
    )
    few, more = (response_filter(response_of(h), "iir") for h in (one, three))
    assert len(few.coefficients) < len(more.coefficients) <= 4
    assert max(few.error.rms_db, more.error.rms_db) < 1.0


def test_minimum_phase_taps_are_the_impulse_response_of_a_minimum_phase_system():
    """Two masses on damped springs, resonances at 350 and 1400 Hz, by the bilinear transform."""
    b, a = np.ones(1), np.ones(1)
    for resonance_hz, q in ((350.0, 1.5), (1400.0, 4.0)):
        w = 2 * np.pi * resonance_hz
        stage_b, stage_a = signal.bilinear([w / q, w**2], [1, w / q, w**2], fs=RATE)
        b, a = np.convolve(b, stage_b), np.convolve(a, stage_a)
    impulse = signal.lfilter(b, a, np.r_[1.0, np.zeros(511)])
    taps = response_filter(response_of(signal.freqz(b, a, GRID, fs=RATE)[1])).coefficients
    # Between the bins the magnitude is interpolated, and two zeros lie at half the sample rate.
    assert np.abs(taps - impulse).max() < 5e-3 * np.abs(impulse).max()


def test_taps_of_minimum_phase_come_back_from_their_magnitude():
    zeros = np.array([0.8 * np.exp(0.3j), 0.6 * np.exp(1.2j), 0.7 * np.exp(2.2j)])
    known = np.real(np.poly(np.r_[zeros, zeros.conj(), -0.5]))
    taps = response_filter(response_of(signal.freqz(known, 1, GRID, fs=RATE)[1]), size=8)
    np.testing.assert_allclose(taps.coefficients, known, atol=2e-4)


def test_all_zeros_of_minimum_phase_taps_lie_within_the_circle():
    steep = signal.freqz(signal.firwin(63, 1500, fs=RATE), 1, GRID, fs=RATE)[1]
    taps = response_filter(response_of(steep), "minimum-phase", 40).coefficients
    assert np.abs(np.roots(taps)).max() < 1.001  # a cepstrum knows zeros on the circle to 1e-3


def test_the_minimum_phase_factor_reflects_zeros_into_the_circle():
    zeros = [2.0, 0.5 + 0.4j, 0.5 - 0.4j, 0.3 + 1.4j, 0.3 - 1.4j, -0.9]
    taps = np.asarray(np.real(np.poly(zeros)), dtype=np.float64)
    inside = [z if abs(z) < 1 else 1 / np.conj(z) for z in zeros]
    scale = np.prod([abs(z) for z in zeros if abs(z) > 1])
    np.testing.assert_allclose(
        minimum_phase_factor(taps), scale * np.real(np.poly(inside)), atol=1e-9
    )


@pytest.mark.parametrize("num_taps", [511, 512, 64])
def test_linear_phase_delays_all_frequencies_alike(num_taps):
    known = signal.freqz(*BIQUADS["bell"], GRID, fs=RATE)[1]
    designed = response_filter(response_of(known), "linear-phase", num_taps)
    assert len(designed.coefficients) == num_taps
    assert designed.latency_samples == (num_taps - 1) // 2
    at = np.linspace(100, 7000, 50)
    _, delay = signal.group_delay((designed.coefficients, 1), at, fs=RATE)
    np.testing.assert_allclose(delay, designed.latency_samples, atol=1e-6)


def test_zero_phase_taps_are_centred_on_time_zero():
    known = signal.freqz(*BIQUADS["dip"], GRID, fs=RATE)[1]
    designed = response_filter(response_of(known), "zero-phase", 401)
    assert designed.latency_samples == 0
    assert designed.time_zero == 200
    spectrum = np.fft.rfft(np.roll(np.pad(designed.coefficients, (0, 623)), -200))
    assert np.abs(spectrum.imag).max() < 1e-12
    np.testing.assert_allclose(spectrum.real[BAND], np.abs(known)[BAND], rtol=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_the_error_that_is_stated_is_the_error_of_the_coefficients(kind):
    """By another route: time domain, on the response's own bins."""
    known = signal.freqz(*peaking(3000, 3, 20), GRID, fs=RATE)[1]
    designed = response_filter(response_of(known), kind, 16 if kind != "iir" else 2)
    impulse = np.r_[1.0, np.zeros(8191)]
    if kind == "iir":
        heard = signal.sosfilt(designed.coefficients, impulse)
    else:
        heard = signal.lfilter(designed.coefficients, 1, impulse)
    spectrum_db = 20 * np.log10(np.abs(np.fft.rfft(heard))[:: 8192 // 1024])
    error_db = (spectrum_db - 20 * np.log10(np.abs(known)))[BAND]
    assert designed.error.max_db == pytest.approx(np.abs(error_db).max(), rel=0.05, abs=0.02)
    points = np.geomspace(LOWEST_HZ, 7200, 156)
    rms_db = np.sqrt(np.mean(np.interp(points, GRID[BAND], error_db) ** 2))
    assert designed.error.rms_db == pytest.approx(rms_db, rel=0.05, abs=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_polarity_turns_the_filter_over(kind):
    known = response_of(signal.freqz(*BIQUADS["bell"], GRID, fs=RATE)[1])
    size = 2 if kind == "iir" else 64
    upright, inverted = (response_filter(known, kind, size, p).coefficients for p in (1, -1))
    if kind == "iir":
        np.testing.assert_array_equal(inverted[0, :3], -upright[0, :3])
        np.testing.assert_array_equal(inverted[:, 3:], upright[:, 3:])
    else:
        np.testing.assert_array_equal(inverted, -upright)


def hostile() -> dict[str, np.ndarray]:
    """Responses that no sensor has; a filter must come out of them all the same."""
    generator = np.random.default_rng(1)
    notch = np.ones(513)
    notch[100] = 1e-6
    return {
        "flat": np.ones(513),
        "narrow notch": notch,
        "narrow peak": 1 / notch,
        "100 dB range": np.geomspace(1, 1e-5, 513),
        "rising by 100 dB": np.geomspace(1e-5, 1, 513),
        "brick wall": np.where(GRID < 1000, 1.0, 1e-5),
        "rough": 10 ** (generator.standard_normal(513) * 10 / 20),
        "nothing but one bin": np.where(np.arange(513) == 40, 1.0, 0.0),
    }


@pytest.mark.parametrize("name", list(hostile()))
def test_hostile_responses_give_stable_finite_filters(name):
    response = response_of(hostile()[name])
    sizes: dict[Kind, int] = {"linear-phase": 255, "minimum-phase": 256, "iir": 6}
    for kind, size in sizes.items():
        designed = response_filter(response, kind, size)
        assert np.isfinite(designed.coefficients).all()
        assert np.isfinite([designed.error.rms_db, designed.error.max_db]).all()
        # Nothing comes out louder than the loudest bin by much, in band or out of it.
        top_db = 20 * np.log10(np.abs(hostile()[name]).max())
        assert magnitude_db(designed.coefficients).max() < top_db + 20
        if kind == "iir":
            poles = np.abs([np.roots(section[3:]) for section in designed.coefficients])
            assert poles.max() <= RADIUS + 1e-12
            ring = signal.sosfilt(designed.coefficients, np.r_[1.0, np.zeros(10 * RATE)])
            assert np.abs(ring[-RATE:]).max() < 1e-6 * np.abs(ring).max()


def test_a_flat_response_is_a_wire():
    flat = response_of(np.full(513, 0.5))
    minimum = response_filter(flat, "minimum-phase", 64).coefficients
    np.testing.assert_allclose(minimum, np.r_[0.5, np.zeros(63)], atol=1e-9)
    linear = response_filter(flat, "linear-phase", 63).coefficients
    np.testing.assert_allclose(linear, 0.5 * (np.arange(63) == 31), atol=1e-9)
    assert response_filter(flat, "iir").error.max_db < 1e-3


@pytest.mark.parametrize("rate", [4_000, 8_000, 48_000])
def test_other_sample_rates(rate):
    grid = np.linspace(0, rate / 2, 1537)
    b, a = signal.butter(2, 0.2 * rate / 2, fs=rate)
    known = response_of(signal.freqz(b, a, grid, fs=rate)[1], rate)
    assert response_filter(known, "iir", 2).error.rms_db < 0.1
    assert response_filter(known, "minimum-phase").error.rms_db < 0.1


def test_equal_responses_give_equal_filters():
    known = response_of(signal.freqz(*BIQUADS["dip"], GRID, fs=RATE)[1])
    for kind in KINDS:
        first, again = (response_filter(known, kind).coefficients for _ in range(2))
        np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(
    ("kind", "size", "message"),
    [("iir", 3, "even"), ("iir", 34, "even"), ("zero-phase", 2, "taps"), ("iir", 0, "even")],
)
def test_impossible_sizes_are_refused(kind, size, message):
    with pytest.raises(UsageError, match=message):
        response_filter(response_of(np.ones(513)), kind, size)
