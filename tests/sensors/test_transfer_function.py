import numpy as np
import pytest

from bcsim.sensors.transfer_function import TransferFunction


def example(bins: int = 65) -> TransferFunction:
    generator = np.random.default_rng(1)
    taps = np.roll(np.pad(generator.standard_normal(20), (0, 2 * (bins - 1) - 20)), -6)
    response = np.fft.rfft(taps)
    return TransferFunction(np.linspace(0, 4000, bins), response, np.full(bins, 0.5), 50.0)


def test_the_impulse_response_has_the_response():
    response = example()
    taps, centre = response.impulse_response()
    time = np.arange(len(taps)) - centre
    turns = np.outer(response.frequencies_hz / response.sample_rate, time)
    np.testing.assert_allclose(np.exp(-2j * np.pi * turns) @ taps, response.response, atol=1e-12)


def test_a_filtered_tone_has_the_gain_and_phase_of_the_response():
    response = example()
    taps, centre = response.impulse_response()
    tone_hz = response.frequencies_hz[20]
    time = np.arange(4000)
    tone = np.exp(2j * np.pi * tone_hz * time / response.sample_rate)
    filtered = np.convolve(tone, taps)[centre:][1000:3000]
    np.testing.assert_allclose(filtered / tone[1000:3000], response.response[20], atol=1e-9)


def test_the_standard_error_is_bendats():
    assert example().standard_error[3] == pytest.approx(np.sqrt(0.5 / (2 * 0.5 * 50)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"coherence": np.full(65, 1.5)}, "coherence leaves"),
        ({"coherence": np.full(64, 0.5)}, "shape"),
        ({"response": np.full(65, np.nan + 0j)}, "not finite"),
        ({"frequencies_hz": np.linspace(0, 1, 65) ** 2}, "uniform"),
        ({"frequencies_hz": np.linspace(10, 4000, 65)}, "uniform"),
        ({"num_averages": -1.0}, "num_averages"),
    ],
)
def test_what_is_no_response_is_refused(change, message):
    facts = {
        "frequencies_hz": np.linspace(0, 4000, 65),
        "response": np.ones(65, complex),
        "coherence": np.ones(65),
        "num_averages": 1.0,
    }
    with pytest.raises(ValueError, match=message):
        TransferFunction(**(facts | change))
