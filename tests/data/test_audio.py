"""Audio files: what goes in comes out, and what is no audio is named."""

import errno
import os

import numpy as np
import pytest
import soundfile

from bcsim.data.audio import audio_files, read_audio, resample, to_pcm16, write_audio
from bcsim.errors import EnvironmentFault, InputError


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_reading_what_was_written_is_the_identity_on_16_bits(tmp_path, suffix):
    samples = np.arange(-32768, 32768) / 32768
    write_audio(tmp_path / f"x{suffix}", samples, 16_000)
    again, rate = read_audio(tmp_path / f"x{suffix}")
    assert rate == 16_000
    assert np.array_equal(again, samples)


def test_equal_samples_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write_audio(tmp_path / f"{name}.flac", np.sin(np.arange(5000) / 9), 16_000)
    assert (tmp_path / "a.flac").read_bytes() == (tmp_path / "b.flac").read_bytes()


def test_full_scale_is_clipped_and_never_wraps():
    assert to_pcm16(np.array([1.0, 2.0, -1.0, -2.0])).tolist() == [32767, 32767, -32768, -32768]


def test_channels_are_averaged_with_a_warning(tmp_path, caplog):
    soundfile.write(tmp_path / "s.wav", np.array([[0.5, 0.25]] * 100), 8000)
    samples, _ = read_audio(tmp_path / "s.wav")
    assert np.allclose(samples, 0.375)
    assert "2 channels averaged" in caplog.text


@pytest.mark.parametrize(("rate", "new_rate"), [(48_000, 16_000), (8000, 16_000), (16_001, 16_000)])
def test_a_tone_keeps_its_frequency_and_level_through_resampling(rate, new_rate):
    tone = np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)
    out = resample(tone, rate, new_rate)
    expected = np.sin(2 * np.pi * 1000 * np.arange(new_rate) / new_rate)
    assert len(out) == new_rate
    assert np.abs(out - expected)[1000:-1000].max() < 1e-3


def test_files_are_listed_by_relative_path_and_hidden_ones_are_not(tmp_path):
    for name in ("b/x.wav", "a/y.FLAC", "a/.hidden.wav", ".cache/z.wav", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = [path.relative_to(tmp_path).as_posix() for path in audio_files(tmp_path)]
    assert found == ["a/y.FLAC", "b/x.wav"]


def test_folders_without_audio_are_refused(tmp_path):
    with pytest.raises(InputError, match="no audio files"):
        audio_files(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        audio_files(tmp_path / "missing")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("missing.wav", None, "no such file"),
        ("empty.wav", b"", "cannot be read as audio"),
        ("text.flac", b"hello", "cannot be read as audio"),
        ("cut.wav", b"RIFF\x24\0\0\0WAVEfmt ", "cannot be read as audio"),
    ],
)
def test_what_is_no_audio_is_named_with_the_reason(tmp_path, name, content, reason):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: {reason}"):
        read_audio(tmp_path / name)


def test_samples_that_are_not_finite_are_refused(tmp_path):
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan]), 8000, subtype="FLOAT")
    with pytest.raises(InputError, match="not finite"):
        read_audio(tmp_path / "nan.wav")


@pytest.mark.parametrize(
    ("code", "remedy"),
    [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "permission")],
)
def test_a_write_that_fails_names_file_and_remedy_and_leaves_nothing(
    tmp_path, monkeypatch, code, remedy
):
    def fail(*paths):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(EnvironmentFault, match=rf"x\.wav: .*{remedy}"):
        write_audio(tmp_path / "x.wav", np.zeros(10), 8000)
    assert list(tmp_path.iterdir()) == []
