"""`bcsim fit-response`: what it refuses before hours of recordings are read."""

import pytest

from bcsim.errors import UsageError
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
