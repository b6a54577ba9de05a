"""What every header check shares: the bytes that it reads, and what it returns or raises."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAX_CHUNKS = 1_000  # before the samples; real files have about ten
COPY = "copy the file again"
CONVERT = "convert it to WAV (PCM) or FLAC"
UNKNOWN_LENGTH = -1
_BEGIN = 1024  # bytes


class AudioError(ValueError):
    """Why a file is not taken as audio, in a few words, and the remedy."""


@dataclass(frozen=True)
class AudioInfo:
    """What the header of an audio file says, once it has been checked.

    Args:
        container: name of the container in `CONTAINERS`, or RF64.
        codec: libsndfile's name of the codec, such as "PCM_16".
        channels: number of channels, at least one.
        sample_rate: rate in Hz at which libsndfile decodes the file.
        frames: samples of each channel; `UNKNOWN_LENGTH` where only decoding tells (MP3).
        warnings: oddities that do no harm.
        is_plain: no tag stands before the header, which gives the file's exact size and, of WAV,
            is not the extensible one.
    """

    container: str
    codec: str
    channels: int
    sample_rate: int
    frames: int = UNKNOWN_LENGTH
    warnings: tuple[str, ...] = ()
    is_plain: bool = False

    @property
    def duration_s(self) -> float:
        """Duration in seconds."""
        return self.frames / self.sample_rate


class FileBytes:
    """The bytes of a file, read by their position.

    Attributes:
        whole: whether a check may read the whole file, where the length stands at its end.
        size: size of the file in bytes.
        start: position at which the container begins, behind ID3v2 tags.

    Raises:
        AudioError: if the file is empty, or ends within its tags.
    """

    def __init__(self, file: BinaryIO, whole: bool = True) -> None:
        self._file = file
        self.whole = whole
        self.size = file.seek(0, 2)
        file.seek(0)
        self._begin = file.read(_BEGIN)  # most checks read nothing else
        if self.size == 0:
            raise AudioError(f"is empty; {COPY}")
        self.start = self._end_of_tags()

    def upto(self, start: int, count: int) -> bytes:
        """Return `count` bytes from `start` on, or fewer where the file ends before."""
        if start + count <= len(self._begin) or start >= self.size:
            return self._begin[start : start + count]
        self._file.seek(start)
        return self._file.read(count)

    def at(self, start: int, count: int) -> bytes:
        """Return `count` bytes from `start` on; a AudioError says that the file ends before."""
        found = self.upto(start, count)
        if len(found) < count:
            raise AudioError(f"cut short: ends within its header, at {self.size}; {COPY}")
        return found

    def _end_of_tags(self) -> int:
        start = 0
        for _ in range(MAX_CHUNKS):
            if self.upto(start, 3) != b"ID3":
                return start
            size = 0
            for digit in self.at(start + 6, 4):  # seven bits each
                size = size << 7 | digit & 0x7F
            start += 10 + size
            if start >= self.size:
                raise AudioError(f"cut short: ends within its ID3 tag of {size} bytes; {COPY}")
        raise AudioError(f"begins with more than {MAX_CHUNKS} tags; {CONVERT}")


def quoted(name: bytes) -> str:
    """Return the name of a chunk for a message."""
    return ascii(name.decode("latin-1"))


def chunks(data: FileBytes, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, position of the content and size of each chunk of a WAV or AIFF file.

    The byte order of the sizes is "<" or ">". The last chunk may be longer than the file.
    """
    start = 12
    for _ in range(MAX_CHUNKS):
        if start + 8 > data.size:
            return
        name, size = struct.unpack(f"{order}4sI", data.at(start, 8))
        yield name, start + 8, size
        start += 8 + size + size % 2
        if start > data.size + 1:  # the last byte of padding is often left out
            raise AudioError(
                f"cut short: its chunk {quoted(name)} claims {size} bytes, and the file ends "
                f"{start - data.size} before; {COPY}"
            )
    raise AudioError(f"has more than {MAX_CHUNKS} chunks; {CONVERT}")


def check_size(claimed: int, there: int, what: str = "bytes of samples") -> None:
    """Check that a file holds as much as its header claims."""
    if claimed > there:
        raise AudioError(f"cut short: claims {claimed} {what}, {there} are there; {COPY}")
