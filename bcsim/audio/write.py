"""Writing audio files, each whole or absent."""

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from bcsim.audio.validation.base import AudioInfo
from bcsim.errors import InputError
from bcsim.files.atomic import replacing, write_bytes

_FORMATS = {".wav": "WAV", ".flac": "FLAC"}
BITS = {"PCM_16": 16, "PCM_24": 24, "PCM_32": 32}  # of fixed point
_BYTES = {"PCM_16": 2, "PCM_24": 3, "DOUBLE": 8}  # of a sample; all else takes 4
_MAX_WAV_BYTES = 2**32 - 2**16  # sizes in the header of WAV have 32 bits; RF64 has no limit


def is_as_written(
    info: AudioInfo, suffix: str, sample_rate: int, num_samples: int, subtype: str = "PCM_16"
) -> bool:
    """Tell whether a file is what `write_audio` could have written: a copy would do instead.

    Args:
        info: what the header of the file says.
        suffix: ".wav" or ".flac", the container that is wanted; the file's own name may lie.
        sample_rate: rate in Hz that is wanted.
        num_samples: number of samples that were read from the file.
        subtype: subtype of libsndfile that is wanted.
    """
    facts = (info.container, info.codec, info.channels, info.sample_rate, info.frames)
    # What a pipe wrote has no sizes in its header, and not every reader forgives that; a FLAC file
    # may begin with somebody's tags.
    return info.is_plain and facts == (_FORMATS[suffix], subtype, 1, sample_rate, num_samples)


def write_audio(
    path: Path, samples: NDArray[np.floating], sample_rate: int, subtype: str = "PCM_16"
) -> None:
    """Write one channel, whole or not at all; see `encode_audio`."""
    write_bytes(path, encode_audio(path, samples, sample_rate, subtype))


def encode_audio(
    path: Path, samples: NDArray[np.floating], sample_rate: int, subtype: str = "PCM_16"
) -> bytes:
    """Return the bytes of a file of one channel.

    Args:
        path: path of the file, whose suffix (.wav or .flac) decides the container.
        samples: (T,), see `to_stored`.
        sample_rate: rate in Hz.
        subtype: subtype of libsndfile.

    Raises:
        InputError: if the suffix is another one.
    """
    # Encoded in memory: of a full disk libsndfile says only "System error", the system says why.
    encoded = io.BytesIO()
    data = np.asarray(samples, dtype=np.float64)
    with encoding_audio(encoded, path, sample_rate, subtype, num_samples=len(data)) as append:
        append(data)
    return encoded.getvalue()


@contextlib.contextmanager
def writing_audio(
    path: Path, sample_rate: int, subtype: str = "PCM_16"
) -> Iterator[Callable[[NDArray[np.float64]], None]]:
    """Give a function that appends samples to a file of one channel, whole or absent in the end.

    The bytes are those of `encode_audio`, whose arguments these are.
    """
    with (
        replacing(path, sync_folder=False) as temporary,
        temporary.open("wb+") as opened,
        encoding_audio(opened, path, sample_rate, subtype) as append,
    ):
        yield append


@contextlib.contextmanager
def encoding_audio(
    file: BinaryIO,
    path: Path,
    sample_rate: int,
    subtype: str = "PCM_16",
    *,
    num_channels: int = 1,
    num_samples: int = 0,
) -> Iterator[Callable[[NDArray[np.float64]], None]]:
    """Give a function that appends samples (T,) or (T, C) to an open file.

    Args:
        file: file open for reading and writing; the caller closes it.
        path: path that the file will have, whose suffix (.wav or .flac) decides the container.
        sample_rate: rate in Hz.
        subtype: subtype of libsndfile.
        num_channels: number of channels C.
        num_samples: number of samples of a channel; WAV of more than 4 GiB becomes RF64.

    Raises:
        InputError: if the suffix is another one, or the container holds no such samples.
    """
    container = _FORMATS.get(path.suffix.lower())
    if container is None:
        raise InputError(f"{path}: cannot write {path.suffix!r}; use .wav or .flac")
    if container == "WAV" and num_samples * num_channels * _BYTES.get(subtype, 4) > _MAX_WAV_BYTES:
        container = "RF64"
    keeper = _FaultKeeper(file)
    try:
        try:
            sound = soundfile.SoundFile(
                cast(BinaryIO, keeper), "w", sample_rate, num_channels, subtype, format=container
            )
        except (soundfile.LibsndfileError, ValueError) as error:
            raise InputError(
                f"{path}: {container} does not hold {num_channels} channels of {subtype} at "
                f"{sample_rate} Hz; write WAV"
            ) from error
        with sound:
            yield lambda samples: sound.write(to_stored(samples, subtype))
        if subtype in ("FLOAT", "DOUBLE"):
            _clear_time(file)
    finally:
        if keeper.fault is not None:
            raise keeper.fault from None


def _clear_time(file: BinaryIO) -> None:
    """Clear the time of day that libsndfile writes into the header of floating-point WAV.

    The bytes of a file depend on its samples alone.
    """
    file.seek(0)
    peaks = file.read(256).find(b"PEAK")  # a chunk: name, size, version, time, peaks
    if peaks >= 0:
        file.seek(peaks + 12)
        file.write(bytes(4))


class _FaultKeeper:
    """An open file that keeps the error of a write, of which libsndfile says "System error".

    What is in its buffer is written when it is asked to read or seek, too. An exception raised in
    libsndfile's callback would be printed, and lost.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.fault: OSError | None = None

    def write(self, data: bytes) -> int:
        return self._kept(self.file.write, data)

    def readinto(self, buffer: Any) -> int:
        return self._kept(cast(Any, self.file).readinto, buffer)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._kept(self.file.seek, offset, whence)

    def _kept(self, method: Callable[..., int], *arguments: Any) -> int:
        try:
            return method(*arguments)
        except OSError as error:
            self.fault = error
            return 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def to_stored(
    samples: NDArray[np.float64], subtype: str
) -> NDArray[np.float64] | NDArray[np.int16] | NDArray[np.int32]:
    """Return samples such that a subtype of libsndfile takes them as they are.

    Fixed point is rounded to the nearest step and clipped at full scale; floating point is not.
    """
    bits = BITS.get(subtype)
    if bits is None:
        return samples
    if bits == 16:
        return to_pcm16(samples)
    steps = 2.0 ** (bits - 1)
    rounded = np.clip(np.rint(samples * steps), -steps, steps - 1)
    return (rounded * 2.0 ** (32 - bits)).astype(np.int32)  # libsndfile takes the highest bits


def to_pcm16(samples: NDArray[np.float64]) -> NDArray[np.int16]:
    """Round to 16 bits, half to even, clipped at full scale.

    libsndfile scales by 32767 and, when reading, divides by 32768; scaling by 32768 here makes
    reading what was written the identity.
    """
    scaled = torch.from_numpy(samples).mul(32768.0).round_().clamp_(-32768, 32767)
    return scaled.to(torch.int16).numpy()
