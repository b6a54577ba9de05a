"""Audio files: what goes in comes out, and what is no audio is named."""

import contextlib
import errno
import io
import os
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from bcsim.audio.copy import copy_audio
from bcsim.audio.folder import audio_files
from bcsim.audio.infos import audio_info
from bcsim.audio.read import read_audio, read_blocks, read_segment
from bcsim.audio.write import encoding_audio, to_pcm16, write_audio
from bcsim.dsp.resample import resample
from bcsim.errors import EnvironmentFault, InputError

TONE = 0.3 * np.sin(np.arange(3001) / 7)


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


def test_lack_of_memory_is_not_the_fault_of_the_file(tmp_path, monkeypatch):
    """It used to be "cannot be read as audio; copy the file again"."""
    write_audio(tmp_path / "x.wav", TONE, 16_000)
    monkeypatch.setattr("torch.Tensor.double", lambda _: torch.empty(2**50))
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        read_audio(tmp_path / "x.wav")


def test_channels_are_averaged_with_a_warning(tmp_path, caplog):
    soundfile.write(tmp_path / "s.wav", np.outer(TONE, [1, 0.5]), 8000, "FLOAT")
    samples, _ = read_audio(tmp_path / "s.wav")
    assert np.allclose(samples, 0.75 * TONE)
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
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan] * 500), 8000, subtype="FLOAT")
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


def test_samples_that_cannot_be_played_are_refused_and_odd_ones_named(tmp_path, caplog):
    path = tmp_path / "x.wav"
    for value, reason in ((np.nan, "finite"), (-np.inf, "finite"), (20_000.0, "stored as floats")):
        samples = TONE.copy()
        samples[2000] = value
        soundfile.write(path, samples, 16_000, subtype="FLOAT")
        with path.open("rb") as file, pytest.raises(InputError, match=reason):
            copy_audio(file, "x.wav", tmp_path / "copy")
        for read in (
            read_audio,
            lambda path: list(read_blocks(path, 16_000, 100)),
            lambda path: read_segment(path, 1990, 20),
        ):
            with pytest.raises(InputError, match=reason):
                read(path)
    soundfile.write(path, 5 * TONE, 16_000, subtype="FLOAT")
    read_audio(path)
    assert caplog.messages == [f"{path}: peaks at 1.5 of full scale"]


def test_pipes_sockets_devices_and_folders_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    (tmp_path / "zero.wav").symlink_to("/dev/zero")
    (tmp_path / "up").symlink_to(tmp_path)
    with contextlib.chdir(tmp_path), socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.wav")
        found = {path.name: path for path in audio_files(tmp_path)}
        assert sorted(found) == ["loop.wav", "pipe.wav", "socket.wav", "zero.wav"]
        found["folder.wav"] = tmp_path / "folder.wav"
        found["a\0b.wav"] = tmp_path / "a\0b.wav"
        for path in found.values():
            assert audio_info(path) is None
            for read in (read_audio, lambda path: read_segment(path, 0, 1)):
                with pytest.raises(InputError, match=f"{path.name}: (cannot be read|no such file)"):
                    read(path)  # a pipe and /dev/zero would never end


def test_a_pipe_put_in_a_files_place_does_not_block(tmp_path, monkeypatch):
    """The check looks at what was opened, not only at what was there before."""
    path = tmp_path / "x.wav"
    write_audio(path, TONE, 16_000)
    before = os.stat(path)
    path.unlink()
    os.mkfifo(path)
    real = os.stat
    monkeypatch.setattr("os.stat", lambda p, **more: before if p == path else real(p, **more))
    refused: list[BaseException] = []

    def attempt():
        try:
            read_audio(path)
        except InputError as error:
            refused.append(error)

    reader = threading.Thread(target=attempt, daemon=True)
    reader.start()
    reader.join(300)  # if it blocks, it does so for ever
    assert "a pipe, not a regular file" in str(refused[0])


def test_names_that_are_not_utf8_are_read_and_written_down_safely(tmp_path, caplog):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\x1b[31m.wav"))
    with path.open("wb") as file:
        soundfile.write(file, np.stack([TONE, TONE], 1), 16_000, format="WAV")
    assert audio_files(tmp_path) == [path]
    assert len(read_audio(path)[0]) == len(TONE)
    (message,) = caplog.messages
    assert message.startswith(f"{tmp_path}/%FF%1B[31m.wav: 2 channels averaged to one")


def test_a_disk_that_is_full_when_a_header_is_written_is_told_once(capfd):
    """What waited in a buffer was written by a seek, whose errors were printed with tracebacks."""
    full = io.BufferedRandom(io.FileIO("/dev/full", "r+"))
    with (
        pytest.raises(OSError, match="No space left"),
        full,
        encoding_audio(full, Path("x.wav"), 16_000) as append,
    ):
        append(np.zeros(100))
    full.raw.close()
    assert capfd.readouterr().err == ""
