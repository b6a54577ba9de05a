"""Decoding with libsndfile, and a program that does it for another process.

libsndfile is a large program in C, and a file may be made to break it. `contained.py` runs this
file as a program of its own, which imports nothing else of bcsim. It is asked over a socket that
keeps messages apart, its standard input. They are JSON objects:

- `{"open": 3}`, with the descriptor of a file, opens a recording under the number 3. The answer is
  `{"facts": [codec, channels, sample_rate, frames]}`.
- `{"window": size}`, with a descriptor of shared memory, has no answer.
- `{"read": 3, "part": {"start": 0, "num_samples": 9, "channels": 1, "dtype": "int16"}}` decodes
  into that memory. The answer is `{"count": 9}`.
- With "open", "part" is read along with it, if the recording has so many channels; the answer is
  that of both. Every message wakes a process up, which takes longer than to open a recording.
- With "open" or "read", `"close": [1, 2]` closes recordings before.
- `{"look": 2}`, with so many descriptors, opens recordings and closes them again. The answer is
  `{"found": [...]}`, of each the facts, or what "error" below tells.

The first message of the program is `{"ready": true}`. What goes wrong is answered by
`{"error": text, "kind": "decoding", "system" or "memory", "errno": number}`.
"""

import contextlib
import io
import json
import mmap
import os
import resource
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, TypeAlias, cast

import numpy as np
import soundfile

MAX_MESSAGE = 1 << 16  # bytes
MAX_ERROR = 500  # characters
LARGE = 1 << 22  # bytes of shared memory that are not kept for the next recording
MOST_AT_ONCE = 64  # recordings that one message opens
SMALL = 1 << 18  # bytes of a file that is read at once: libsndfile asks for many little parts
# Codec, number of channels, sample rate in Hz and number of samples a channel.
Facts: TypeAlias = tuple[str, int, int, int]


class DecodingError(Exception):
    """A recording cannot be decoded."""


class Part(NamedTuple):
    """Samples to read.

    Args:
        start: first sample; None to go on behind those that were read last.
        num_samples: number of samples of each channel, which are there.
        channels: number of channels.
        dtype: type of the samples (`Sound.read`).
    """

    start: int | None
    num_samples: int
    channels: int
    dtype: str


class OpenSound(Protocol):
    """What `Sound` and `ContainedSound` have in common."""

    def open(self, first: Part | None = None) -> Facts:
        """Open it and return how it is understood; see `ContainedSound.open`."""
        ...

    def read(self, start: int | None, count: int, dtype: str) -> Any:
        """Return samples (T, C), as `Sound.read` does."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Sound:
    """A recording that libsndfile decodes.

    Args:
        file: file open for reading and seeking; the caller closes it.

    Raises:
        DecodingError: from any method, if libsndfile cannot decode it.
        OSError: from any method, if the file cannot be read.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = _Seekable(file)
        self._sound: Any = None  # until it is opened

    def open(self, first: object = None) -> Facts:
        """Open it at the position of its file, and return how libsndfile understands the header.

        Args:
            first: what will be read first, which this takes no notice of.
        """
        with self._errors():
            self._sound = soundfile.SoundFile(cast(BinaryIO, self._file))
        sound = self._sound
        return sound.subtype, sound.channels, sound.samplerate, sound.frames

    def read(self, start: int | None, count: int, dtype: str, out: Any = None) -> Any:
        """Return samples (T, C).

        Args:
            start: first sample; None to go on behind those that were read last.
            count: number of samples; fewer come back where the recording ends before.
            dtype: "float64", with full scale at 1, "int16" or "int32".
            out: array (count, C) of this type to put them into; None makes one.
        """
        with self._errors():
            if start is not None:
                self._sound.seek(start)
            return self._sound.read(count, dtype=cast(Any, dtype), always_2d=True, out=out)

    def close(self) -> None:
        """Let go of it; the file stays open."""
        if self._sound is not None:
            self._sound.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except soundfile.SoundFileError as error:
            text = str(getattr(error, "error_string", error))
            if "malloc () failed" in text:
                raise MemoryError(text) from error
            if self._file.error is None:
                raise DecodingError(text) from error
        if self._file.error is not None:  # for libsndfile, the file merely ends there
            raise self._file.error


class _Seekable:
    """An open file that stays where it is when libsndfile seeks to before its beginning.

    An exception raised in libsndfile's callback would be printed, and lost.

    Attributes:
        error: what the system said when the file could not be read.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None
        self.tell = file.tell

    def read(self, size: int = -1) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            self.error = error
            return b""

    def readinto(self, buffer: Any) -> int:
        try:
            return cast(Any, self._file).readinto(buffer)
        except OSError as error:
            self.error = error
            return 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return self._file.tell()


class _SharedFile(io.RawIOBase):
    """A file with a position of its own, whatever another process does with its descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = os.preadv(self._descriptor, [buffer], self._position)
        self._position += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_CUR:
            offset += self._position
        elif whence == os.SEEK_END:
            offset += os.fstat(self._descriptor).st_size
        if offset < 0:
            raise ValueError(f"position {offset} lies before the file")
        self._position = offset
        return offset

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def encoded(message: Mapping[str, Any]) -> bytes:
    """Return the bytes of a message."""
    return json.dumps(message).encode()


class _Program:
    """The program: it answers the messages of one other process until that ends."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._open: dict[int, tuple[Sound, BinaryIO]] = {}
        self._window: mmap.mmap | None = None  # memory that both processes see

    def run(self) -> None:
        """Answer messages until the other process has ended."""
        answer: dict[str, Any] | None = {"ready": True}
        while True:
            if answer is not None:
                self._connection.sendall(encoded(answer))
            message, descriptors, _, _ = socket.recv_fds(
                self._connection, MAX_MESSAGE, MOST_AT_ONCE
            )
            if not message:
                return
            answer = _answered(partial(self._answer, json.loads(message), descriptors))

    def _answer(
        self, message: Mapping[str, Any], descriptors: Sequence[int]
    ) -> dict[str, Any] | None:
        for number in message.get("close", ()):
            self._close(number)
        if "window" in message:
            self._window = None  # first, or the limit of memory would have to hold both
            try:
                self._window = mmap.mmap(descriptors[0], message["window"])
            except OSError:
                pass  # reading will tell
            finally:
                os.close(descriptors[0])
            return None
        if "look" in message:
            return {"found": [_answered(partial(_facts_of, each)) for each in descriptors]}
        part = message.get("part")
        if "open" not in message:
            return {"count": self._read(message["read"], **message["part"])}
        number = message["open"]
        facts = self._opened(number, descriptors[0], is_read=part is not None)
        if part is None or part["channels"] != facts[1]:
            return {"facts": facts}
        try:
            return {"facts": facts, "count": self._read(number, **part)}
        except BaseException:
            self._close(number)  # the other process takes it for one that was not opened
            raise

    def _close(self, number: int) -> None:
        sound, file = self._open.pop(number)
        sound.close()
        file.close()

    def _opened(self, number: int, descriptor: int, is_read: bool) -> Facts:
        file: BinaryIO = io.BufferedReader(_SharedFile(descriptor))
        try:
            if is_read and os.fstat(descriptor).st_size <= SMALL:
                with file:
                    file = io.BytesIO(os.pread(descriptor, SMALL, 0))
            sound = Sound(file)
            facts = sound.open()
        except BaseException:
            file.close()
            raise
        self._open[number] = sound, file
        return facts

    def _read(
        self, number: int, start: int | None, num_samples: int, channels: int, dtype: str
    ) -> int:
        sound, _ = self._open[number]
        if self._window is None:
            raise MemoryError
        out = np.frombuffer(self._window, dtype, num_samples * channels)
        found = len(sound.read(start, num_samples, dtype, out.reshape(num_samples, channels)))
        if len(self._window) > LARGE:
            self._window = None
        return found


def _answered(ask: Callable[[], Any]) -> Any:
    """Return what is answered, or what went wrong."""
    try:
        return ask()
    except DecodingError as error:
        return {"error": str(error)[:MAX_ERROR], "kind": "decoding"}
    except OSError as error:
        return {"error": str(error)[:MAX_ERROR], "kind": "system", "errno": error.errno}
    except MemoryError as error:
        return {"error": str(error)[:MAX_ERROR], "kind": "memory"}


def _facts_of(descriptor: int) -> Facts:
    """Open a recording and close it again."""
    with io.BufferedReader(_SharedFile(descriptor)) as file:
        sound = Sound(file)
        facts = sound.open()
        sound.close()
    return facts


def _end_with(connection: socket.socket) -> None:
    """End this program at once when the other process has ended, whatever it is doing then."""
    closed = select.poll()
    closed.register(connection, 0)
    closed.poll()
    os._exit(0)


def _limit_memory(more: int) -> None:
    """Limit the address space to what is in use and so many bytes more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([mapped + more, *limits]), hard))


def main() -> None:
    """Serve the process at the other end of the standard input, by the limit that it gives."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other process decides what Ctrl-C means
    connection = socket.socket(fileno=0)
    _limit_memory(int(sys.argv[1]))
    threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        _Program(connection).run()
    os._exit(0)


if __name__ == "__main__":
    main()
