"""Long files in stretches: no seam, the same draws, and as if rendered in one piece."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from bcsim.audio.infos import audio_info
from bcsim.audio.read import open_audio
from bcsim.audio.write import write_audio
from bcsim.datasets.noise_folder import NoiseFolder
from bcsim.dsp.filter_bank import FilterBank
from bcsim.dsp.noise import white_noise
from bcsim.effects.base import Scene
from bcsim.effects.dropouts import Dropouts
from bcsim.effects.fir_lowpass import FirLowpass
from bcsim.effects.gain import Gain
from bcsim.effects.peak_limit import PeakLimit
from bcsim.effects.peak_normalize import PeakNormalize
from bcsim.effects.recorded_noise import RecordedNoise
from bcsim.effects.sensor_level import SensorLevel
from bcsim.effects.sensor_noise import SensorNoise
from bcsim.effects.sensor_response import SensorResponse
from bcsim.effects.sensor_speech import SensorSpeech
from bcsim.errors import InputError
from bcsim.recipe import Constant
from bcsim.simulator import Simulator
from bcsim.synthesis import long_files as stretches
from bcsim.synthesis.long_files import (
    is_long,
    needed_factors,
    render_segments,
    snr_of_segments,
)

RATE = 16_000


@pytest.fixture
def long_file(tmp_path, monkeypatch):
    """Six seconds in stretches of one, with syllables and pauses, the first second fainter."""
    monkeypatch.setattr(stretches, "LONGEST_WHOLE", RATE)
    monkeypatch.setattr(stretches, "SEGMENT_FRAMES", RATE // FilterBank(RATE).hop)
    monkeypatch.setattr(stretches, "CONTEXT_FRAMES", 64)
    time_s = np.arange(6 * RATE + 77) / RATE
    noise = white_noise(torch.tensor([1]), len(time_s))[0].numpy()
    loudness = np.clip(np.sin(2 * np.pi * 3 * time_s), 0.01, 1) * np.where(time_s < 1, 0.2, 1)
    path = tmp_path / "long.wav"
    write_audio(path, 0.1 * noise * loudness, RATE)
    return path


def in_one_piece(simulator, draws, path) -> Scene:
    air, _ = soundfile.read(path)
    return simulator.apply(Scene.from_air(torch.from_numpy(air)[None], RATE), [draws])


def segments(simulator, draws, path, factors=None) -> list[Scene]:
    with open_audio(path) as recording:
        return list(render_segments(simulator, draws, recording, factors))


def in_stretches(simulator, draws, path) -> tuple[torch.Tensor, torch.Tensor]:
    unscaled = segments(simulator, draws, path)
    peaks = {
        name: max(float(getattr(scene, name).abs().max()) for scene in unscaled)
        for name in ("air", "bone")
    }
    scenes = segments(simulator, draws, path, needed_factors(simulator, peaks))
    assert len(scenes) == 6
    return torch.cat([s.air for s in scenes], dim=1), torch.cat([s.bone for s in scenes], dim=1)


def test_response_noise_and_level_are_those_of_one_piece(long_file, sensor):
    simulator = Simulator((SensorResponse(sensor), SensorNoise(sensor), SensorLevel(sensor)), RATE)
    draws = simulator.sample(0, "clip")
    whole = in_one_piece(simulator, draws, long_file)
    air, bone = in_stretches(simulator, draws, long_file)
    assert torch.equal(air, whole.air)
    torch.testing.assert_close(bone, whole.bone, rtol=0, atol=1e-10)


def test_the_snr_that_came_about_is_that_of_one_piece(long_file, sensor, tmp_path):
    """Rows of files that are rendered in segments lacked it."""
    faint_then_loud = np.repeat([0.002, 0.1], 4 * RATE)
    noise = faint_then_loud * np.random.default_rng(0).standard_normal(8 * RATE)
    write_audio(tmp_path / "noise/steps.wav", noise, RATE)
    folder = NoiseFolder(tmp_path / "noise")
    effect = RecordedNoise(sensor, folder, position=Constant(0.2), snr_db=Constant(10.0))
    simulator = Simulator((effect,), RATE)
    draws = simulator.sample(0, "clip")
    whole = in_one_piece(simulator, draws, long_file).measured["recorded_noise.snr_db"]
    scenes = segments(simulator, draws, long_file)
    found = snr_of_segments([(scene.air.shape[-1], scene.measured) for scene in scenes])
    assert len(scenes) == 6
    assert abs(float(whole) - 10) > 0.5  # what is played is not as loud as the whole recording
    assert abs(float(found["recorded_noise.snr_db"] - whole)) < 0.01


@pytest.mark.parametrize(
    "effect",
    [
        FirLowpass(Constant(500.0), num_taps=40_001),
        Dropouts(Constant(100.0), Constant(1000.0), fill="hold"),
    ],
    ids=["a filter that reaches farther than the context", "gaps that follow each other"],
)
def test_the_context_is_as_long_as_effects_reach(long_file, monkeypatch, effect):
    monkeypatch.setattr(stretches, "CONTEXT_FRAMES", 160)
    simulator = Simulator((effect,), RATE)
    draws = simulator.sample(0, "clip")
    whole = in_one_piece(simulator, draws, long_file)
    scenes = segments(simulator, draws, long_file)
    assert len(scenes) > 3
    bone = torch.cat([scene.bone for scene in scenes], dim=1)
    torch.testing.assert_close(bone, whole.bone, rtol=0, atol=1e-10)


def test_speech_dependent_gains_have_no_seam(long_file, speaking_sensor):
    simulator = Simulator((SensorSpeech(speaking_sensor),), RATE)
    draws = simulator.sample(0, "clip")
    whole = in_one_piece(simulator, draws, long_file).bone
    _, bone = in_stretches(simulator, draws, long_file)
    error_db = 10 * torch.log10((bone - whole).square().sum() / whole.square().sum())
    assert error_db < -40  # what counts as active speech is decided in every stretch anew
    at_seams = torch.stack([(bone - whole)[0, k * RATE - 8 : k * RATE + 8] for k in range(1, 6)])
    assert at_seams.abs().max() < 0.02 * whole.abs().max()


@pytest.mark.parametrize("together", [True, False])
def test_a_loud_file_is_turned_down_as_a_whole(long_file, together):
    simulator = Simulator((Gain(Constant(30.0)), PeakLimit(0.9, together)), RATE)
    draws = simulator.sample(0, "clip")
    whole = in_one_piece(simulator, draws, long_file)
    air, bone = in_stretches(simulator, draws, long_file)
    assert bone.abs().max().item() == pytest.approx(0.9)
    torch.testing.assert_close(air, whole.air, rtol=0, atol=1e-12)


def test_an_effect_that_needs_the_whole_clip_sees_it_up_to_a_length(long_file, monkeypatch):
    simulator = Simulator((PeakNormalize(),), RATE)
    info = audio_info(long_file)
    assert info is not None
    assert not is_long(long_file, info, simulator)
    monkeypatch.setattr(stretches, "LONGEST_AT_ALL", 5 * RATE)
    with pytest.raises(InputError, match=r"'peak_normalize' needs a clip whole, up to 5 s"):
        is_long(long_file, info, simulator)


def test_another_rate_is_resampled_as_it_is_read(long_file, sensor):
    simulator = Simulator((Gain(),), RATE)
    air, _ = soundfile.read(long_file)
    soundfile.write(long_file, np.repeat(air, 3), 3 * RATE)
    found = segments(simulator, simulator.sample(0, "a"), long_file)
    total = sum(scene.air.shape[1] for scene in found)
    assert abs(total - len(air)) <= 1


@pytest.mark.parametrize("num_samples", [2, 100, 512])
def test_a_file_shorter_than_a_frame_has_a_level(tmp_path, num_samples):
    write_audio(tmp_path / "a.wav", 0.25 * (-1.0) ** np.arange(num_samples), RATE)
    with open_audio(tmp_path / "a.wav", is_recording=False) as recording:
        level, mean = stretches.speech_level(recording, RATE)
    assert level.item() == pytest.approx(0.25)
    assert mean.item() == 0


def test_a_stretch_knows_how_loud_the_whole_file_is(long_file):
    air, _ = soundfile.read(long_file)
    whole = Scene.from_air(torch.from_numpy(air)[None], RATE)
    with open_audio(long_file) as recording:
        level, mean = stretches.speech_level(recording, RATE)
    assert mean.item() == pytest.approx(air.mean(), abs=1e-15)
    assert level.item() == pytest.approx(whole.speech_level().item(), rel=1e-7)
    assert replace(whole, level=level).speech_level() is not None
