"""The simulator: fusing changes nothing, and draws depend on names alone."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bcsim.effects import spectral
from bcsim.effects.base import Scene, stack_draws
from bcsim.effects.body_noise import BodyNoise
from bcsim.effects.distributions import Uniform
from bcsim.effects.gain import Gain
from bcsim.effects.sensor_level import SensorLevel
from bcsim.effects.sensor_noise import SensorNoise
from bcsim.effects.sensor_response import SensorResponse
from bcsim.effects.sensor_speech import SensorSpeech
from bcsim.effects.white_noise import WhiteNoise
from bcsim.errors import InputError
from bcsim.simulator import Simulator

RATE = 16_000


def test_fused_effects_give_what_one_after_the_other_gives(sensor, speech):
    effects = (SensorResponse(sensor), SensorNoise(sensor), SensorLevel(sensor))
    simulator = Simulator(effects, RATE)
    draws = [simulator.sample(4, clip_id) for clip_id in ("a", "b")]
    speech = speech - speech.mean(dim=1, keepdim=True)  # which a simulator takes out first
    fused = simulator.apply(Scene.from_air(speech, RATE), draws)
    scene = Scene.from_air(speech, RATE)
    for name, effect in zip(simulator.step_names, effects, strict=True):
        scene = effect.apply(scene, stack_draws([draw[name] for draw in draws]))
    # One by one, what rings past the clip's end is lost in between; nothing comes back from it.
    assert torch.allclose(fused.bone, scene.bone, rtol=0, atol=1e-6)


def test_neighbouring_spectral_effects_share_one_inverse_transform(sensor, speech, monkeypatch):
    calls = []
    inverse = torch.fft.irfft
    monkeypatch.setattr(
        spectral.torch.fft, "irfft", lambda *a, **k: calls.append(a[0].shape) or inverse(*a, **k)
    )
    effects = (SensorResponse(sensor), SensorNoise(sensor), SensorLevel(sensor), Gain())
    Simulator(effects, RATE).render(speech, ["a", "b"], seed=0)
    long = [math.prod(shape[:-1]) * 2 * (shape[-1] - 1) for shape in calls if shape[-1] > 2000]
    assert sum(long) < 1.4 * speech.numel()  # blocks overlap, and the last one is not full


def test_an_effect_more_leaves_the_others_draws_as_they_were(sensor):
    few = Simulator((SensorResponse(sensor), SensorNoise(sensor)), RATE)
    more = Simulator((Gain(Uniform(-3, 3)), SensorNoise(sensor), SensorResponse(sensor)), RATE)
    for name, draw in few.sample(9, "clip").items():
        assert more.sample(9, "clip")[name] == draw


def test_two_effects_of_a_kind_draw_apart():
    simulator = Simulator((Gain(Uniform(-3, 3)), Gain(Uniform(-3, 3))), RATE)
    draws = simulator.sample(0, "clip")
    assert list(draws) == ["gain", "gain#2"]
    assert draws["gain"] != draws["gain#2"]


def test_the_mean_sensor_is_the_same_for_every_clip_but_for_its_noise(sensor):
    simulator = Simulator((SensorResponse(sensor), SensorNoise(sensor)), RATE)
    first, second = (simulator.sample(0, clip, mean=True) for clip in ("a", "b"))
    assert first["sensor_response"] == second["sensor_response"]
    assert first["sensor_noise"]["level"] == second["sensor_noise"]["level"] == 0
    assert first["sensor_noise"]["seed"] != second["sensor_noise"]["seed"]


def test_a_longer_batch_changes_no_clip(sensor, speech):
    effects = (SensorResponse(sensor), SensorNoise(sensor), WhiteNoise())
    simulator = Simulator(effects, RATE)
    alone = simulator.render(speech[:1, :9000], ["a"], seed=0).bone
    padded = torch.zeros_like(speech)
    padded[0, :9000] = speech[0, :9000]
    padded[1] = speech[1]
    scene = Scene.from_air(padded, RATE, torch.tensor([9000, 24_000]))
    batch = simulator.apply(scene, [simulator.sample(0, clip) for clip in ("a", "b")]).bone
    assert torch.allclose(batch[0, :9000], alone[0], rtol=0, atol=1e-10)
    assert batch[0, 9000:].abs().max() == 0


@pytest.mark.parametrize("offset", [0.01, -0.3])
def test_an_offset_of_air_reaches_neither_the_sensor_nor_its_noise(speaking_sensor, speech, offset):
    """With 1 or 3 % of DC the sensor's noise rose by 5 or 14 dB, and bone had DC itself."""
    effects = (SensorSpeech(speaking_sensor), SensorResponse(speaking_sensor),
               SensorNoise(speaking_sensor), BodyNoise(speaking_sensor))  # fmt: skip
    simulator = Simulator(effects, RATE)
    lengths = torch.tensor([24_000, 20_000])
    air = speech * (torch.arange(24_000) < lengths[:, None])
    with_offset = (air + offset) * (torch.arange(24_000) < lengths[:, None])
    draws = [simulator.sample(0, name) for name in "ab"]
    plain, moved = (
        simulator.apply(Scene.from_air(x, RATE, lengths), draws) for x in (air, with_offset)
    )
    assert torch.equal(moved.air, with_offset)
    torch.testing.assert_close(moved.bone, plain.bone, rtol=0, atol=1e-8)


def test_a_scene_of_another_rate_is_refused(speech):
    with pytest.raises(ValueError, match="8000 Hz, simulator 16000 Hz"):
        Simulator((), RATE).apply(Scene.from_air(speech, 8000), [{}, {}])


@settings(max_examples=60)
@given(
    num_samples=st.integers(1, 6000),
    scale_db=st.floats(-60, 40),
    silence=st.integers(0, 3000),
    seed=st.integers(0, 2**63),
)
def test_a_pair_keeps_its_length_stays_finite_and_scales_with_the_talker(
    sensor, num_samples, scale_db, silence, seed
):
    simulator = Simulator((SensorResponse(sensor), SensorNoise(sensor), SensorLevel(sensor)), RATE)
    generator = torch.Generator().manual_seed(seed % 2**32)
    air = 0.1 * torch.randn(1, num_samples, generator=generator, dtype=torch.float64)
    air[:, :silence] = 0
    bone = simulator.render(air, ["clip"], seed).bone
    scale = 10 ** (scale_db / 20)
    louder = simulator.render(scale * air, ["clip"], seed).bone
    assert bone.shape == air.shape
    assert torch.isfinite(bone).all()
    assert torch.allclose(louder, scale * bone, rtol=1e-9, atol=1e-12 * scale)


def test_a_simulator_is_called_with_arrays_and_refuses_what_it_cannot_render(sensor):
    simulator = Simulator((SensorResponse(sensor), SensorNoise(sensor), SensorLevel(sensor)), RATE)
    air = np.sin(np.arange(16_000) / 5)
    scene = simulator(air, 16_000, seed=3)
    assert scene.bone.shape == (1, 16_000)
    again = simulator(torch.from_numpy(air)[None], 16_000, seed=3, clip_ids=["0"])
    assert torch.equal(scene.bone, again.bone)
    assert not torch.equal(scene.bone, simulator(air, 16_000, seed=4).bone)
    with pytest.raises(InputError, match="air is 8000 Hz, the simulator renders at 16000 Hz"):
        simulator(air, 8000)
    with pytest.raises(InputError, match="air is int16"):
        simulator(torch.ones(9, dtype=torch.int16), 16_000)
