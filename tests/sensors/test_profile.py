"""A profile file: the same bytes every time, and nothing that it should not be."""

import dataclasses
import json
import os
import pickle
import struct

import numpy as np
import pytest
import safetensors.numpy

from bcsim.errors import InputError
from bcsim.sensors.profile import MAX_BYTES, SensorProfile
from bcsim.sensors.responses.band_gain_network import OFFSETS, NetworkResponse
from bcsim.sensors.responses.speech_classes import ClassResponse


def split(content: bytes) -> tuple[dict, bytes]:
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join(header: str, body: bytes) -> bytes:
    encoded = header.encode()
    encoded += b" " * (-len(encoded) % 8)
    return struct.pack("<Q", len(encoded)) + encoded + body


def with_facts(content: bytes, change) -> bytes:
    header, body = split(content)
    facts = json.loads(header["__metadata__"]["bcsim_sensor"])
    header["__metadata__"]["bcsim_sensor"] = json.dumps(change(facts))
    return join(json.dumps(header), body)


def test_reading_and_writing_again_gives_the_same_bytes(sensor, tmp_path):
    sensor.save(tmp_path / "a.sensor")
    again = SensorProfile.load(tmp_path / "a.sensor")
    again.save(tmp_path / "b.sensor")
    assert (tmp_path / "a.sensor").read_bytes() == (tmp_path / "b.sensor").read_bytes()
    np.testing.assert_array_equal(
        again.transfer_function.response, sensor.transfer_function.response
    )
    for field in ("name", "delay_s", "polarity", "lowpass", "usable_band_hz", "provenance"):
        assert getattr(again, field) == getattr(sensor, field)


def test_a_sensor_without_spread_can_be_stored(sensor, tmp_path):
    bins = len(sensor.spread_db)
    alone = dataclasses.replace(
        sensor, spread_db=np.zeros(bins), spread_components_db=np.zeros((0, bins))
    )
    alone.save(tmp_path / "a.sensor")
    assert SensorProfile.load(tmp_path / "a.sensor").spread_components_db.shape == (0, bins)


def test_nothing_is_left_beside_the_file(sensor, tmp_path):
    sensor.save(tmp_path / "a.sensor")
    assert [path.name for path in tmp_path.iterdir()] == ["a.sensor"]


def test_the_impulse_response_has_the_polarity_and_no_delay(sensor):
    taps, centre = sensor.impulse_response()
    size = len(taps)
    response = np.fft.rfft(np.roll(taps, -centre), size)
    np.testing.assert_allclose(response, -sensor.transfer_function.response, atol=1e-12)


HOSTILE = {
    "empty": lambda content: b"",
    "cut in the header": lambda content: content[:100],
    "cut in the arrays": lambda content: content[:-8],
    "bytes behind the arrays": lambda content: content + bytes(8),
    "a header length beyond the file": lambda content: struct.pack("<Q", 2**60) + content[8:],
    "not JSON": lambda content: join("{" * 500, b""),
    "deep nesting": lambda content: join("[" * 100_000, b""),
    "another kind of file": lambda content: b"RIFF" + bytes(500),
    "other metadata": lambda content: join('{"__metadata__": {"format": "pt"}}', b""),
    "no metadata": lambda content: join("{}", b""),
    "facts that are a list": lambda content: with_facts(content, lambda facts: [facts]),
    "an unknown key": lambda content: with_facts(content, lambda facts: facts | {"extra": 1}),
    "a missing key": lambda content: with_facts(
        content, lambda facts: {k: v for k, v in facts.items() if k != "delay_s"}
    ),
    "text for a number": lambda content: with_facts(content, lambda f: f | {"delay_s": "0"}),
    "a boolean polarity": lambda content: with_facts(content, lambda f: f | {"polarity": True}),
    "an impossible polarity": lambda content: with_facts(content, lambda f: f | {"polarity": 3}),
    "an infinite level": lambda content: with_facts(content, lambda f: f | {"level_db": 1e999}),
    "a huge sample rate": lambda content: with_facts(
        content, lambda f: f | {"sample_rate": 10**400}
    ),
    "a band of three": lambda content: with_facts(
        content, lambda f: f | {"usable_band_hz": [1, 2, 3]}
    ),
    "an unknown key within": lambda content: with_facts(
        content, lambda f: f | {"lowpass": f["lowpass"] | {"order": 4}}
    ),
    "scores that are text": lambda content: with_facts(
        content, lambda f: f | {"provenance": f["provenance"] | {"scores": {"lsd": "low"}}}
    ),
    "a key twice": lambda content: twice(content),
    "NaN among the arrays": lambda content: content[:-8] + struct.pack("<d", float("nan")),
    "a fact that is NaN": lambda content: with_facts(
        content, lambda f: f | {"level_db": float("nan")}
    ),
    "facts nested deeply": lambda content: with_facts(
        content, lambda f: f | {"lowpass": json.loads("[" * 90 + "]" * 90)}
    ),
    "an escape sequence for a name": lambda content: with_facts(
        content, lambda f: f | {"name": "\x1b[2Jthroat"}
    ),
    "a name of two lines": lambda content: with_facts(content, lambda f: f | {"name": "a\nb"}),
    "a megabyte for a name": lambda content: with_facts(
        content, lambda f: f | {"name": "n" * 2**20}
    ),
    "a megabyte for a key": lambda content: with_facts(content, lambda f: f | {"k" * 2**20: 1}),
    "an escape sequence in the provenance": lambda content: with_facts(
        content, lambda f: f | {"provenance": f["provenance"] | {"source": "\x1b]0;x\x07"}}
    ),
    "an escape sequence for a score": lambda content: with_facts(
        content, lambda f: f | {"provenance": f["provenance"] | {"scores": {"\x1b[31m": 1.0}}}
    ),
    "half a character": lambda content: with_facts(content, lambda f: f | {"name": "\ud800"}),
    "arrays that overlap": lambda content: content.replace(
        b'"data_offsets":[2', b'"data_offsets":[0', 1
    ),
    "a pickle": lambda content: pickle.dumps({"response": 1}),
    "a zip": lambda content: b"PK\x03\x04" + bytes(100),
    "another type of array": lambda content: content.replace(b'"F64"', b'"I64"', 1),
}


def twice(content: bytes) -> bytes:
    header, body = split(content)
    text = header["__metadata__"]["bcsim_sensor"]
    header["__metadata__"]["bcsim_sensor"] = text[:-1] + ', "polarity": 1}'
    return join(json.dumps(header), body)


@pytest.mark.parametrize("case", list(HOSTILE))
def test_a_hostile_file_is_refused_in_one_line_that_names_it(case, sensor, tmp_path):
    path = tmp_path / "hostile.sensor"
    path.write_bytes(HOSTILE[case](sensor.to_bytes()))
    with pytest.raises(InputError, match=r"hostile\.sensor") as caught:
        SensorProfile.load(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250 + len(str(tmp_path))


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.sensor")
    with pytest.raises(InputError, match=r"pipe\.sensor: not a regular file"):
        SensorProfile.load(tmp_path / "pipe.sensor")


def test_a_foreign_file_is_called_what_it_is(tmp_path):
    path = tmp_path / "throat.sensor"
    for content, kind in ((pickle.dumps({"a": 1}), "a pickle"), (b"\x89HDF\r\n\x1a\n", "HDF5")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"not a sensor profile .{kind}.; fit it again"):
            SensorProfile.load(path)


def test_a_file_over_a_mebibyte_is_refused_before_it_is_parsed(sensor, tmp_path):
    path = tmp_path / "large.sensor"
    path.write_bytes(sensor.to_bytes() + bytes(MAX_BYTES))
    with pytest.raises(InputError, match="larger than"):
        SensorProfile.load(path)


def test_another_schema_is_refused_with_the_remedy(sensor, tmp_path):
    path = tmp_path / "future.sensor"
    path.write_bytes(with_facts(sensor.to_bytes(), lambda facts: facts | {"schema": 99}))
    with pytest.raises(InputError, match=r"schema 99.*fit the sensor again"):
        SensorProfile.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.sensor: no such"):
        SensorProfile.load(tmp_path / "absent.sensor")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("polarity", 0), ("delay_s", np.inf), ("delay_s", 100.0), ("level_std_db", -1.0),
        ("usable_band_hz", (500.0, 100.0)), ("usable_band_hz", (0.0, 1e9)), ("name", ""),
        ("sample_rate", 8000), ("noise_psd", np.full(257, -1.0)), ("spread_db", np.zeros(3)),
        ("spread_components_db", np.zeros((9, 257))), ("noise_psd", np.full(257, np.inf)),
    ],
)  # fmt: skip
def test_what_no_sensor_can_be_is_refused(field, value, sensor):
    with pytest.raises(ValueError, match=field.split("_")[0]):
        dataclasses.replace(sensor, **{field: value})


def test_the_noise_to_speech_ratio_is_the_integral_of_the_density(sensor):
    bins = len(sensor.noise_psd)
    white = dataclasses.replace(sensor, noise_psd=np.full(bins, 1e-4 / 8000))
    assert white.noise_to_speech_db() == pytest.approx(-40, abs=0.05)


def test_the_speech_dependent_part_survives_the_file(speaking_sensor, tmp_path):
    speaking_sensor.save(tmp_path / "a.sensor")
    again = SensorProfile.load(tmp_path / "a.sensor")
    assert again.to_bytes() == speaking_sensor.to_bytes()
    before, after = speaking_sensor.speech, again.speech
    assert isinstance(after, ClassResponse)
    assert after.residual is not None
    assert after.level_db == before.level_db
    assert after.residual.ar_coefficient == before.residual.ar_coefficient
    np.testing.assert_array_equal(after.class_gains_db, before.class_gains_db)

    assert after.residual.calibration is not None
    np.testing.assert_array_equal(
        after.residual.calibration.slope, before.residual.calibration.slope
    )


def test_a_residual_from_before_its_calibration_is_read_as_it_was(speaking_sensor, tmp_path):
    speech = speaking_sensor.speech
    old = dataclasses.replace(
        speaking_sensor,
        speech=dataclasses.replace(
            speech, residual=dataclasses.replace(speech.residual, calibration=None)
        ),
    )
    content = old.to_bytes()
    assert b"residual.slope" not in content
    read = SensorProfile.from_bytes(content).speech
    assert read is not None
    assert read.residual is not None
    assert read.residual.calibration is None
    assert SensorProfile.from_bytes(content).to_bytes() == content
    halved = with_arrays(speaking_sensor, {"speech.residual.slope": np.full(39, 0.5)})
    assert "slope and mean_db of the residual have shapes" in refusal(halved, tmp_path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda speech: {**speech, "kind": "clases"}, "kind"),
        (lambda speech: {**speech, "kind": ["speech-classes"]}, "kind"),
        (lambda speech: {**speech, "level_db": 1e9}, "level_db"),
        (lambda speech: {**speech, "memory": 1.0}, "memory"),
        (lambda speech: {**speech, "more": 1}, "more"),
        (lambda speech: None, "speech"),
        (lambda speech: [], "speech"),
    ],
)
def test_a_speech_part_that_cannot_be_is_refused(speaking_sensor, tmp_path, change, named):
    content = speaking_sensor.to_bytes()
    path = tmp_path / "x.sensor"
    path.write_bytes(
        with_facts(content, lambda facts: {**facts, "speech": change(facts["speech"])})
    )
    with pytest.raises(InputError, match=named) as error:
        SensorProfile.load(path)
    assert str(path) in str(error.value)


MEMBERS, WIDTH, BANDS = 2, 4, 40


@pytest.fixture
def network_sensor(sensor):
    generator = np.random.default_rng(4)
    sizes = [(len(OFFSETS) * BANDS, WIDTH), (WIDTH, BANDS)]
    speech = NetworkResponse(
        sample_rate=sensor.sample_rate,
        level_db=0.0,
        residual=None,
        input_mean=np.zeros(sizes[0][0], np.float32),
        input_std=np.ones(sizes[0][0], np.float32),
        weights=tuple(
            generator.standard_normal((MEMBERS, *size)).astype(np.float32) for size in sizes
        ),
        biases=tuple(np.zeros((MEMBERS, size), np.float32) for _, size in sizes),
        mean_db=np.zeros(BANDS, np.float32),
    )
    return dataclasses.replace(sensor, speech=speech)


def with_arrays(profile: SensorProfile, changed: dict[str, np.ndarray]) -> bytes:
    """Return the profile's file with other arrays: the constructors have no say."""
    content = profile.to_bytes()
    return safetensors.numpy.save(
        safetensors.numpy.load(content) | changed, metadata=split(content)[0]["__metadata__"]
    )


def refusal(content: bytes, folder) -> str:
    """Return the line with which a file is refused, after the name of the file."""
    path = folder / "hostile.sensor"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        SensorProfile.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def layers(count: int, members: int = MEMBERS, width: int = WIDTH) -> dict[str, np.ndarray]:
    """Return a network's arrays that fit together, zero throughout."""
    sizes = [len(OFFSETS) * BANDS, *[width] * (count - 1), BANDS]
    weights = {
        f"weight_{k}": np.zeros((members, *sizes[k : k + 2]), np.float32) for k in range(count)
    }
    return weights | {
        f"bias_{k}": np.zeros((members, sizes[k + 1]), np.float32) for k in range(count)
    }


CONTEXT = len(OFFSETS) * BANDS
HOSTILE_NETWORKS = {
    "a weight of 2000": (
        {"weight_1": np.full((MEMBERS, WIDTH, BANDS), 2e3, np.float32)},
        "weight_1 of the network exceeds 1000",
    ),
    "a weight that only float64 holds": (
        {"weight_0": np.full((MEMBERS, CONTEXT, WIDTH), 1e200)},
        "weight_0 of the network is float64, not float32",
    ),
    "a bias of -2000": (
        {"bias_0": np.full((MEMBERS, WIDTH), -2e3, np.float32)},
        "bias_0 of the network exceeds 1000",
    ),
    "a bias of 1e38": (
        {"bias_1": np.full((MEMBERS, BANDS), 1e38, np.float32)},
        "bias_1 of the network exceeds 1000",
    ),
    "a mean input of 1e30": (
        {"input_mean": np.full(CONTEXT, 1e30, np.float32)},
        "input_mean of the network exceeds 1000",
    ),
    "a mean gain of 2000 dB": (
        {"mean_db": np.full(BANDS, 2e3, np.float32)},
        "mean_db of the network exceeds 1000",
    ),
    "inputs that do not vary": (
        {"input_std": np.full(CONTEXT, 1e-30, np.float32)},
        "input_std of the network is below 0.001",
    ),
    "a negative deviation": (
        {"input_std": np.full(CONTEXT, -1.0, np.float32)},
        "input_std of the network is below 0.001",
    ),
    "five layers": (layers(5), "5 layers"),
    "65 members": (layers(2, members=65), "65 members"),
    "no members": (layers(2, members=0), "0 members"),
    "no width": (layers(2, width=0), "do not fit together"),
}


@pytest.mark.parametrize("case", list(HOSTILE_NETWORKS))
def test_a_network_that_would_overflow_is_refused(case, network_sensor, tmp_path):
    arrays, reason = HOSTILE_NETWORKS[case]
    content = with_arrays(network_sensor, {f"speech.{k}": v for k, v in arrays.items()})
    assert reason in refusal(content, tmp_path)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_network_of_up_to_four_layers_is_read(count, network_sensor, tmp_path):
    """So five layers are refused for their number, and for nothing else about them."""
    path = tmp_path / "a.sensor"
    deep = dataclasses.replace(
        network_sensor.speech,
        weights=tuple(v for k, v in layers(count).items() if k.startswith("weight")),
        biases=tuple(v for k, v in layers(count).items() if k.startswith("bias")),
    )
    dataclasses.replace(network_sensor, speech=deep).save(path)
    again = SensorProfile.load(path).speech
    assert isinstance(again, NetworkResponse)
    assert len(again.weights) == count


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("class_gains_db", 101.0, "class_gains_db of the classes exceeds 100"),
        ("class_gains_db", -1e200, "class_gains_db of the classes exceeds 100"),
        ("std", 1e-7, "std of the classes is below 1e-06"),
        ("std", 1e5, "std of the classes exceeds 10000"),
        ("mean", -1e5, "mean of the classes exceeds 10000"),
        ("centres", 1e200, "centres of the classes exceeds 10000"),
        ("residual.factor_db", 101.0, "exceeds 100 dB"),
        ("residual.slope", -0.1, "slope of the residual is not within 0 and 1"),
        ("residual.mean_db", 201.0, "mean_db of the residual is not within 200 dB"),
    ],
)
def test_classes_that_would_overflow_are_refused(name, value, reason, speaking_sensor, tmp_path):
    known = safetensors.numpy.load(speaking_sensor.to_bytes())[f"speech.{name}"]
    content = with_arrays(speaking_sensor, {f"speech.{name}": np.full_like(known, value)})
    assert reason in refusal(content, tmp_path)


BINS = 257


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("spread_components_db", np.full((3, BINS), -101.0), "spread_components_db is 101.0"),
        ("spread_db", np.full(BINS, 101.0), "spread_db is 101.0"),
        ("noise_psd", np.full(BINS, 1e7), "noise_psd is 10000000.0"),
        ("leakage_db", np.full(BINS, -201.0), "leakage_db is 201.0"),
        ("magnitude_interval_db", np.full((2, BINS), 1e200), "magnitude_interval_db is 1e+200"),
    ],
)
def test_arrays_beyond_any_sensor_are_refused(name, values, reason, sensor, tmp_path):
    assert reason in refusal(with_arrays(sensor, {name: values}), tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("level_db", -201.0), ("level_db", 1e200), ("level_std_db", 101.0),
        ("noise_level_std_db", 101.0), ("delay_std_s", 1.5), ("delay_s", -11.0),
    ],
)  # fmt: skip
def test_numbers_beyond_any_sensor_are_refused(name, value, sensor, tmp_path):
    content = with_facts(sensor.to_bytes(), lambda facts: {**facts, name: value})
    assert f"{name} is {abs(value)}; it wants at most" in refusal(content, tmp_path)
