"""Rooms: what was asked for is what is measured, and the air microphone's target stays clean."""

import dataclasses
import math
import pickle

import numpy as np
import pyroomacoustics
import pytest
import torch

from bcsim.audio.write import write_audio
from bcsim.datasets.noise_folder import NoiseFolder
from bcsim.effects.ambient_leakage import AmbientLeakage
from bcsim.effects.base import Scene, stack_draws
from bcsim.effects.distributions import Constant, LogUniform, Normal, Uniform
from bcsim.effects.room import HALF_TAPS, SPEED_OF_SOUND, Room, decay_time, impulse_responses
from bcsim.errors import InputError, UsageError

RATE = 16_000


def drawn_for(effect, clip_ids=("a", "b"), seed=3):
    return stack_draws([effect.sample(seed, clip_id, "room") for clip_id in clip_ids])


def in_room(effect, air, clip_ids=("a", "b")):
    return effect.apply(Scene.from_air(air, RATE), drawn_for(effect, clip_ids))


def states_of_generators():
    theirs = pyroomacoustics.random.get_rng()
    assert theirs is not None
    return pickle.dumps((np.random.get_state(), theirs.bit_generator.state))  # noqa: NPY002


@pytest.fixture
def noise(noise_folder):
    return NoiseFolder(noise_folder)


def test_a_reverberation_without_end_is_refused():
    with pytest.raises(ValueError, match=r"rt60_s is 1e\+308; it wants 60 s or less"):
        Room(rt60_s=Constant(1e308))


@pytest.mark.parametrize("rt60_s", [0.2, 0.4, 0.6, 0.9])
@pytest.mark.parametrize(
    ("length_m", "width_m", "height_m", "distance_m"),
    [(4.0, 3.6, 2.4, 0.05), (5.5, 4.3, 2.7, 0.4), (8.0, 6.0, 3.2, 1.5), (8.0, 3.6, 2.4, 0.2)],
)
def test_the_rt60_asked_for_is_the_rt60_measured(rt60_s, length_m, width_m, height_m, distance_m):
    """Through the effect itself, on an impulse; by our own integral and by pyroomacoustics'.

    At a microphone close to the mouth the direct sound hides the decay, so it is taken off.
    """
    effect = Room(
        length_m=Constant(length_m),
        width_m=Constant(width_m),
        height_m=Constant(height_m),
        rt60_s=Constant(rt60_s),
        distance_m=Constant(distance_m),
    )
    impulse = torch.zeros(1, 2 * RATE).double()
    impulse[0, 100] = 1
    scene = in_room(effect, impulse, ("a",))
    reflections = (scene.microphone - scene.air)[0].numpy()
    t20, t30 = (decay_time(reflections**2, RATE, (-5.0, low)) for low in (-25.0, -35.0))
    assert t30 == pytest.approx(rt60_s, rel=0.15)
    assert t20 == pytest.approx(rt60_s, rel=0.2)
    theirs = pyroomacoustics.experimental.measure_rt60(reflections, RATE, decay_db=30)
    assert theirs == pytest.approx(rt60_s, rel=0.15)


def test_an_exponential_decay_has_its_own_decay_time():
    time_s = np.arange(RATE) / RATE
    assert decay_time(10 ** (-6 * time_s / 0.3), RATE) == pytest.approx(0.3, rel=1e-3)


def test_the_snr_asked_for_is_the_snr_measured(noise, speech):
    effect = Room(noise)
    drawn = drawn_for(effect)
    scene = effect.apply(Scene.from_air(speech, RATE), drawn)
    assert scene.ambient is not None
    reverberant = scene.microphone - scene.ambient
    snr_db = 10 * torch.log10(reverberant.var(dim=-1) / scene.ambient.var(dim=-1))
    assert torch.allclose(snr_db, drawn["snr_db"], rtol=0, atol=1e-6)


def test_the_noise_at_the_sensor_is_fainter_than_at_a_far_microphone_by_the_distance(
    noise, sensor, speech
):
    """The talker's direct sound, which keeps its level, falls by the distance; noise does not."""
    leakage = AmbientLeakage(dataclasses.replace(sensor, leakage_db=np.full(257, -15.0)))
    for distance_m, reference_m in ((0.05, 0.05), (1.2, 0.05), (1.2, 0.3)):
        room = Room(noise, distance_m=Constant(distance_m), reference_distance_m=reference_m)
        scene = in_room(room, speech)
        assert scene.ambient is not None
        leaked = leakage.apply(scene, drawn_for(leakage)).bone - speech
        level_db = 10 * torch.log10(leaked.square().sum(-1) / scene.ambient.square().sum(-1))
        expected_db = -15 - 20 * math.log10(distance_m / reference_m)
        assert torch.allclose(level_db, torch.full((2,), expected_db).double(), rtol=0, atol=1e-3)


def test_a_room_that_cannot_decay_as_asked_is_refused():
    effect = Room(
        length_m=Constant(30.0),
        width_m=Constant(30.0),
        height_m=Constant(30.0),
        mouth_height_m=Constant(15.0),
        rt60_s=Constant(0.1),
    )
    message = r"room: 30 x 30 x 30 m with an rt60_s of 0.1 decays in .*; make rt60_s longer"
    with pytest.raises(InputError, match=message):
        impulse_responses(effect.layout(effect.sample(0, "a", "room")), RATE)


def test_a_silent_recording_is_refused_in_a_room_too(tmp_path, speech):
    write_audio(tmp_path / "nothing.wav", np.zeros(4000), RATE)
    with pytest.raises(InputError, match=r"nothing\.wav: .*silence"):
        in_room(Room(NoiseFolder(tmp_path)), speech)


def test_the_sensor_and_the_target_stay_out_of_the_room(noise, speech):
    scene = in_room(Room(noise), speech)
    assert torch.equal(scene.air, speech)
    assert torch.equal(scene.bone, speech)
    assert not torch.allclose(scene.microphone, speech)


def test_the_direct_sound_is_the_target_itself_and_reflections_come_when_they_must():
    """The first reflections: off the nearest walls, at the difference of the ways."""
    effect = Room(
        length_m=Constant(6.0),
        width_m=Constant(5.0),
        height_m=Constant(2.9),
        rt60_s=Constant(0.3),
        mouth_x=Constant(0.5),
        mouth_y=Constant(0.5),
        mouth_height_m=Constant(1.4),
        distance_m=Constant(0.5),
        direction_deg=Constant(0.0),
    )
    impulse = torch.zeros(1, 8000).double()
    impulse[0, 1000] = 1
    scene = in_room(effect, impulse, ("a",))
    reflections = (scene.microphone - impulse)[0]
    way_m = math.hypot(0.5, 2 * 1.4)  # by the floor, which is nearest
    first = 1000 + (way_m - 0.5) / SPEED_OF_SOUND * RATE
    assert reflections[: round(first) - HALF_TAPS].abs().max() < 1e-12
    peak = int(reflections[: round(first) + 3].argmax())
    assert peak == pytest.approx(first, abs=0.6)
    assert 0 < reflections[peak] < 0.5 / way_m  # spread over the way, and partly absorbed


def test_a_closer_microphone_hears_less_of_the_room(speech):
    ratios = []
    for distance_m in (0.05, 0.2, 0.8):
        scene = in_room(Room(distance_m=Constant(distance_m)), speech)
        ratios.append((scene.microphone - scene.air).norm(dim=-1) / scene.air.norm(dim=-1))
    assert (ratios[0] < ratios[1]).all()
    assert (ratios[1] < ratios[2]).all()


def test_several_sources_are_heard_from_all_round(noise):
    effect = Room(noise, sources=4, noise_direction_deg=Constant(10.0))
    layout = effect.layout(effect.sample(0, "clip", "room"))
    x, y, _ = layout.microphone
    angles = [math.degrees(math.atan2(py - y, px - x)) % 360 for px, py, _ in layout.noises]
    assert angles == pytest.approx([10, 100, 190, 280])
    for place in (layout.mouth, layout.microphone, *layout.noises):
        assert all(0 < at < side for at, side in zip(place, layout.size, strict=True))


def test_noise_sounds_before_the_talker_does(noise):
    """The reverberation of the noise is there from the first sample on."""
    effect = Room(noise, rt60_s=Constant(0.6), snr_db=Constant(0.0))
    air = torch.zeros(1, RATE).double()
    air[0, 8000] = 1
    scene = in_room(effect, air, ("a",))
    assert scene.ambient is not None
    start, later = scene.ambient[0, :800].norm(), scene.ambient[0, 8000:8800].norm()
    assert 0.2 < start / later < 5


def test_the_hidden_generators_are_left_alone(noise, speech):
    """Neither numpy's global one nor pyroomacoustics' own is touched."""
    before = states_of_generators()
    in_room(Room(noise), speech, ("never", "seen"))
    assert states_of_generators() == before


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"rt60_s": Constant(3.0)}, "order .* make rt60_s shorter or the room larger"),
        ({"rt60_s": Normal(0.4, 0.1)}, "no bounds; give a number, uniform"),
        ({"distance_m": LogUniform(0.1, 3.0)}, "distance_m is 3.0; it wants 1.50 m or less"),
        ({"mouth_height_m": Uniform(1.0, 2.3)}, "mouth_height_m is 2.3; it wants 2.10 m or less"),
        ({"mouth_x": Uniform(0.0, 2.0)}, "mouth_x"),
        ({"sources": 0}, "sources is 0; it wants 1 to 64"),
    ],
)
def test_a_room_that_cannot_be_is_refused_before_work_starts(parameters, message):
    with pytest.raises((UsageError, ValueError), match=message):
        Room(**parameters)
