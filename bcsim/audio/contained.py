"""Decoding in a process of its own: a file that breaks the decoder costs nothing but itself.

One process decodes for all of this one: it starts with the first recording, ends with this process,
however that ends, and is replaced when a file has broken it.
"""

import atexit
import contextlib
import io
import itertools
import json
import mmap
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from bcsim.audio import decoding
from bcsim.audio.decoding import (
    LARGE,
    MAX_MESSAGE,
    MOST_AT_ONCE,
    DecodingError,
    Facts,
    OpenSound,
    Part,
    Sound,
    encoded,
)
from bcsim.errors import EnvironmentFault

GIB = 2**30
MAX_SECONDS = 60.0  # without an answer
_SLICE_S = 1.0
MAX_MEMORY_GIB = 4.0  # that the decoder takes, beside what it starts with
PROGRAM = str(decoding.__file__)
# Set in the workers of `synthesize`, which may be lost with a file themselves.
IN_THIS_PROCESS = "BCSIM_DECODES_ITSELF"
# A crash is told by its signal; one thread is enough for what decodes.
_ENVIRONMENT = {"PYTHONFAULTHANDLER": "", "OPENBLAS_NUM_THREADS": "1"}
_BLOCK = 1 << 16  # samples of each channel


def sound_of(file: BinaryIO) -> OpenSound:
    """Return a recording for the process that decodes, or for a worker with limits of its own.

    Args:
        file: file open for reading and seeking; the caller closes it after the sound.

    Raises:
        DecodingError: from any method, if it cannot be decoded, or breaks the decoder.
        OSError: from any method, if the file cannot be read.
        EnvironmentFault: from any method, if no process can be started.
    """
    return Sound(file) if os.environ.get(IN_THIS_PROCESS) else ContainedSound(file)


def start_decoder() -> None:
    """Start the process that decodes without waiting for it, where recordings will be read soon."""
    if not os.environ.get(IN_THIS_PROCESS):
        with _asking, contextlib.suppress(EnvironmentFault):  # the first recording tells it
            _current_or_new()


def facts_of(files: Sequence[BinaryIO]) -> list[Facts | Exception]:
    """Return how recordings are understood, or why one cannot be: many with one message.

    Args:
        files: files open for reading and seeking.

    Raises:
        EnvironmentFault: if no process can be started.
    """
    found: list[Facts | Exception] = []
    for start in range(0, len(files), MOST_AT_ONCE):
        part = files[start : start + MOST_AT_ONCE]
        answers = None
        if not os.environ.get(IN_THIS_PROCESS):
            with contextlib.suppress(_LostError), _running() as decoder:
                answers = decoder.look(part)
        # Where they broke it, one by one: which of them did is told by that.
        found += [*map(_facts_of, part)] if answers is None else answers
    return found


def _facts_of(file: BinaryIO) -> Facts | Exception:
    file.seek(0)
    sound = sound_of(file)
    try:
        return sound.open()
    except (DecodingError, OSError) as error:
        return error
    finally:
        sound.close()


class ContainedSound:
    """A recording that the process that decodes has open; it stands in for `decoding.Sound`.

    Where that process was lost, this recording is opened again in the next one, and decoded up to
    where it was. What breaks that one as well is to blame: the first may have been broken by a
    recording before.

    Args:
        file: file open for reading and seeking; the caller closes it after the sound.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder: _Decoder | None = None
        self._number = next(_numbers)
        self._sought: int | None = None  # where reading last started anew
        self._since = 0  # samples read since
        self._channels = self._frames = 0
        self._ahead: tuple[Part, NDArray[Any]] | None = None  # what was read when it was opened

    def open(self, first: Part | None = None) -> Facts:
        """Open it and return how it is understood, as `Sound.open` does.

        Args:
            first: what will be read first, if it has so many channels: it is decoded meanwhile.
        """
        facts, samples = self._asked(first, is_read=False)
        _, self._channels, _, self._frames = facts
        if first is not None and samples is not None:
            self._ahead = first, samples
        return facts

    def read(self, start: int | None, count: int, dtype: str) -> NDArray[Any]:
        """Return samples (T, C), as `Sound.read` does."""
        first = start if start is not None else (self._sought or 0) + self._since
        count = min(count, self._frames - first)
        if count <= 0:
            return np.empty((0, self._channels), dtype)
        part, ahead = Part(start, count, self._channels, dtype), self._ahead
        self._ahead = None
        if ahead is not None and ahead[0] == part:
            samples = ahead[1]
        else:
            if ahead is not None:  # else it would go on behind that
                part = part._replace(start=first)
            samples = self._asked(part)[1]
        if start is not None:
            self._sought, self._since = start, 0
        self._since += len(samples)
        return samples

    def close(self) -> None:
        """Let go of it; the file stays open."""
        if self._decoder is not None:
            self._decoder.close(self._number)

    def _asked(self, part: Part | None, is_read: bool = True) -> tuple[Any, Any]:
        """Return how it is understood if it had to be opened, and the samples of a part.

        Without `is_read`, it is opened, and the part read along with it where that can be.
        """
        for is_last in (False, True):
            try:
                with _running() as decoder:
                    facts = samples = None
                    if decoder is not self._decoder:
                        is_at_start = self._sought is None and not self._since
                        first = part if is_at_start else None
                        facts, samples = decoder.open(self._number, self._file, first)
                        self._go_on(decoder)
                        self._decoder = decoder
                    if is_read and samples is None and part is not None:
                        samples = decoder.read(self._number, part)
                    return facts, samples
            except _LostError as error:
                if is_last or error.is_timeout:
                    raise DecodingError(f"it {error}") from None
        raise AssertionError("it was asked twice")

    def _go_on(self, decoder: "_Decoder") -> None:
        """Decode up to where another decoder was: MP3 differs a little after a seek."""
        start, left = self._sought, self._since
        while left or start is not None:
            num_samples = min(_BLOCK, left)
            decoder.read(self._number, Part(start, num_samples, self._channels, "int16"))
            start, left = None, left - num_samples


class _LostError(Exception):
    """The process that decodes has ended, or was ended."""

    def __init__(self, reason: str, is_timeout: bool = False) -> None:
        super().__init__(reason)
        self.is_timeout = is_timeout


class _Decoder:
    """The process that decodes; one thread at a time may ask it.

    Attributes:
        is_idle: whether nothing is asked that is not answered yet.

    Raises:
        EnvironmentFault: from any method, if it cannot be started.
    """

    def __init__(self) -> None:
        self._closing: list[int] = []
        self._window: mmap.mmap | None = None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            paths = os.pathsep.join(path for path in sys.path if path)
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-S", "-P", PROGRAM, str(int(MAX_MEMORY_GIB * GIB))],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,  # of C libraries, which print what they please
                    env=os.environ | _ENVIRONMENT | {"PYTHONPATH": paths},
                )
            except OSError as error:
                ours.close()
                raise _no_decoder(error.strerror or str(error)) from error
        self._socket = ours
        self._coming = select.poll()
        self._coming.register(ours, select.POLLIN)
        self.is_idle = True
        self._has_started = False

    def wait_for_start(self) -> None:
        """Wait until it has imported what it needs."""
        if self._has_started:
            return
        try:
            self._answer()
        except _LostError as error:
            self.end()
            raise _no_decoder(f"it {error}; is there memory enough?") from None
        except BaseException:  # such as Ctrl-C
            self.end()
            raise
        self._has_started = True

    def open(
        self, number: int, file: BinaryIO, part: Part | None
    ) -> tuple[Facts, NDArray[Any] | None]:
        """Open a recording under a number; return what `Sound.open` does, and samples (T, C).

        Args:
            number: number of the recording.
            file: file of the recording.
            part: samples to read; None, or another number of channels than there is, for none.
        """
        with _descriptor_of(file) as descriptor:
            answer, samples = self._decoded({"open": number}, part, descriptor)
        codec, channels, sample_rate, frames = answer["facts"]
        return (codec, channels, sample_rate, frames), samples

    def look(self, files: Sequence[BinaryIO]) -> list[Facts | Exception]:
        """Open recordings, and close them again; return how they are understood, or why not."""
        with contextlib.ExitStack() as stack:
            descriptors = [stack.enter_context(_descriptor_of(file)) for file in files]
            answer = self._ask({"look": len(files)}, *descriptors)
        return [
            _error_of(each) if isinstance(each, dict) else cast(Facts, tuple(each))
            for each in answer["found"]
        ]

    def read(self, number: int, part: Part) -> NDArray[Any]:
        """Return samples (T, C), as `Sound.read` does."""
        _, samples = self._decoded({"read": number}, part)
        assert samples is not None
        return samples

    def close(self, number: int) -> None:
        """Close a recording with the next message: one more would take long."""
        self._closing.append(number)

    def is_running(self) -> bool:
        """Tell whether the process can be asked something."""
        return self.is_idle and self._process.poll() is None

    def end(self) -> None:
        """End the process."""
        self.is_idle = False
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def forget(self) -> None:
        """Leave the process to the one that this process is a copy of."""
        self.is_idle = False
        self._socket.close()
        self._process.returncode = 0  # for nobody to wait for it here

    def _decoded(
        self, message: dict[str, Any], part: Part | None, *descriptors: int
    ) -> tuple[dict[str, Any], NDArray[Any] | None]:
        """Send a message about a part; return the answer, and the samples (T, C) that it tells."""
        if part is None:
            return self._ask(message, *descriptors), None
        num_bytes = max(1, part.num_samples * part.channels * np.dtype(part.dtype).itemsize)
        if num_bytes > MAX_MEMORY_GIB * GIB:
            raise _too_large()
        if self._window is None or len(self._window) < num_bytes:
            self._window = self._shared_memory(max(num_bytes, LARGE))
        window = self._window
        try:
            answer = self._ask(message | {"part": part._asdict()}, *descriptors)
        except (DecodingError, OSError):
            self._window = None  # the process may have had no room for it
            raise
        if num_bytes > LARGE:
            self._window = None
        if "count" not in answer:
            return answer, None
        found = np.frombuffer(window, part.dtype, answer["count"] * part.channels).copy()
        return answer, found.reshape(-1, part.channels)

    def _shared_memory(self, num_bytes: int) -> mmap.mmap:
        """Make memory that the process sees as well; no limit of /dev/shm holds for it."""
        with os.fdopen(os.memfd_create("bcsim-samples"), "r+b", buffering=0) as file:
            os.ftruncate(file.fileno(), num_bytes)
            memory = mmap.mmap(file.fileno(), num_bytes)
            self._send({"window": num_bytes}, file.fileno())
        return memory

    def _ask(self, message: Mapping[str, Any], *descriptors: int) -> dict[str, Any]:
        """Send a message and return the answer."""
        closing, self._closing = self._closing, []
        self.is_idle = False
        self._send({**message, "close": closing}, *descriptors)
        answer = self._answer()
        self.is_idle = True
        if "error" in answer:
            raise _error_of(answer)
        return answer

    def _send(self, message: Mapping[str, Any], *descriptors: int) -> None:
        try:
            socket.send_fds(self._socket, [encoded(message)], descriptors, socket.MSG_NOSIGNAL)
        except (BrokenPipeError, ConnectionResetError):
            raise self._lost() from None

    def _answer(self) -> dict[str, Any]:
        """Wait for an answer, second by second: a process may be stopped meanwhile."""
        waited_s = 0.0
        while not self._coming.poll(1000 * min(_SLICE_S, MAX_SECONDS)):
            waited_s += _SLICE_S
            if waited_s >= MAX_SECONDS:
                raise _LostError(f"took longer than {MAX_SECONDS:g} s", is_timeout=True)
        try:
            answer = self._socket.recv(MAX_MESSAGE)
        except ConnectionResetError:
            answer = b""
        if not answer:
            raise self._lost()
        return json.loads(answer)

    def _lost(self) -> _LostError:
        ended = self._process.wait()
        how = signal.Signals(-ended).name if ended < 0 else f"exit code {ended}"
        return _LostError(f"took the decoder down ({how})")


@contextlib.contextmanager
def _running() -> Iterator[_Decoder]:
    """Hand out the decoder to one thread; end it where it was left in the middle of an answer."""
    with _asking:
        decoder = _current_or_new()
        decoder.wait_for_start()
        try:
            yield decoder
        finally:
            if not decoder.is_running():
                _end_current()


def _current_or_new() -> _Decoder:
    global _current
    if _current is None or not _current.is_running():
        _end_current()
        _current = _Decoder()
    return _current


def _end_current() -> None:
    global _current
    if _current is not None:
        _current.end()
    _current = None


def _forget_current() -> None:
    """Begin anew in a process that was forked, with a decoder of its own."""
    global _asking, _current
    _asking = threading.Lock()
    if _current is not None:
        _current.forget()
    _current = None


@contextlib.contextmanager
def _descriptor_of(file: BinaryIO) -> Iterator[int]:
    """Lend a descriptor that leads to the bytes of a file: its own, or that of a copy."""
    if isinstance(file, io.BufferedReader) and isinstance(file.raw, io.FileIO):
        yield file.fileno()
        return
    file.seek(0)
    with os.fdopen(os.memfd_create("bcsim-recording"), "wb") as copy:
        shutil.copyfileobj(file, copy)
        copy.flush()
        yield copy.fileno()


def _error_of(answer: Mapping[str, Any]) -> DecodingError | OSError:
    if answer["kind"] == "system":
        return OSError(answer["errno"], os.strerror(answer["errno"]))
    return _too_large() if answer["kind"] == "memory" else DecodingError(answer["error"])


def _too_large() -> DecodingError:
    return DecodingError(f"it needs more than {MAX_MEMORY_GIB:g} GiB of memory to be decoded")


def _no_decoder(reason: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"the process that decodes recordings cannot be started: {reason}; see to it, then run the "
        "same command again"
    )


_numbers = itertools.count()
_asking = threading.Lock()
_current: _Decoder | None = None
atexit.register(_end_current)
os.register_at_fork(after_in_child=_forget_current)
