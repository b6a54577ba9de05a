"""Which files of a folder are taken, and that all others are counted with the reason."""

import logging
import os

import pytest

from bcsim.audio.folder import audio_names
from bcsim.errors import InputError


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def told(caplog, level=logging.WARNING):
    return [r.getMessage() for r in caplog.records if r.levelno >= level]


def test_links_to_folders_are_followed(tmp_path):
    """Three of four linked speakers were left out in silence."""
    touch(tmp_path, "elsewhere/s2/b.wav", "elsewhere/s3/deep/c.wav", "air/s1/a.wav")
    for speaker in ("s2", "s3"):
        (tmp_path / "air" / speaker).symlink_to(tmp_path / "elsewhere" / speaker)
    assert audio_names(tmp_path / "air") == ["s1/a.wav", "s2/b.wav", "s3/deep/c.wav"]


def test_every_real_folder_is_read_once_and_circles_end(tmp_path, caplog):
    touch(tmp_path, "air/s1/a.wav", "elsewhere/b.wav", "sibling.wav")
    links = {
        "air/s0": "air/s1",  # before the folder that it leads to, which keeps its own name
        "air/s1/up": "air",
        "air/root": ".",  # to a folder around the one that is read
        "air/x": "elsewhere",
        "air/y": "elsewhere",
        "elsewhere/back": "elsewhere",
    }
    for name, target in links.items():
        (tmp_path / name).symlink_to(tmp_path / target)
    assert audio_names(tmp_path / "air") == ["s1/a.wav", "x/b.wav"]
    (line,) = told(caplog)
    assert "3 links that lead in a circle" in line
    assert "2 links to folders that are read already" in line


def test_what_is_not_taken_is_counted_in_one_line(tmp_path, caplog):
    """A corpus of .m4a and .wav was used by half, without a word."""
    touch(tmp_path, "a.wav", "b.m4a", "c.M4A", "d.wma", "e.txt", "f", ".g.wav", ".h/i.wav")
    assert audio_names(tmp_path) == ["a.wav"]
    assert told(caplog) == [
        f"{tmp_path}: not taken: 2 .m4a, 1 .wma: convert them: ffmpeg -i NAME NAME.flac; "
        "2 hidden; 1 .txt, 1 others that are no audio"
    ]


def test_transcripts_are_no_warning(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    touch(tmp_path, "a.wav", "a.txt", "b.txt")
    audio_names(tmp_path)
    assert not told(caplog)
    assert told(caplog, logging.INFO) == [f"{tmp_path}: not taken: 2 .txt that are no audio"]


def test_a_folder_without_a_usable_file_says_what_is_there(tmp_path):
    touch(tmp_path, "a.m4a", "b.aac")
    with pytest.raises(
        InputError, match=r"no audio files .*1 \.m4a, 1 \.aac: convert them: ffmpeg"
    ):
        audio_names(tmp_path)


@pytest.mark.parametrize("suffix", ["w64", "caf", "au", "snd", "sph", "wave", "aifc"])
def test_more_endings_of_audio_are_taken(tmp_path, suffix):
    touch(tmp_path, f"a.{suffix}")
    assert audio_names(tmp_path) == [f"a.{suffix}"]


def test_a_folder_that_cannot_be_read_is_named(tmp_path, caplog, monkeypatch):
    touch(tmp_path, "a/x.wav", "b/y.wav")
    real = os.scandir

    def scandir(path):
        if str(path).endswith("/a"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr("os.scandir", scandir)
    assert audio_names(tmp_path) == ["b/y.wav"]
    assert "a: left out (Permission denied)" in caplog.text
    assert "1 folders that cannot be read" in caplog.text
