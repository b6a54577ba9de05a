"""`bcsim fit-response`: what it refuses before hours of recordings are read."""

from dataclasses import replace
from pathlib import Path

import pytest

from bcsim.errors import UsageError
from bcsim.sensors.profile import SensorProfile
from bcsim.workflows.fit_response import fit_response


@pytest.mark.parametrize("name", ["air", "bone", "prior", "talkers", "noise"])
def test_an_input_is_not_replaced_by_the_sensor(name, sensor, tmp_path):
    sensor.save(tmp_path / "x.sensor")
    sensor.save(tmp_path / "y.sensor")
    x, y = tmp_path / "x.sensor", tmp_path / "y.sensor"
    given = {"air": y, "bone": y, "prior": str(y), "talkers": y, "noise": (y, y)}
    given[name] = {"prior": str(x), "noise": (y, x)}.get(name, x)
    before = x.read_bytes()
    with pytest.raises(UsageError, match="the output is an input"):
        fit_response(out=x, **given)
    assert x.read_bytes() == before


@pytest.mark.parametrize("text", ["a\x1b[2J", "a\x00", "a\x85", "a\udcff", "a\u202eb", "a\u2028b"])
@pytest.mark.parametrize("what", ["name", "source", "licence", "out"])
def test_text_that_no_profile_may_hold_is_refused_before_anything_is_read(what, text, tmp_path):
    given = {"out": tmp_path / "x.sensor", what: text}
    if what == "out":
        given["out"] = tmp_path / f"{text}.sensor"
    missing = Path("missing")  # which is told first if recordings are looked for
    with pytest.raises(UsageError, match="text without control characters"):
        fit_response(missing, missing, **given)


def test_a_name_on_two_lines_or_too_long_is_refused_before_anything_is_read(tmp_path):
    for name in ("a\nb", "a" * 201):
        with pytest.raises(UsageError, match="name is"):
            fit_response(Path("missing"), Path("missing"), tmp_path / "x.sensor", name=name)


@pytest.mark.parametrize("text", ["Corpus\u00a0: 12", "co\u00adrpus", "a\u200bb", "\ufeffa", "語"])
def test_text_as_people_write_it_is_kept_and_read_back(text, sensor, tmp_path):
    provenance = replace(sensor.provenance, source=text, licence=text)
    replace(sensor, name=text, provenance=provenance).save(tmp_path / "x.sensor")
    back = SensorProfile.load(tmp_path / "x.sensor")
    assert (back.name, back.provenance.source, back.provenance.licence) == (text, text, text)


def test_a_sensor_that_could_not_be_read_again_replaces_none(sensor, tmp_path):
    sensor.save(tmp_path / "x.sensor")
    before = (tmp_path / "x.sensor").read_bytes()
    for changed in ({"source": "\x1b"}, {"estimator": "\x1b"}):
        wrong = replace(sensor, provenance=replace(sensor.provenance, **changed))
        with pytest.raises(ValueError, match="control characters"):
            wrong.save(tmp_path / "x.sensor")
    assert (tmp_path / "x.sensor").read_bytes() == before
