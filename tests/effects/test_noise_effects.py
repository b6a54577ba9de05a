"""Recorded noise, at the microphone and at the sensor, against closed forms."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import signal

from bcsim.audio.write import write_audio
from bcsim.datasets.noise_folder import NoiseFolder
from bcsim.dsp.activity import active_frames, active_rms
from bcsim.dsp.noise import white_noise
from bcsim.effects.ambient_leakage import AmbientLeakage
from bcsim.effects.ambient_noise import AmbientNoise
from bcsim.effects.base import Scene, stack_draws
from bcsim.effects.distributions import Constant
from bcsim.effects.playback import loop
from bcsim.effects.recorded_noise import RecordedNoise
from bcsim.effects.sensor_level import SensorLevel
from bcsim.errors import InputError
from bcsim.simulator import Simulator

RATE = 16_000


@pytest.fixture
def noise(noise_folder):
    return NoiseFolder(noise_folder)


def drawn_for(effect, clip_ids=("a", "b"), seed=3):
    return stack_draws([effect.sample(seed, clip_id, "step") for clip_id in clip_ids])


def test_the_snr_at_the_air_microphone_is_the_one_asked_for(noise, speech):
    lengths = torch.tensor([speech.shape[1], 17_001])
    air = speech.clone()
    air[1, 17_001:] = 0
    effect = AmbientNoise(noise)
    drawn = drawn_for(effect)
    scene = effect.apply(Scene.from_air(air, RATE, lengths), drawn)
    assert scene.ambient is not None
    clips = [(air[0], scene.ambient[0]), (air[1, :17_001], scene.ambient[1, :17_001])]
    snr_db = torch.stack([10 * torch.log10(s.var() / n.var()) for s, n in clips])
    assert torch.allclose(snr_db, drawn["snr_db"], rtol=0, atol=1e-6)
    assert torch.equal(scene.microphone, air + scene.ambient)
    assert torch.equal(scene.air, air)
    assert torch.equal(scene.bone, air)


def test_noise_at_its_recorded_level_is_the_file_itself(noise, speech):
    effect = AmbientNoise(noise, position=Constant(0.0), level="recorded")
    drawn = {**drawn_for(effect), "noise": ["far/long.flac"] * 2}
    scene = effect.apply(Scene.from_air(speech, RATE), drawn)
    expected = noise.read("far/long.flac", RATE)
    assert scene.ambient is not None
    # behind the crossfade from its end
    assert np.array_equal(scene.ambient[0, 800:].numpy(), expected[800 : speech.shape[1]])


def test_silence_gets_no_noise_by_snr(noise):
    silence = torch.zeros(2, 4000).double()
    effect = AmbientNoise(noise)
    scene = effect.apply(Scene.from_air(silence, RATE), drawn_for(effect))
    assert torch.equal(scene.microphone, silence)


def test_an_offset_is_neither_speech_nor_noise(tmp_path, speech):
    """A recording with a converter's offset gives the same noise as one without."""
    hiss = 0.01 * np.random.default_rng(3).standard_normal(30_000)
    write_audio(tmp_path / "offset.wav", np.round(32768 * (0.5 + hiss)) / 32768, RATE)
    noise = NoiseFolder(tmp_path)
    played = noise.read("offset.wav", RATE)
    assert abs(played.mean()) < 1e-12
    assert np.allclose(played, hiss - hiss.mean(), rtol=0, atol=1e-4)
    effect = AmbientNoise(noise, snr_db=Constant(10.0))
    added = [
        effect.apply(Scene.from_air(air, RATE), drawn_for(effect)).ambient
        for air in (speech, speech + 0.2)
    ]
    first, second = (ambient for ambient in added if ambient is not None)
    assert torch.allclose(first, second, rtol=1e-9)
    snr_db = 10 * torch.log10(speech.var(dim=-1) / first.var(dim=-1))
    assert torch.allclose(snr_db, torch.full((2,), 10.0).double(), rtol=0, atol=1e-9)


def test_a_recording_that_turned_silent_is_refused_where_an_snr_is_asked_for(
    tmp_path, sensor, speech, monkeypatch
):
    write_audio(tmp_path / "nothing.wav", 0.1 * np.sin(np.arange(4000.0)), RATE)
    noise = NoiseFolder(tmp_path)
    effects = AmbientNoise(noise), RecordedNoise(sensor, noise)
    drawn = [drawn_for(effect) for effect in effects]
    monkeypatch.setattr(NoiseFolder, "read", lambda *_: np.zeros(4000))
    for effect, draw in zip(effects, drawn, strict=True):
        scene = Scene.from_air(speech, RATE)
        with pytest.raises(InputError, match=r"'nothing.wav' is silent.*; take it out"):
            effect.apply(scene, draw)
        as_recorded = dataclasses.replace(effect, level="recorded")
        assert torch.allclose(as_recorded.apply(scene, draw).microphone, speech)


@pytest.mark.parametrize(("faint_db", "raised_db"), [(-15.0, 15.0), (-45.0, 20.0)])
def test_a_faint_part_of_a_recording_is_raised_by_no_more_than_20_db(
    tmp_path, speech, faint_db, raised_db
):
    generator = np.random.default_rng(4)
    loudness = np.where(np.arange(10 * RATE) < 5 * RATE, 10 ** (faint_db / 20), 1.0)
    write_audio(tmp_path / "n.wav", 0.1 * loudness * generator.standard_normal(10 * RATE), RATE)
    noise = NoiseFolder(tmp_path)
    effect = AmbientNoise(noise, position=Constant(0.1), snr_db=Constant(5.0))
    played = AmbientNoise(noise, position=Constant(0.1), level="recorded")
    scene = Scene.from_air(speech, RATE)
    scaled, as_it_is = (e.apply(scene, drawn_for(e)).ambient for e in (effect, played))
    assert scaled is not None
    assert as_it_is is not None
    gain_db = 20 * torch.log10(scaled.norm(dim=-1) / as_it_is.norm(dim=-1))
    power = np.mean(noise.read("n.wav", RATE) ** 2)
    for_the_whole_db = 10 * torch.log10(speech.var(dim=-1) / power) - 5
    whole_db = 10 * np.log10((1 + 10 ** (faint_db / 10)) / 2)  # over the loud half
    expected_db = raised_db + whole_db if raised_db < 20 else 20.0
    difference = gain_db - for_the_whole_db
    assert torch.allclose(difference, torch.full((2,), expected_db).double(), rtol=0, atol=0.1)


def test_every_one_of_several_noises_has_its_own_snr(noise, speech):
    effect = AmbientNoise(noise, snr_db=Constant(5.0))
    once = effect.apply(Scene.from_air(speech, RATE), drawn_for(effect))
    twice = effect.apply(once, drawn_for(effect, ("c", "d")))
    assert once.ambient is not None
    assert twice.ambient is not None
    for added in (once.ambient, twice.ambient - once.ambient):
        snr_db = 10 * torch.log10(speech.var(dim=-1) / added.var(dim=-1))
        assert torch.allclose(snr_db, torch.full((2,), 5.0).double(), rtol=0, atol=1e-6)


def test_a_recording_goes_round_without_a_click_and_with_its_power():
    generator = np.random.default_rng(0)
    samples = generator.standard_normal(4000)
    played = loop(samples, 0.0, 0, 40_000, 400)
    assert np.array_equal(played[400:3600], samples[400:3600])
    assert np.array_equal(played[3600:7200], played[:3600])  # the period is less by the crossfade
    around = np.concatenate([played[400 * k : 400 * k + 400] for k in range(0, 99, 9)])
    assert around.std() == pytest.approx(1, abs=0.05)
    slow = np.sin(np.arange(4000) / 500)
    assert np.abs(np.diff(loop(slow, 0.0, 0, 9000, 400))).max() < 0.02  # the ends are 1 apart


def test_stretches_of_a_recording_are_parts_of_the_whole():
    samples = np.random.default_rng(0).standard_normal(3000)
    whole = loop(samples, 0.4, -500, 12_000, 800)
    assert np.array_equal(loop(samples, 0.4, 4321, 2000, 800), whole[4821:6821])


def test_a_recording_of_one_sample_is_a_constant():
    assert np.array_equal(loop(np.array([0.25]), 0.7, 3, 5, 800), np.full(5, 0.25))


def test_the_sensors_own_noise_has_the_snr_asked_for(noise, sensor, speech):
    """Where the sensor has its mean level, the active speech is above the recording by the SNR."""
    gain = 10 ** (sensor.level_db / 20)
    air = speech.repeat(1, 8)
    effect = RecordedNoise(sensor, noise, snr_db=Constant(12.0))
    drawn = {**drawn_for(effect), "noise": ["far/long.flac"] * 2}
    before = Scene.from_air(air, RATE).with_bone(gain * air)
    added = effect.apply(before, drawn).bone - before.bone
    level_db = 20 * torch.log10(active_rms(before.bone, active_frames(air, RATE), RATE))
    noise_db = 10 * torch.log10(added.square().mean(-1))
    # the crossfades are a little louder or softer than the recording
    assert torch.allclose(level_db - noise_db, torch.full((2,), 12.0).double(), rtol=0, atol=0.1)


def test_the_sensors_own_noise_comes_in_stretches_as_in_one(noise, sensor, speech):
    effect = RecordedNoise(sensor, noise)
    drawn = drawn_for(effect)
    whole = Scene.from_air(speech, RATE)
    once = effect.apply(whole, drawn).bone
    part = dataclasses.replace(
        Scene.from_air(speech[:, 9000:15_000], RATE), start=9000, level=whole.speech_level()
    )
    assert torch.allclose(effect.apply(part, drawn).bone, once[:, 9000:15_000], atol=1e-12)


def measured_sensor(sensor):
    frequencies = sensor.transfer_function.frequencies_hz
    return dataclasses.replace(sensor, leakage_db=-12 - 25 * frequencies / (frequencies + 900))


@pytest.mark.parametrize("measured", [True, False])
def test_the_leakage_at_the_sensor_is_the_leakage_response(sensor, speech, measured):
    """Third-octave bands of the difference that the noise makes, against the response."""
    profile = measured_sensor(sensor) if measured else sensor
    ambient = white_noise(torch.tensor([1, 2]), speech.shape[1])
    effect = AmbientLeakage(profile)
    drawn = drawn_for(effect)
    scene = Scene.from_air(speech, RATE).with_ambient(ambient)
    leaked = effect.apply(scene, drawn).bone - speech
    expected_db = effect.leakage_db(drawn).expand(2, -1).numpy()
    if measured:
        assert profile.leakage_db is not None
        assert np.array_equal(expected_db[0], profile.leakage_db)
    grid = sensor.transfer_function.frequencies_hz
    for row in range(2):
        frequencies, before = signal.welch(ambient[row].numpy(), RATE, nperseg=2048)
        _, after = signal.welch(leaked[row].numpy(), RATE, nperseg=2048)
        expected = before * 10 ** (np.interp(frequencies, grid, expected_db[row]) / 10)
        for centre in 125 * 2 ** (np.arange(18) / 3):
            band = (frequencies > centre / 2 ** (1 / 6)) & (frequencies <= centre * 2 ** (1 / 6))
            if band.any():
                assert abs(10 * np.log10(after[band].sum() / expected[band].sum())) < 0.5


def test_the_modelled_isolation_is_relative_to_the_sensors_level(sensor):
    effect = AmbientLeakage(
        sensor,
        isolation_low_db=Constant(10.0),
        isolation_high_db=Constant(30.0),
        corner_hz=Constant(1000.0),
    )
    leakage_db = effect.leakage_db(drawn_for(effect))[0]
    at_corner = np.searchsorted(sensor.transfer_function.frequencies_hz, 1000.0)
    assert leakage_db[0].item() == pytest.approx(sensor.level_db - 10)
    assert leakage_db[at_corner].item() == pytest.approx(sensor.level_db - 20)


def test_leakage_comes_after_the_noise_not_before(sensor):
    """The phase is the least there is: next to nothing of the response lies before time zero."""
    impulse = torch.zeros(1, 4000).double()
    impulse[0, 2000] = 1
    scene = Scene.from_air(torch.zeros_like(impulse), RATE).with_ambient(impulse)
    effect = AmbientLeakage(measured_sensor(sensor))
    bone = effect.apply(scene, drawn_for(effect, "a")).bone[0]
    assert bone[:2000].norm() < 5e-3 * bone.norm()  # what the finite cepstrum leaves over


def test_without_ambient_noise_nothing_leaks(sensor, speech):
    effect = AmbientLeakage(sensor)
    assert torch.allclose(
        effect.apply(Scene.from_air(speech, RATE), drawn_for(effect)).bone, speech
    )


def test_noise_at_the_microphone_reaches_the_sensor_through_the_whole_chain(noise, sensor, speech):
    simulator = Simulator((AmbientNoise(noise), AmbientLeakage(sensor), SensorLevel(sensor)), RATE)
    draws = [simulator.sample(0, clip) for clip in ("a", "b")]
    noisy = simulator.apply(Scene.from_air(speech, RATE), draws)
    silent = [
        {**draw, "ambient_noise": {**draw["ambient_noise"], "snr_db": 300.0}} for draw in draws
    ]
    quiet = simulator.apply(Scene.from_air(speech, RATE), silent)
    assert ((noisy.bone - quiet.bone).norm(dim=-1) > 1e-3 * quiet.bone.norm(dim=-1)).all()
