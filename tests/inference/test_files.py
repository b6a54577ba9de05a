"""A file becomes a file of the same kind, of any length, as the samples alone would."""

import tracemalloc

import numpy as np
import pytest
import soundfile
import torch

from bcsim.audio.infos import audio_info
from bcsim.audio.read import BLOCK, read_audio
from bcsim.errors import InputError
from bcsim.inference.enhancer import enhance
from bcsim.inference.files import enhance_file
from bcsim.models.base import Enhancer
from bcsim.models.seanet import SEANet
from bcsim.models.storage import build_enhancer
from bcsim.rng import stream


@pytest.fixture
def model() -> Enhancer:
    torch.manual_seed(0)
    return SEANet(width=1, latent=1, channels=("bone",)).eval()


@pytest.fixture
def identity() -> Enhancer:
    """An enhancer that changes nothing: SEANet adds its input to what the network gives."""
    model = SEANet(width=1, latent=1, weight_norm=False)
    torch.nn.init.zeros_(model.last_layer)
    for name, weights in model.named_parameters():
        if name.startswith("last_conv"):
            torch.nn.init.zeros_(weights)
    return model.eval()


def noise(num_samples: int, *name: object) -> np.ndarray:
    return 0.1 * stream(1, "files", *map(str, name)).standard_normal(num_samples)


KINDS = {
    "a.wav": ("WAV", "PCM_16", 1, 16_000, "PCM_16"),
    "b.flac": ("FLAC", "PCM_24", 2, 48_000, "PCM_24"),
    "c.wav": ("WAV", "PCM_24", 3, 44_100, "PCM_24"),
    "d.wav": ("WAV", "FLOAT", 2, 8000, "FLOAT"),
    "e.wav": ("WAV", "DOUBLE", 1, 16_000, "DOUBLE"),
    "f.wav": ("WAV", "PCM_32", 1, 16_000, "PCM_32"),
    "g.wav": ("WAV", "ULAW", 1, 8000, "PCM_16"),
    "h.wav": ("WAV", "PCM_U8", 1, 16_000, "PCM_16"),
    "i.aiff": ("AIFF", "PCM_24", 2, 22_050, "PCM_24"),
}


@pytest.mark.parametrize("name", list(KINDS))
def test_depth_rate_and_channels_are_those_of_the_recording(model, tmp_path, name):
    container, subtype, channels, rate, expected = KINDS[name]
    samples = np.stack([noise(4000, k) for k in range(channels)], axis=1)
    soundfile.write(tmp_path / name, samples, rate, subtype=subtype, format=container)
    out = tmp_path / f"out{'.flac' if container == 'FLAC' else '.wav'}"
    enhance_file(model, tmp_path / name, None, out)
    info = audio_info(out)
    assert info is not None
    found = (info.codec, info.channels, info.sample_rate, info.frames)
    assert found == (expected, channels, rate, 4000)


def test_flac_takes_as_much_of_the_depth_as_it_holds(model, tmp_path):
    soundfile.write(tmp_path / "x.wav", noise(4000), 16_000, subtype="FLOAT")
    enhance_file(model, tmp_path / "x.wav", None, tmp_path / "y.flac")
    assert soundfile.info(str(tmp_path / "y.flac")).subtype == "PCM_24"


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_each_channel_is_enhanced_as_it_would_be_alone(model, tmp_path, rate):
    samples = np.stack([noise(9000, "left"), np.zeros(9000), noise(9000, "right")], axis=1)
    soundfile.write(tmp_path / "x.wav", samples, rate, subtype="DOUBLE")
    enhance_file(model, tmp_path / "x.wav", None, tmp_path / "y.wav")
    found, _ = soundfile.read(tmp_path / "y.wav")
    for alone, together in zip(samples.T, found.T, strict=True):
        np.testing.assert_array_equal(together, enhance(model, alone, rate))


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_file_gives_what_its_samples_give_in_one_piece(model, tmp_path, rate, monkeypatch):
    """However short the blocks are in which it is read."""
    samples = noise(50_001)
    soundfile.write(tmp_path / "x.wav", samples, rate, subtype="DOUBLE")
    monkeypatch.setattr("bcsim.inference.enhancer.BlockEnhancer.__init__.__defaults__", (0.5, None))
    monkeypatch.setattr("bcsim.audio.read.AudioFile.blocks.__defaults__", (777, True, None))
    enhance_file(model, tmp_path / "x.wav", None, tmp_path / "y.wav")
    found, _ = soundfile.read(tmp_path / "y.wav")
    whole = enhance(model, samples, rate, chunk_s=1000)
    np.testing.assert_allclose(found, whole, rtol=0, atol=1e-5)


def test_a_file_is_enhanced_at_the_level_of_the_whole(tmp_path, monkeypatch):
    """However quiet some of its minutes are, in each of its channels."""
    model = build_enhancer({"name": "envelope_mapper", "width": 4, "num_layers": 1}, 1).eval()
    samples = np.stack([noise(50_001), noise(50_001)], axis=1)
    samples[20_000:, 0] *= 1e-2
    samples[:20_000, 1] *= 1e-2
    soundfile.write(tmp_path / "x.wav", samples, 16_000, subtype="DOUBLE")
    monkeypatch.setattr("bcsim.inference.files.UNBOUNDED_CHUNK_S", 1.0)
    monkeypatch.setattr("bcsim.inference.enhancer.UNBOUNDED_CONTEXT_S", 1.0)
    monkeypatch.setattr("bcsim.inference.enhancer.BlockEnhancer.__init__.__defaults__", (0.5, None))
    enhance_file(model, tmp_path / "x.wav", None, tmp_path / "y.wav")
    found, _ = soundfile.read(tmp_path / "y.wav")
    whole = [enhance(model, signal, 16_000, chunk_s=1000) for signal in samples.T]
    np.testing.assert_allclose(found, np.stack(whole, axis=1), rtol=0, atol=1e-5)


def test_memory_does_not_grow_with_the_file(model, tmp_path, monkeypatch):
    """Of one hour 2.3 GB were held, for the samples of each step in double precision."""
    monkeypatch.setattr("bcsim.inference.enhancer.BlockEnhancer.__init__.__defaults__", (0.3, None))
    monkeypatch.setattr("bcsim.audio.read.AudioFile.blocks.__defaults__", (4000, True, None))
    peaks, lengths_s = [], (3, 9)
    for seconds in lengths_s:
        path = tmp_path / f"{seconds}.flac"
        soundfile.write(path, np.tile(noise(16_000), seconds), 16_000)
        tracemalloc.start()
        enhance_file(model, path, None, tmp_path / "out.flac")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    held = 8 * 16_000 * (lengths_s[1] - lengths_s[0])  # bytes, if one array held all samples
    assert peaks[1] - peaks[0] < held / 3, peaks


def test_what_is_loud_at_the_end_turns_all_of_it_down(identity, tmp_path, caplog):
    samples = noise(3 * BLOCK)
    samples[-1000] = 1.25
    soundfile.write(tmp_path / "x.wav", samples, 16_000, subtype="FLOAT")
    enhance_file(identity, tmp_path / "x.wav", None, tmp_path / "y.wav")
    found, _ = soundfile.read(tmp_path / "y.wav")
    np.testing.assert_allclose(found, 0.99 / 1.25 * samples, rtol=0, atol=1e-6)
    assert [m for m in caplog.messages if "y.wav" in m] == [
        f"{tmp_path}/y.wav: peak at 1.2 of full scale; turned down"
    ]
    assert sum("x.wav" in message for message in caplog.messages) == 1  # said once, read twice


def test_a_model_whose_output_is_not_finite_writes_no_file(identity, tmp_path):
    torch.nn.init.constant_(identity.last_layer, float("nan"))
    soundfile.write(tmp_path / "x.wav", noise(4000), 16_000)
    with pytest.raises(InputError, match=r"x\.wav: the model's output is not finite"):
        enhance_file(identity, tmp_path / "x.wav", None, tmp_path / "y.wav")
    assert not (tmp_path / "y.wav").exists()


def test_the_air_microphone_stays_in_time_at_another_rate_and_length(tmp_path, monkeypatch):
    """Half of the second channel: what it gives is in time with the sensor to the last sample."""

    class Second(SEANet):
        def enhance_valid(self, signal):
            return 0.5 * signal[:, 1:]

    both = Second(width=1, latent=1, channels=("bone", "air")).eval()
    time_s = np.arange(40_000) / 16_000
    tone = 0.4 * np.sin(2 * np.pi * 300 * time_s) * np.hanning(40_000)
    faint = 1e-3 * np.sin(2 * np.pi * 200 * time_s)
    monkeypatch.setattr("bcsim.inference.files.check_partner", lambda *_: None)
    soundfile.write(tmp_path / "bone.wav", faint, 16_000, subtype="DOUBLE")
    time_s = np.arange(120_300) / 48_000  # 6 ms longer
    air = np.zeros(120_300)
    air[:120_000] = 0.4 * np.sin(2 * np.pi * 300 * time_s[:120_000]) * np.hanning(120_000)
    soundfile.write(tmp_path / "air.wav", air, 48_000, subtype="DOUBLE")
    monkeypatch.setattr("bcsim.audio.read.AudioFile.blocks.__defaults__", (999, True, None))
    enhance_file(both, tmp_path / "bone.wav", tmp_path / "air.wav", tmp_path / "y.wav")
    found, rate = read_audio(tmp_path / "y.wav")
    assert (len(found), rate) == (40_000, 16_000)
    np.testing.assert_allclose(found, 0.5 * tone, rtol=0, atol=1e-4)


def test_a_recording_of_the_air_microphone_that_is_longer_is_refused_before_it_is_read(tmp_path):
    both = SEANet(width=1, latent=1, channels=("bone", "air")).eval()
    both.register_forward_hook(lambda *_: pytest.fail("the model ran"))
    for name, num_samples in (("bone", 16_000), ("air", 48_000)):
        soundfile.write(tmp_path / f"{name}.wav", noise(num_samples), 16_000)
    with pytest.raises(InputError, match=r"air\.wav: lasts 3\.00 s, .*bone\.wav 1\.00 s"):
        enhance_file(both, tmp_path / "bone.wav", tmp_path / "air.wav", tmp_path / "y.wav")
