"""`bcsim enhance`: every recording becomes one file, and none is written over."""

import os

import pytest
import soundfile
import torch

from bcsim.errors import InputError, UsageError
from bcsim.files.atomic import replacing
from bcsim.models.eben import EBENGenerator
from bcsim.models.storage import save_enhancer
from bcsim.workflows.enhance import enhance


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    save_enhancer(tmp_path / "model", EBENGenerator(width=2, latent=2), {})
    return tmp_path / "model"


def names(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_a_folder_gives_a_file_for_each_recording_and_a_single_one_the_same(model, air, tmp_path):
    enhance(model, air, tmp_path / "out", "cpu")
    assert names(tmp_path / "out") == [
        "s1/a.wav", "s1/b.flac", "s2/a.wav", "s2/deep/c.ogg.wav", "s3/stereo.wav", "s4/a b.AIFF.wav"
    ]  # fmt: skip
    (tmp_path / "single").mkdir()
    single = enhance(model, air / "s2/deep/c.ogg", tmp_path / "single", "cpu")
    assert single.written == [tmp_path / "single/c.ogg.wav"]
    in_folder = tmp_path / "out/s2/deep/c.ogg.wav"
    assert single.written[0].read_bytes() == in_folder.read_bytes()


def test_two_recordings_are_not_written_to_one_file(model, tmp_path, speech):
    (tmp_path / "in").mkdir()
    for name, container in (("a.ogg", "OGG"), ("a.ogg.wav", "WAV")):
        soundfile.write(tmp_path / "in" / name, speech[0, :4000].numpy(), 16_000, format=container)
    with pytest.raises(UsageError, match=r"in/a\.ogg and .*in/a\.ogg\.wav would both become"):
        enhance(model, tmp_path / "in", tmp_path / "out", "cpu")
    assert not (tmp_path / "out").exists()


def test_what_a_killed_run_left_goes_and_what_others_are_writing_stays(model, air, tmp_path):
    out = tmp_path / "out"
    left = []
    for name in ("s1/a.wav", "s1/another.wav"):
        with replacing(out / name) as temporary:
            left.append(temporary)
        (out / name).unlink()
        temporary.write_bytes(b"half")
    enhance(model, air, out, "cpu")
    assert [path.exists() for path in left] == [False, True]


def test_what_a_killed_run_left_of_a_single_file_goes(model, air, tmp_path):
    left = []
    for name in ("mine.wav", "another.wav"):
        with replacing(tmp_path / name) as temporary:
            left.append(temporary)
        temporary.write_bytes(b"half")
    enhance(model, air / "s1/a.wav", tmp_path / "mine.wav", "cpu")
    assert [path.exists() for path in left] == [False, True]


def test_a_recording_is_not_replaced_even_through_a_link(model, air, tmp_path):
    (tmp_path / "link.wav").symlink_to(air / "s1/a.wav")
    before = (air / "s1/a.wav").read_bytes()
    for source, out in (
        (air / "s1/a.wav", air / "s1"),
        (air / "s1/a.wav", tmp_path / "link.wav"),
        (tmp_path / "link.wav", air / "s1/a.wav"),
    ):
        with pytest.raises(UsageError, match="the output is an input"):
            enhance(model, source, out, "cpu")
    assert (air / "s1/a.wav").read_bytes() == before


def test_what_is_neither_file_nor_folder_is_no_recording(model, tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(InputError, match=r"pipe\.wav: is no recording"):
        enhance(model, tmp_path / "pipe.wav", tmp_path / "out", "cpu")
