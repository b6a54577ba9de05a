"""The public face: a dozen lazy names, each documented, none of which costs the import of torch."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import bcsim
from bcsim.effects.sensor_response import SensorResponse
from bcsim.workflows import fit_response, presets

RATE = 16_000


def run_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout


def test_importing_bcsim_does_not_import_torch_or_numpy():
    heavy = "{'torch', 'numpy', 'scipy', 'click', 'yaml'}"
    assert run_python(f"import bcsim, sys; print({heavy} & set(sys.modules))") == "set()\n"


def test_errors_do_not_import_torch():
    assert run_python("import bcsim, sys; bcsim.InputError; print('torch' in sys.modules)") == (
        "False\n"
    )


def test_the_types_that_checkers_see_are_those_that_callers_get():
    tree = ast.parse(Path(bcsim.__file__).read_text("utf-8"))
    declared = {
        alias.asname: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }
    assert declared == bcsim._MODULES
    assert dir(bcsim) == sorted([*declared, "__version__"])


@pytest.mark.parametrize("name", [name for name in dir(bcsim) if name != "__version__"])
def test_every_name_has_a_docstring_and_types(name):
    thing = getattr(bcsim, name)
    assert inspect.getdoc(thing)
    if inspect.isfunction(thing):
        signature = inspect.signature(thing)
        kinds = [
            signature.return_annotation,
            *(p.annotation for p in signature.parameters.values()),
        ]
        assert inspect.Signature.empty not in kinds


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'bcsim' has no attribute 'load_sensors'"):
        _ = bcsim.load_sensors  # pyright: ignore[reportAttributeAccessIssue]


def test_a_profile_gives_the_simulator_that_its_file_gives(sensor, speaking_sensor, tmp_path):
    speaking_sensor.save(tmp_path / "known.sensor")
    air = np.random.default_rng(0).standard_normal(RATE)
    loaded = bcsim.load_sensor(tmp_path / "known.sensor")
    scenes = [
        bcsim.load_simulator(kind)(air, RATE)
        for kind in (loaded, tmp_path / "known.sensor", str(tmp_path / "known.sensor"))
    ]
    assert (scenes[0].bone == scenes[1].bone).all()
    assert (scenes[0].bone == scenes[2].bone).all()
    fixed = bcsim.load_simulator(sensor, settings=["effects.sensor_response.wearer=0"])
    response = next(effect for effect in fixed.effects if isinstance(effect, SensorResponse))
    assert response.sensor is sensor


def test_samples_are_the_pairs_that_their_files_are(monkeypatch, tmp_path):
    monkeypatch.setattr(fit_response, "fit_pairs", lambda pairs, *args, **options: pairs)
    signals = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 3, RATE)).astype(np.float32)
    for role, rows in zip(("air", "bone"), signals, strict=True):
        (tmp_path / role).mkdir()
        for number, samples in enumerate(rows):
            soundfile.write(tmp_path / role / f"{number}.wav", samples, RATE, subtype="FLOAT")
    air, bone = signals
    stored = bcsim.fit_sensor(tmp_path / "air", str(tmp_path / "bone"))
    for given in (bcsim.fit_sensor(air, list(bone)), bcsim.fit_sensor(list(air), bone)):
        for pair, file in zip(given, stored, strict=True):  # pyright: ignore[reportArgumentType]
            assert pair.name == file.name
            np.testing.assert_array_equal(pair.air, file.air)
            np.testing.assert_array_equal(pair.bone, file.bone)
    with pytest.raises(bcsim.InputError, match="3 signals of air, 2 of bone"):
        bcsim.fit_sensor(air, bone[:2])
    with pytest.raises(bcsim.UsageError, match="give both as files, or samples"):
        bcsim.fit_sensor(air, tmp_path / "bone")
    with pytest.raises(bcsim.InputError, match="bone is float16"):
        bcsim.fit_sensor(air, bone.astype(np.float16))


@pytest.mark.parametrize(
    ("files", "says"), [([], "holds 0 .sensor files"), (["a", "b"], "holds 2 .sensor files")]
)
def test_a_repository_on_the_hub_has_to_hold_one_sensor(monkeypatch, tmp_path, files, says):
    for name in files:
        (tmp_path / f"{name}.sensor").touch()
    monkeypatch.setattr(presets, "download", lambda hub_id, patterns: tmp_path)
    with pytest.raises(bcsim.InputError, match=f"owner/throat: {says}"):
        bcsim.load_sensor("owner/throat")


def test_a_sensor_is_loaded_from_the_hub(monkeypatch, tmp_path, sensor):
    sensor.save(tmp_path / "throat.sensor")
    asked = []
    monkeypatch.setattr(presets, "download", lambda *args: asked.append(args) or tmp_path)
    assert bcsim.load_sensor("owner/throat").name == sensor.name
    assert asked == [("owner/throat", ["*.sensor"])]
