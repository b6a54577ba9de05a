"""Every number that an effect takes has limits: wrong ones end no run, and give no nonsense."""

import dataclasses
import math

import pytest
import torch

from bcsim.dsp.noise import white_noise
from bcsim.effects import EFFECTS
from bcsim.effects.base import Scene, stack_draws
from bcsim.effects.distributions import (
    Choice,
    Constant,
    Distribution,
    LogUniform,
    Normal,
    Recordings,
    Seed,
    Uniform,
    WithinClipVariation,
)
from bcsim.effects.edge_fade import EdgeFade
from bcsim.effects.polarity import Polarity
from bcsim.effects.sensor_response import SensorResponse
from bcsim.effects.speed import Speed
from bcsim.effects.zero_phase_lowpass import ZeroPhaseLowpass
from bcsim.errors import UsageError
from bcsim.recipe import build_effect

RATE = 16_000
LIMITED = [(name, field) for name in EFFECTS for field in EFFECTS[name].limits]


@pytest.fixture
def built(speaking_sensor, required):
    """Return a function that builds an effect as a recipe does."""

    def make(name, **settings):
        spec = {"name": name, **required(name), **settings}
        return build_effect(spec, "test.yaml", speaking_sensor)

    return make


def applied(effect, air):
    scene = Scene.from_air(air, RATE).with_ambient(0.1 * air)
    return effect.apply(scene, stack_draws([effect.sample(0, "clip", "step")]))


@pytest.mark.parametrize(("name", "field"), LIMITED)
def test_at_both_ends_of_its_limits_a_field_gives_a_finite_signal(built, name, field):
    noise = white_noise(torch.tensor([1]), 1000)
    for end in EFFECTS[name].limits[field]:
        effect = built(name, **{field: end})
        for air in (noise, noise[:, :1], 0 * noise, noise.float()):
            scene = applied(effect, air)
            for signal in (scene.air, scene.bone, scene.microphone):
                assert signal.shape[-1] > 0
                assert torch.isfinite(signal).all()


@pytest.mark.parametrize(("name", "field"), LIMITED)
def test_beyond_its_limits_a_field_is_refused_before_a_run(built, name, field):
    low, high = EFFECTS[name].limits[field]
    step = 2 if isinstance(low, int) else (high - low) / 8
    for wrong in (low - step, high + step):
        with pytest.raises(UsageError) as refused:
            built(name, **{field: wrong})
        message = str(refused.value)
        assert message.startswith(f"test.yaml: {name}: {field} is {wrong}")
        assert message.endswith(f"it wants {low:g} to {high:g}")
        assert "\n" not in message


@pytest.mark.parametrize("name", list(EFFECTS))
def test_no_number_is_without_bounds(built, name):
    """What has no limits must refuse an unbounded distribution by itself, as a room does."""
    effect = built(name)
    for field in dataclasses.fields(effect):
        value = getattr(effect, field.name)
        drawn = isinstance(value, Distribution) and not isinstance(value, Seed | Recordings)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if (drawn or number) and field.name not in effect.limits:
            assert drawn
            with pytest.raises(UsageError, match="no bounds"):
                built(name, **{field.name: {"normal": [1, 1]}})


@pytest.mark.parametrize(("name", "field"), LIMITED)
def test_what_an_unbounded_distribution_draws_stays_within_the_limits(built, name, field):
    if not isinstance(getattr(built(name), field), Distribution):
        pytest.skip("a setting is not drawn")
    low, high = EFFECTS[name].limits[field]
    effect = built(name, **{field: {"normal": [(low + high) / 2, 10 * (high - low)]}})
    drawn = {effect.sample(0, str(clip), "step")[field] for clip in range(100)}
    assert {low, high} < drawn
    assert all(isinstance(value, float) and low <= value <= high for value in drawn)


@pytest.mark.parametrize("drawn", [Normal(0.5, 1.0), Normal(1.0, 100.0)])
def test_a_speed_that_was_drawn_negative_ends_no_run(drawn):
    factors = [Speed(drawn).sample(0, str(clip), "step") for clip in range(20)]
    assert min(factor["factor"] for factor in factors) == 0.1
    scene = Scene.from_air(white_noise(torch.arange(20), 1000), RATE)
    assert torch.isfinite(Speed(drawn).apply(scene, stack_draws(factors)).bone).all()


def test_a_vector_is_held_within_the_limits_number_by_number(speaking_sensor):
    effect = SensorResponse(speaking_sensor, wearer=Normal(0.0, 100.0, size=8))
    vector = effect.sample(0, "clip", "step")["wearer"]
    assert isinstance(vector, list)
    assert len(vector) == 8
    assert max(abs(number) for number in vector) == 20.0
    assert len(set(vector)) > 2


@pytest.mark.parametrize("value", [math.nan, math.inf, {"normal": [0, math.inf]}])
@pytest.mark.parametrize(("name", "field"), [("gain", "gain_db"), ("sensor_level", "deviation")])
def test_numbers_that_are_none_are_refused(built, name, field, value):
    drawn = f"{name}: {field} is .*; it wants a finite number"
    plain = f"{name}.{field}: input should be a finite number, not (nan|inf)"
    with pytest.raises(UsageError, match=drawn if isinstance(value, dict) else plain):
        built(name, **{field: value})


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("gain", {"gain_db": {"normal": [0, 1, 3]}}, "gain_db is a vector of 3; it wants one"),
        ("gain", {"gain_db": {"normal": [300, 1]}}, "gain_db is 300; it wants -200 to 200"),
        ("gain", {"gain_db": {"choice": [0, 10**400]}}, "it wants -200 to 200"),
        ("gain", {"gain_db": {"choice": [0, math.nan]}}, "it wants a finite number"),
        ("gain", {"gain_db": {"seed": []}}, "leave seeds to the program"),
        ("dropouts", {"seed": 5}, "leave seeds to the program"),
        ("dropouts", {"rate_per_min": {"log_uniform": [1, 1e7]}}, "it wants 0 to 6000"),
        ("sensor_speech", {"residual": {"fluctuation": 21}}, "residual is 21; it wants 0 to 20"),
        ("sensor_response", {"wearer": {"normal": [0, 1, 2.5]}}, "it wants a whole number"),
        ("sensor_response", {"wearer": {"normal": [21, 1, 8]}}, "wearer is 21; it wants -20 to 20"),
    ],
)
def test_a_distribution_that_the_field_cannot_have_is_refused(built, name, settings, message):
    with pytest.raises(UsageError, match=message):
        built(name, **settings)


@pytest.mark.parametrize(
    ("distribution", "extremes"),
    [
        (Constant(3.0), (3.0, 3.0)),
        (Uniform(-1.0, 2.0), (-1.0, 2.0)),
        (LogUniform(1.0, 2.0), (1.0, 2.0)),
        (Choice((2.0, -1.0, 1.0)), (-1.0, 2.0)),
        (WithinClipVariation(0.5), (0.0, 0.5)),
        (Normal(0.0, 1.0), None),
        (Seed(), None),
    ],
)
def test_extremes_are_the_least_and_the_greatest_draw(distribution, extremes):
    assert distribution.extremes() == extremes


def test_a_fade_of_no_samples_changes_nothing():
    air = white_noise(torch.tensor([1]), 1000)
    assert torch.equal(applied(EdgeFade(0), air).bone, air)


def test_no_sign_is_the_positive_one():
    air = white_noise(torch.tensor([1]), 1000)
    assert torch.allclose(applied(Polarity(Constant(0.0)), air).bone, air)


def test_a_cutoff_above_the_band_is_held_within_it():
    air = white_noise(torch.tensor([1]), 1000)
    highest = applied(ZeroPhaseLowpass(Constant(0.49 * RATE)), air).bone
    assert torch.equal(applied(ZeroPhaseLowpass(Constant(9000.0)), air).bone, highest)
