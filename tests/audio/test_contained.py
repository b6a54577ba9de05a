"""Recordings are decoded in a process of their own: what breaks it costs nothing but itself."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bcsim.audio import contained, decoding
from bcsim.audio.infos import audio_info, audio_infos
from bcsim.audio.read import open_audio, read_audio
from bcsim.audio.unchanging import read_pair
from bcsim.errors import EnvironmentFault, InputError

CRASH, KILLED, FILL, HANG, KILLED_ONCE, HEADER = range(
    6661, 6667
)  # samples of what breaks the decoder
SUFFIXES = ("mp3", "ogg", "flac", "wav")
# The program, but for recordings of these lengths.
BREAKABLE = f"""
import ctypes, importlib.util, os, pathlib, signal, time
specification = importlib.util.spec_from_file_location("decoding", {contained.PROGRAM!r})
decoding = importlib.util.module_from_spec(specification)
specification.loader.exec_module(decoding)
read = decoding.Sound.read

def broken(sound, *arguments):
    frames = sound._sound.frames
    if frames == {CRASH}:
        ctypes.string_at(0)
    once = pathlib.Path(__file__).with_name("once")
    if frames == {KILLED} or (frames == {KILLED_ONCE} and not once.exists()):
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if frames == {FILL}:
        bytearray(10 * 2**30)
    if frames == {HANG}:
        while True:
            pass
    return read(sound, *arguments)

opened = decoding.Sound.open

def broken_by_header(sound, *arguments):
    facts = opened(sound, *arguments)
    if facts[-1] == {HEADER}:
        os.kill(os.getpid(), signal.SIGKILL)
    return facts

decoding.Sound.read = broken
decoding.Sound.open = broken_by_header
decoding.main()
"""


def decoder_pid() -> int:
    decoder = contained._current
    assert decoder is not None
    return decoder._process.pid


def write(path: Path, num_samples: int) -> Path:
    """Write noise: another one for each length."""
    noise = 0.1 * np.random.default_rng(num_samples).standard_normal(num_samples)
    soundfile.write(path, noise, 16_000)
    return path


def messages(monkeypatch):
    """Return a list to which the messages to the process that decodes will be added."""
    sent, send = [], contained._Decoder._send

    def counted(decoder, message, *descriptors):
        sent.append(message)
        send(decoder, message, *descriptors)

    monkeypatch.setattr(contained._Decoder, "_send", counted)
    return sent


@pytest.fixture
def breakable(tmp_path, monkeypatch):
    """Let the recordings of some lengths break the decoder."""
    program = tmp_path / "breakable.py"
    program.write_text(BREAKABLE)
    monkeypatch.delenv(contained.IN_THIS_PROCESS, raising=False)
    monkeypatch.setattr(contained, "PROGRAM", str(program))
    contained._end_current()
    yield
    contained._end_current()


@pytest.mark.parametrize(
    ("length", "reason"),
    [
        (CRASH, r"took the decoder down \(SIGSEGV\)"),
        (KILLED, r"took the decoder down \(SIGKILL\)"),
        (FILL, r"needs more than 4 GiB of memory"),
        (HANG, r"took longer than 0.2 s"),
    ],
)
def test_what_breaks_the_decoder_costs_itself_and_no_other_recording(
    length, reason, breakable, tmp_path, monkeypatch
):
    """A crash in libsndfile took the command down, and a loop there held it up for ever."""
    good = write(tmp_path / "good.flac", 200_000)
    bad = write(tmp_path / "bad.flac", length)
    with open_audio(good) as audio:
        blocks = audio.blocks(70_000)
        first = next(blocks)
        with monkeypatch.context() as patch:
            if length == HANG:
                patch.setattr(contained, "MAX_SECONDS", 0.2)
            with pytest.raises(InputError, match=reason) as raised:
                read_audio(bad)
        assert str(bad) in str(raised.value)
        rest = np.concatenate([first, *blocks])
    assert np.array_equal(rest, soundfile.read(good, always_2d=True)[0])


def test_a_decoder_that_another_program_killed_costs_nothing(breakable, tmp_path):
    path = write(tmp_path / "x.flac", KILLED_ONCE)
    assert np.array_equal(read_audio(path)[0], soundfile.read(path)[0])


def test_the_decoder_gives_what_libsndfile_gives_here_even_of_mp3(tmp_path, monkeypatch):
    for suffix in SUFFIXES:
        path = write(tmp_path / f"x.{suffix}", 200_000)
        found = {}
        for itself in ("", "1"):
            monkeypatch.setenv(contained.IN_THIS_PROCESS, itself)
            with open_audio(path) as audio:
                parts = [*audio.blocks(70_000), audio.read_frames(190_000, 20_000)]
                found[itself] = np.concatenate([*parts, read_audio(path)[0][:, None]])
        assert np.array_equal(found[""], found["1"])


def test_a_decoder_that_was_started_ahead_is_the_one_that_decodes(tmp_path, monkeypatch):
    monkeypatch.delenv(contained.IN_THIS_PROCESS, raising=False)
    contained._end_current()
    contained.start_decoder()
    before = decoder_pid()
    contained.start_decoder()
    path = write(tmp_path / "x.flac", 5000)
    assert np.array_equal(read_audio(path)[0], soundfile.read(path)[0])
    assert decoder_pid() == before


def test_headers_of_many_files_are_those_of_each_and_take_one_message(tmp_path, monkeypatch):
    """`verify` sent one for each of a thousand files, which took as long as to open them."""
    monkeypatch.delenv(contained.IN_THIS_PROCESS, raising=False)
    paths = [
        write(tmp_path / f"{length}.{end}", length) for length in (5000, 6000) for end in SUFFIXES
    ]
    (tmp_path / "x.wav").write_text("no audio")
    cut = tmp_path / "cut.flac"
    cut.write_bytes(paths[0].read_bytes()[:60])
    paths += [tmp_path / "x.wav", tmp_path / "is-not-there.wav", cut]
    wanted = [audio_info(path) for path in paths]
    sent = messages(monkeypatch)
    found = audio_infos(paths)
    assert found == wanted
    assert found.count(None) == 3
    assert len(sent) == 1 + 2  # what an MP3 lasts is asked when it is opened
    monkeypatch.setenv(contained.IN_THIS_PROCESS, "1")
    assert audio_infos(paths) == wanted


def test_a_header_that_breaks_the_decoder_costs_itself_and_none_beside_it(breakable, tmp_path):
    paths = [write(tmp_path / f"{length}.flac", length) for length in (5000, HEADER, 6000)]
    assert [info and info.frames for info in audio_infos(paths)] == [5000, None, 6000]


def test_a_recording_takes_one_message(tmp_path, monkeypatch):
    """Each wakes a process up, and opening, reading and closing took one each."""
    monkeypatch.delenv(contained.IN_THIS_PROCESS, raising=False)
    paths = [write(tmp_path / f"{length}.flac", length) for length in (5000, 6000)]
    read_audio(paths[0])
    sent = messages(monkeypatch)
    for path in paths:
        assert np.array_equal(read_audio(path)[0], soundfile.read(path)[0])
        audio_info(path)
        with open_audio(path) as audio:
            assert sum(map(len, audio.blocks(100_000))) == audio.info.frames
    assert len(sent) == 6
    assert [len(message["close"]) for message in sent] == [1, 1, 0] * 2  # a header is closed


def test_what_was_read_ahead_is_not_skipped_if_something_else_is_read(tmp_path, monkeypatch):
    monkeypatch.delenv(contained.IN_THIS_PROCESS, raising=False)
    path = write(tmp_path / "x.flac", 5000)
    wanted = soundfile.read(path, dtype="int16", always_2d=True)[0]
    with path.open("rb") as file:
        for start, first in ((None, 0), (7, 7)):
            sound = contained.sound_of(file)
            assert sound.open(decoding.Part(None, 1000, 1, "int16"))[1:] == (1, 16_000, 5000)
            assert np.array_equal(sound.read(start, 30, "int16"), wanted[first : first + 30])
            assert np.array_equal(sound.read(None, 9, "int16"), wanted[first + 30 : first + 39])
            sound.close()


def test_ctrl_c_is_left_to_the_process_that_asks(tmp_path, monkeypatch):
    monkeypatch.delenv(contained.IN_THIS_PROCESS, raising=False)
    path = write(tmp_path / "x.flac", 5000)
    read_audio(path)
    before = decoder_pid()
    os.kill(before, signal.SIGINT)
    read_audio(path)
    assert decoder_pid() == before


def test_what_is_interrupted_in_the_middle_of_an_answer_is_asked_anew(tmp_path, monkeypatch):
    """Else the next recording would get the samples of this one."""
    monkeypatch.delenv(contained.IN_THIS_PROCESS, raising=False)
    paths = [write(tmp_path / f"{length}.flac", length) for length in (5000, 6000)]
    read_audio(paths[0])

    def interrupted(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(contained._Decoder, "_answer", interrupted)
        with pytest.raises(KeyboardInterrupt):
            read_audio(paths[0])
    assert np.array_equal(read_audio(paths[1])[0], soundfile.read(paths[1])[0])


def test_a_decoder_that_cannot_be_started_is_a_fault_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.delenv(contained.IN_THIS_PROCESS, raising=False)
    contained._end_current()
    monkeypatch.setattr(contained, "PROGRAM", str(tmp_path / "is-not-there.py"))
    with pytest.raises(EnvironmentFault, match=r"cannot be started: it took .*exit code 2"):
        read_audio(write(tmp_path / "x.flac", 5000))


def test_a_recording_too_long_for_memory_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    """A file of 100 kB may hold days of silence."""
    path = write(tmp_path / "x.flac", 200_000)
    monkeypatch.setattr("bcsim.audio.unchanging.MAX_MEMORY_GIB", 1e-4)
    with pytest.raises(InputError, match=r"more than 0.0001 GiB of memory; cut it into parts"):
        read_pair({"air": path}, 16_000, {})
    monkeypatch.delenv(contained.IN_THIS_PROCESS, raising=False)
    contained.start_decoder()  # with memory enough to start
    monkeypatch.setattr(contained, "MAX_MEMORY_GIB", 1e-4)
    with pytest.raises(InputError, match=r"more than 0.0001 GiB of memory to be decoded"):
        read_audio(path)


PARENT = """
import os, sys
from bcsim.audio import contained, decoding
contained.PROGRAM, good, bad = sys.argv[1:]
with open(good, "rb") as file:
    sound = contained.sound_of(file)
    sound.open()
    first = sound.read(None, 10, "int16")
    if not os.fork():  # has a decoder of its own
        sound.read(0, 10, "int16")
        other = contained.sound_of(file)
        other.open()
        assert other.read(0, 10, "int16").tolist() == first.tolist()
        os._exit(0)
    assert os.wait()[1] == 0
    assert sound.read(0, 10, "int16").tolist() == first.tolist()
with open(bad, "rb") as file:
    sound = contained.sound_of(file)
    sound.open()
    print(contained._current._process.pid, flush=True)
    sound.read(None, 10, "int16")
"""


def test_a_decoder_that_hangs_ends_with_the_process_that_was_killed(breakable, tmp_path):
    """And a process that was forked asks a decoder of its own."""
    good = write(tmp_path / "good.flac", 5000)
    bad = write(tmp_path / "bad.flac", HANG)
    command = [sys.executable, "-c", PARENT, contained.PROGRAM, str(good), str(bad)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        decoder = Path("/proc", parent.stdout.readline().decode().strip())
        assert is_running(decoder)
        parent.kill()
    deadline = time.monotonic() + 300
    while is_running(decoder) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(decoder)


def is_running(process: Path) -> bool:
    with contextlib.suppress(OSError):
        return (process / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False
