"""A profile file: the same bytes every time, and nothing that it should not be."""

import dataclasses
import json
import struct

import numpy as np
import pytest

from bcsim.errors import InputError
from bcsim.sensors.estimators.speech_classes import ClassResponse
from bcsim.sensors.profile import MAX_BYTES, SensorProfile


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
    assert "\n" not in str(caught.value)


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
    assert after.residual.memory == before.residual.memory
    np.testing.assert_array_equal(after.class_gains_db, before.class_gains_db)


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
