"""The inverse of a response: what it gives back, and what it leaves alone."""

import dataclasses

import numpy as np
import pytest
import soundfile

from bcsim.errors import InputError
from bcsim.inference.enhancer import enhance
from bcsim.inference.inverse_response import MAX_GAIN_DB, InverseResponse
from bcsim.rng import stream

RATE = 16_000


def gain_at(profile, hz):
    """Measure the gain of the inverse for a tone."""
    tone = np.cos(2 * np.pi * hz / RATE * np.arange(RATE))
    middle = slice(2000, 14_000)
    return float(enhance(InverseResponse(profile).eval(), tone, RATE)[middle] @ tone[middle]) / (
        float(tone[middle] @ tone[middle])
    )


def fixed(sensor, **fields):
    """Return a sensor whose noise hides nothing."""
    return dataclasses.replace(sensor, coherence_ceiling=np.ones(257), **fields)


@pytest.mark.parametrize("hz", [250, 500, 1000])
def test_the_magnitude_of_the_response_is_undone_and_its_polarity(sensor, hz):
    magnitude = abs(sensor.transfer_function.response[hz * 256 // 8000])
    assert gain_at(fixed(sensor), hz) * magnitude == pytest.approx(sensor.polarity, rel=0.05)
    assert gain_at(fixed(sensor, polarity=1), hz) * magnitude == pytest.approx(1, rel=0.05)


def test_the_gain_is_bounded_where_the_sensor_picks_up_nothing(sensor):
    most = 10 ** (MAX_GAIN_DB / 20) / abs(sensor.transfer_function.response).max()
    assert abs(gain_at(fixed(sensor), 6000)) == pytest.approx(most, rel=0.01)


def test_nothing_comes_back_of_what_is_noise_or_was_not_recorded(sensor):
    hz = sensor.transfer_function.frequencies_hz
    noisy = dataclasses.replace(sensor, coherence_ceiling=np.where(hz < 2000, 1.0, 0.0))
    assert abs(gain_at(noisy, 3000)) < 0.01 * abs(gain_at(fixed(sensor), 3000))
    narrow = dataclasses.replace(sensor.transfer_function, coherence=np.where(hz < 2000, 0.9, 0.0))
    assert abs(gain_at(fixed(sensor, transfer_function=narrow), 3000)) < 0.05


def test_chunks_give_what_one_piece_gives(sensor):
    samples = 0.01 * stream(1, "inverse").standard_normal(20_001)
    model = InverseResponse(sensor).eval()
    whole = enhance(model, samples, RATE, chunk_s=1000)
    np.testing.assert_allclose(enhance(model, samples, RATE, chunk_s=0.2), whole, atol=1e-5)


def test_a_response_of_zeros_is_refused(sensor):
    nothing = dataclasses.replace(sensor.transfer_function, response=np.zeros(257, complex))
    with pytest.raises(InputError, match="known: the response is zero"):
        InverseResponse(dataclasses.replace(sensor, transfer_function=nothing))


def test_recordings_are_made_anew_when_the_sensor_is_another(sensor, command_line, tmp_path):
    samples = 0.003 * stream(1, "inverse").standard_normal(8000)
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in/a.wav", samples, RATE, "FLOAT")
    sensor.save(tmp_path / "a.sensor")
    words = ["enhance", "--model", "inverse:a.sensor", "--in", "in", "--out", "out"]
    assert command_line(*words, cwd=tmp_path)[0] == 0
    written, _ = soundfile.read(tmp_path / "out/a.wav")
    expected = enhance(InverseResponse(sensor).eval(), samples, RATE)
    np.testing.assert_allclose(written, expected, atol=1e-5)
    code, out, _ = command_line(*words, cwd=tmp_path)
    assert (code, out) == (0, "0 enhanced, 1 there already, in out\n")
    dataclasses.replace(sensor, polarity=1).save(tmp_path / "a.sensor")
    assert command_line(*words, cwd=tmp_path)[1] == "1 enhanced, in out\n"
    turned, _ = soundfile.read(tmp_path / "out/a.wav")
    np.testing.assert_allclose(turned, -written, atol=1e-5)
    one = [*words[:3], "--in", "in/a.wav", "--out", "one"]
    assert command_line(*one, cwd=tmp_path)[1] == "1 enhanced, in one.wav\n"
    told = command_line(*words[:2], "inverse:b.sensor", *words[3:], cwd=tmp_path)
    assert told[0] == 2
    assert "b.sensor: no such sensor file" in told[2]
