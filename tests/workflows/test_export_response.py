"""Filters in files: read back, they are what was designed; what cannot be is refused."""

import functools
import json
import os
from typing import Any

import numpy as np
import pytest
import scipy.signal
import soundfile

from bcsim.errors import InputError, UsageError
from bcsim.sensors.filters.export import KINDS, Kind
from bcsim.workflows.export_response import export_response

signal: Any = scipy.signal  # whose stubs take arrays for integers


@pytest.fixture
def sensor_file(tmp_path, sensor):
    sensor.save(tmp_path / "known.sensor")
    return str(tmp_path / "known.sensor")


@pytest.mark.parametrize("kind", KINDS)
def test_json_holds_the_filter_and_its_facts(kind, sensor, sensor_file, tmp_path):
    exported = export_response(sensor_file, tmp_path / "filter.json", kind)
    facts = json.loads((tmp_path / "filter.json").read_text("utf-8"))
    assert facts["sensor"] == "known"
    assert facts["sample_rate"] == 16_000
    assert facts["polarity"] == -1
    coefficients = np.array(facts["sections" if kind == "iir" else "taps"])
    np.testing.assert_array_equal(coefficients, exported.filter.coefficients)
    # The magnitude is the sensor's, level included; its sign is in the coefficients.
    grid = sensor.transfer_function.frequencies_hz
    known = np.abs(sensor.transfer_function.response)
    if kind == "iir":
        response = signal.sosfreqz(coefficients, grid, fs=16_000)[1]
    else:
        response = signal.freqz(coefficients, 1, grid, fs=16_000)[1]
        response = response * np.exp(
            2j * np.pi * grid / 16_000 * (facts["time_zero"] + facts["latency_samples"])
        )
    band = (grid > 100) & (grid < 4000)
    # iir: the order is that which comes within 1 dB rms
    np.testing.assert_allclose(np.abs(response)[band], known[band], rtol=0.2)
    assert response[3].real < 0
    assert facts["fit_error"]["rms_db"] < 1.0


def test_the_orders_error_is_less_with_more_sections(sensor_file, tmp_path):
    few, many = (
        export_response(sensor_file, tmp_path / "f.json", "iir", order).filter.error.rms_db
        for order in (2, 6)
    )
    assert many < few


def test_wav_and_npy_hold_the_taps(sensor_file, tmp_path):
    taps = export_response(sensor_file, tmp_path / "f.npy", "linear-phase", 255).filter.coefficients
    np.testing.assert_array_equal(np.load(tmp_path / "f.npy"), taps)
    export_response(sensor_file, tmp_path / "f.wav", "linear-phase", 255)
    samples, rate = soundfile.read(tmp_path / "f.wav")
    assert rate == 16_000
    np.testing.assert_allclose(samples, taps, atol=2**-23)


@pytest.mark.parametrize("name", ["f.json", "f.wav", "f.npy"])
def test_equal_sensors_give_equal_files(name, sensor_file, tmp_path):
    (tmp_path / "again").mkdir()
    for folder in (tmp_path, tmp_path / "again"):
        export_response(sensor_file, folder / name)
    assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize(
    ("out", "kind", "size", "message"),
    [
        ("f.txt", "minimum-phase", None, "NAME.json, NAME.wav or NAME.npy"),
        ("f.wav", "iir", None, "a WAV file holds taps"),
        ("f.json", "maximum-phase", None, "known: linear-phase"),
        ("f.json", "iir", 5, "even orders"),
        ("f.json", "zero-phase", 100_000, "3 to 8192"),
    ],
)
def test_what_cannot_be_written_is_refused(out, kind, size, message, sensor_file, tmp_path):
    with pytest.raises(UsageError, match=message):
        export_response(sensor_file, tmp_path / out, kind, size)
    assert not (tmp_path / out).exists()


def test_a_sensor_is_not_replaced_by_its_filter(sensor, tmp_path):
    sensor.save(tmp_path / "s.json")
    before = (tmp_path / "s.json").read_bytes()
    with pytest.raises(UsageError, match="the output is an input"):
        export_response(str(tmp_path / "s.json"), tmp_path / "s.json")
    assert (tmp_path / "s.json").read_bytes() == before


def test_taps_beyond_full_scale_are_no_wav(sensor, tmp_path):
    from dataclasses import replace

    response = replace(sensor.transfer_function, response=40 * sensor.transfer_function.response)
    replace(sensor, transfer_function=response).save(tmp_path / "loud.sensor")
    with pytest.raises(UsageError, match=r"exceeds full scale; write it to .json"):
        export_response(str(tmp_path / "loud.sensor"), tmp_path / "f.wav")


def test_a_preset_that_is_no_sensor_has_no_response(tmp_path):
    with pytest.raises(InputError, match="unknown sensor 'temporal-transforms'"):
        export_response("temporal-transforms", tmp_path / "f.json")


def test_the_throat_microphone_fits_into_512_taps_and_into_order_12(tmp_path):
    sizes: dict[Kind, int] = {"minimum-phase": 512, "linear-phase": 512, "iir": 12}
    errors = {
        kind: export_response("vibravox_throat", tmp_path / "f.json", kind, size).filter.error
        for kind, size in sizes.items()
    }
    assert errors["minimum-phase"].rms_db < 0.2
    assert errors["linear-phase"].rms_db < 0.5
    assert errors["iir"].rms_db < 1.5


@pytest.fixture
def bcsim(command_line):
    return functools.partial(command_line, "export-response")


def test_the_command_says_how_well_the_filter_fits(bcsim, sensor_file, tmp_path):
    code, out, err = bcsim("--sensor", sensor_file, "--out", tmp_path / "f.json")
    assert code == 0, err
    assert "known: minimum-phase, 512 taps at 16000 Hz, latency 0 samples" in out
    assert "dB rms" in out
    code, out, _ = bcsim(
        "--sensor", sensor_file, "--out", tmp_path / "f.json", "--kind", "iir", "--order", 4,
        "--json",
    )  # fmt: skip
    assert code == 0
    assert len(json.loads(out)["sections"]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--kind", "iir", "--taps", "64"], "an iir has no --taps; use --order"),
        (["--order", "4"], "a minimum-phase FIR has no --order; use --taps"),
        (["--kind", "iir", "--order", "3"], "order 3: even orders"),
    ],
)
def test_the_command_refuses_in_one_line(bcsim, options, message, sensor_file, tmp_path):
    code, _, err = bcsim("--sensor", sensor_file, "--out", tmp_path / "f.json", *options)
    assert code == 2
    assert [line for line in err.splitlines() if line.startswith("Error: ")] == err.splitlines()
    assert message in err


def test_a_pipe_at_the_place_of_a_filter_is_refused_and_not_waited_for(sensor_file, tmp_path):
    os.mkfifo(tmp_path / "f.json")
    with pytest.raises(UsageError, match=r"f\.json: is there already"):
        export_response(sensor_file, tmp_path / "f.json")
