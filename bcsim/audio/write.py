"""Writing audio files of one channel, each whole or absent."""

import contextlib
import io
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


def is_as_written(info: AudioInfo, suffix: str, sample_rate: int, num_samples: int) -> bool:
    """Tell whether a file is what `write_audio` could have written: a copy would do instead.

    Args:
        info: what the header of the file says.
        suffix: ".wav" or ".flac", the container that is wanted; the file's own name may lie.
        sample_rate: rate in Hz that is wanted.
        num_samples: number of samples that were read from the file.
    """
    facts = (info.container, info.codec, info.channels, info.sample_rate, info.frames)
    # What a pipe wrote has no sizes in its header, and not every reader forgives that; a FLAC file
    # may begin with somebody's tags.
    return info.is_plain and facts == (_FORMATS[suffix], "PCM_16", 1, sample_rate, num_samples)


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
        samples: (T,); rounded to the nearest step, clipped at full scale.
        sample_rate: rate in Hz.
        subtype: a fixed-point subtype of libsndfile, whose bytes depend on the samples alone
            (floating-point WAV carries the time of day).

    Raises:
        InputError: if the suffix is another one.
    """
    container = _FORMATS.get(path.suffix.lower())
    if container is None:
        raise InputError(f"{path}: cannot write {path.suffix!r}; use .wav or .flac")
    data = np.asarray(samples, dtype=np.float64)
    if subtype == "PCM_16":
        data = to_pcm16(data)
    # Encoded in memory: of a full disk libsndfile says only "System error", the system says why.
    encoded = io.BytesIO()
    soundfile.write(encoded, data, sample_rate, format=container, subtype=subtype)
    return encoded.getvalue()


@contextlib.contextmanager
def writing_audio(path: Path, sample_rate: int) -> Iterator[Callable[[NDArray[np.float64]], None]]:
    """Give a function that appends samples to a file, which is whole or absent in the end.

    The suffix (.wav or .flac) decides the container; samples take 16 bits.
    """
    container = _FORMATS[path.suffix.lower()]
    with replacing(path, sync_folder=False) as temporary, temporary.open("wb+") as opened:
        file = _FaultKeeper(opened)
        try:
            with soundfile.SoundFile(
                cast(BinaryIO, file), "w", sample_rate, 1, "PCM_16", format=container
            ) as sound:
                yield lambda samples: sound.write(to_pcm16(samples))
        finally:
            if file.fault is not None:
                raise file.fault from None


class _FaultKeeper:
    """An open file that keeps the error of a write, of which libsndfile says "System error"."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.fault: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.fault = error
            return 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def to_pcm16(samples: NDArray[np.float64]) -> NDArray[np.int16]:
    """Round to 16 bits, half to even, clipped at full scale.

    libsndfile scales by 32767 and, when reading, divides by 32768; scaling by 32768 here makes
    reading what was written the identity.
    """
    scaled = torch.from_numpy(samples).mul(32768.0).round_().clamp_(-32768, 32767)
    return scaled.to(torch.int16).numpy()
