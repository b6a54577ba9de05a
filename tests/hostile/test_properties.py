"""What holds for every input: effects, profiles, manifests and readers under hypothesis.

`BCSIM_EXAMPLES=1000` tries more; the examples are the same in every run.
"""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bcsim.audio.read import read_audio
from bcsim.audio.write import write_audio
from bcsim.datasets.manifest import PairRow
from bcsim.effects import EFFECTS
from bcsim.effects.base import Effect, Scene, stack_draws
from bcsim.errors import InputError, fit_line
from bcsim.models.storage import AIR_TO_BONE, build_enhancer, save_enhancer
from bcsim.recipe import build_effect, takes_recordings
from bcsim.registry import parameter_types
from bcsim.sensors.profile import SensorProfile
from tests.hostile.case import RATE, generator, speech
from tests.hostile.profiles import join, split

EXAMPLES = int(os.environ.get("BCSIM_EXAMPLES", "0"))
# What they add, or how they bend a signal, depends on how loud it is in absolute terms.
NOT_PROPORTIONAL = {"neural_response", "peak_limit", "peak_normalize"}
TIME_INVARIANT = ("butterworth_lowpass", "fir_lowpass", "gain", "polarity", "sensor_response")


def fixed(examples: int) -> settings:
    """Return the settings of all tests with another number of examples."""
    return settings(max_examples=EXAMPLES or examples)


@st.composite
def signals(draw: st.DrawFn, scales: tuple[float, float] = (-4, 1)) -> torch.Tensor:
    """Draw one clip (1, T) of any length, shape and level."""
    size = draw(st.sampled_from([1, 2, 3, 17, 128, 511, 2049, 5000]))
    rng = generator(8, draw(st.integers(0, 1000)))
    shape = draw(st.sampled_from(["speech", "noise", "click", "constant", "square"]))
    samples = {
        "speech": lambda: np.resize(speech(0.3), size),
        "noise": lambda: rng.standard_normal(size),
        "click": lambda: np.eye(1, size, size // 2)[0],
        "constant": lambda: np.ones(size),
        "square": lambda: np.sign(np.sin(0.05 + 0.04 * np.arange(size))),
    }[shape]()
    level = 10.0 ** draw(st.floats(*scales))
    return torch.from_numpy(level * samples)[None]


@pytest.fixture(scope="module")
def effects(tmp_path_factory, speaking_sensor) -> dict[str, Effect]:
    """Every registered effect, with what it needs."""
    folder = tmp_path_factory.mktemp("effects")
    write_audio(folder / "noise/a.wav", 0.1 * generator(7).standard_normal(RATE), RATE)
    network = build_enhancer({"name": "eben", "p": 4, "width": 4, "latent": 4}, seed=2)
    save_enhancer(folder / "run", network, {}, AIR_TO_BONE)
    built = {}
    for name in EFFECTS:
        hints = parameter_types(EFFECTS[name])
        spec: dict[str, Any] = {
            key: str(folder / "noise") for key, hint in hints.items() if takes_recordings(hint)
        }
        spec |= {"model": str(folder / "run")} if "model" in hints else {}
        built[name] = build_effect({"name": name, **spec}, "test", speaking_sensor)
    return built


def refusal_or(read: Callable[[], Any], place: str) -> Any:
    """Return what is read, or None where it is refused in words that begin with its place."""
    try:
        return read()
    except InputError as error:
        if not str(error).startswith(place):
            raise AssertionError(f"{error} does not name {place}") from error
        return None


def rendered(effect: Effect, air: torch.Tensor, seed: int) -> Scene:
    """Apply an effect to speech in a little noise of its own level."""
    drawn = stack_draws([effect.sample(seed, "clip", "step")])
    scene = Scene.from_air(air, RATE).with_ambient(0.01 * air.flip(1))
    return effect.apply(scene, drawn)


def signals_of(scene: Scene) -> list[torch.Tensor]:
    found = (scene.air, scene.bone, scene.ambient, scene.noisy_air)
    return [signal for signal in found if signal is not None]


@pytest.mark.parametrize("name", list(EFFECTS))
def test_what_comes_out_is_finite_and_as_long_as_promised(effects, name):
    @fixed(6)
    @given(signals((-12, 3)), st.integers(0, 2**32))
    def holds(air: torch.Tensor, seed: int) -> None:
        scene = rendered(effects[name], air, seed)
        assert all(signal.isfinite().all() for signal in signals_of(scene))
        assert len({signal.shape for signal in signals_of(scene)}) == 1
        if effects[name].keeps_length:
            assert scene.air.shape == air.shape

    holds()


@pytest.mark.parametrize("name", list(EFFECTS))
def test_silence_is_never_blown_up(effects, name):
    @fixed(3)
    @given(st.sampled_from([1, 2, 100, 4000]), st.integers(0, 2**32), st.sampled_from([0, 1e-300]))
    def holds(size: int, seed: int, level: float) -> None:
        scene = rendered(effects[name], torch.full((1, size), level).double(), seed)
        for signal in signals_of(scene):
            assert signal.isfinite().all()
            assert signal.abs().max(dim=1).values.amax().item() <= 1.0 if signal.numel() else True

    holds()


@pytest.mark.parametrize("name", sorted(set(EFFECTS) - NOT_PROPORTIONAL))
def test_twice_the_input_is_twice_the_output(effects, name):
    @fixed(4)
    @given(signals(), st.integers(0, 2**32), st.integers(-6, 6))
    def holds(air: torch.Tensor, seed: int, power: int) -> None:
        effect, factor = effects[name], 2.0**power
        expected, found = rendered(effect, air, seed), rendered(effect, factor * air, seed)
        for one, other in zip(signals_of(expected), signals_of(found), strict=True):
            error = (factor * one - other).abs().amax() if one.numel() else torch.zeros(())
            peak = factor * one.abs().amax() if one.numel() else torch.zeros(())
            assert error <= 1e-9 * peak + 1e-300

    holds()


@pytest.mark.parametrize("name", TIME_INVARIANT)
def test_silence_in_front_moves_what_comes_out(effects, name):
    @fixed(5)
    @given(st.integers(0, 2**32), st.integers(0, 3000))
    def holds(seed: int, silence: int) -> None:
        air = torch.from_numpy(np.concatenate([np.zeros(4000), speech(0.3)]))[None]
        later = torch.nn.functional.pad(air, (silence, 0))
        out, moved = (rendered(effects[name], x, seed).bone[0] for x in (air, later))
        assert torch.allclose(moved[silence:], out, rtol=0, atol=1e-9)

    holds()


PROFILE_FACTS = st.fixed_dictionaries(
    {
        "name": st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=200),
        "level_db": st.floats(-200, 200),
        "delay_s": st.floats(-10, 10),
        "polarity": st.sampled_from([1, -1]),
    }
)


def test_a_profile_read_back_gives_equal_bytes(speaking_sensor):
    bins = len(speaking_sensor.noise_psd)

    @fixed(25)
    @given(PROFILE_FACTS, st.floats(0, 100), st.integers(0, 2**32), st.booleans())
    def holds(facts: dict[str, Any], spread_db: float, seed: int, more: bool) -> None:
        rng = generator(9, seed)
        profile = dataclasses.replace(
            speaking_sensor,
            **facts,
            spread_db=np.full(bins, spread_db),
            noise_psd=10.0 ** rng.uniform(-300, 5, bins),
            leakage_db=rng.normal(-20, 10, bins) if more else None,
            speech=speaking_sensor.speech if more else None,
        )
        content = profile.to_bytes()
        assert SensorProfile.from_bytes(content).to_bytes() == content

    holds()


FILE_NAMES = st.text("abzAZ09 éü語🎙_-~+%'\"$`;&", min_size=1, max_size=40).map(lambda t: f"x{t}x")
PATHS = st.lists(FILE_NAMES, min_size=1, max_size=4).map("/".join)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
DRAWN = st.dictionaries(
    st.text(max_size=20), NUMBERS | st.text(max_size=20) | st.lists(NUMBERS, max_size=4), max_size=4
)
ROWS = st.builds(
    PairRow,
    id=PATHS,
    bone_file_name=PATHS,
    air_file_name=PATHS,
    noisy_air_file_name=st.none() | PATHS,
    speaker=FILE_NAMES,
    duration_s=st.floats(1e-4, 1e5),
    sample_rate=st.integers(1000, 384_000),
    sensor=FILE_NAMES,
    source=PATHS,
    source_sha256=st.integers(0, 2**256 - 1).map(lambda n: f"{n:064x}"),
    seed=st.integers(0, 2**53),
    drawn=st.dictionaries(FILE_NAMES, DRAWN, max_size=4),
)


@fixed(150)
@given(ROWS)
def test_a_row_read_back_is_equal(row):
    line = row.to_json()
    assert "\n" not in line
    again = PairRow.from_json(line, "here")
    assert again == row
    assert again.to_json() == line


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@fixed(200)
@given(ROWS, st.sampled_from([field.name for field in dataclasses.fields(PairRow)]), JSON)
def test_a_row_with_anything_in_a_field_is_read_or_refused(row, field, value):
    content = {**vars(row), field: value}
    read = refusal_or(lambda: PairRow.from_json(json.dumps(content), "here"), "here: ")
    assert read is None or json.loads(read.to_json()).get(field) == value


@fixed(200)
@given(st.text() | st.text('{}[]",:0eid\\u').map(lambda text: f'{{"id": {text}'))
def test_a_line_of_anything_is_refused(line):
    with pytest.raises(InputError, match="here"):
        PairRow.from_json(line, "here")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("properties") / "file"


@fixed(150)
@given(st.binary(max_size=400) | JSON.map(lambda x: join({}, json.dumps(x), b"")))
def test_bytes_of_any_kind_are_no_profile(place, content):
    place.write_bytes(content)
    with pytest.raises(InputError, match="file"):
        SensorProfile.load(place)


def test_a_profile_with_anything_in_a_fact_is_read_or_refused(place, sensor):
    @fixed(150)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        header, facts, tensors = split(sensor.to_bytes())
        part = facts
        while True:
            key = data.draw(st.sampled_from(sorted(part)))
            if not isinstance(part[key], dict) or not part[key] or data.draw(st.booleans()):
                break
            part = part[key]
        part[key] = data.draw(JSON)
        place.write_bytes(join(header, facts, tensors))
        profile = refusal_or(lambda: SensorProfile.load(place), str(place))
        if profile is not None:
            assert SensorProfile.from_bytes(profile.to_bytes()).to_bytes() == profile.to_bytes()

    holds()


MAGICS = [
    b"",
    b"RIFF",
    b"RIFF\xff\xff\0\0WAVEfmt ",
    b"RF64\xff\xff\xff\xffWAVEds64",
    b"fLaC\0\0\0\x22",
    b"OggS\0\2",
    b"FORM\0\0\1\0AIFF",
    b"FORM\0\0\1\0AIFCCOMM",
    b"ID3\4\0\0",
    b"\xff\xfb\x90",
]


@fixed(200)
@given(st.sampled_from(MAGICS), st.binary(max_size=300))
def test_bytes_of_any_kind_are_read_as_finite_sound_or_refused(place, magic, content):
    place.write_bytes(magic + content)
    read = refusal_or(lambda: read_audio(place), str(place))
    assert read is None or (np.isfinite(read[0]).all() and read[1] > 0)


@fixed(300)
@given(st.text(st.characters(), max_size=600))
def test_whatever_is_said_fits_into_one_line(text):
    line = fit_line(text)
    assert line.isprintable()
    assert len(line) <= 200
