"""The only reader and writer of audio in bcsim."""

import contextlib
import io
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray

from bcsim.audio.validation.headers import Container, ContainerError
from bcsim.audio.validation.preflight import (
    check_count,
    loudest,
    oddities,
    preflight,
)
from bcsim.errors import BcsimError, InputError, is_out_of_memory
from bcsim.files.atomic import replacing, write_bytes
from bcsim.files.opening import open_regular, reading_error
from bcsim.files.paths import printable

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".mp3"})
_FORMATS = {".wav": "WAV", ".flac": "FLAC"}
_SUFFIXES = {
    "OGG": ".ogg",
    "MP3": ".mp3",
    "WAV": ".wav",
    "WAVEX": ".wav",
    "FLAC": ".flac",
    "AIFF": ".aiff",
}
_BITS = {"PCM_S8": 16, "PCM_U8": 16, "PCM_16": 16, "PCM_24": 24}
_ROUNDING_S = 0.01  # by which the end of a stretch may miss the end of its recording

log = logging.getLogger(__name__)


def audio_files(folder: Path) -> list[Path]:
    """Return the audio files below `folder`, sorted by relative path, whatever the disk's order.

    Links to folders are not followed and hidden files are left out.

    Raises:
        InputError: if the folder is missing or holds no audio.
    """
    return [folder / name for name in audio_names(folder)]


def audio_names(folder: Path) -> list[str]:
    """Return `audio_files` as paths relative to `folder`, which takes a tenth of the memory."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    found = []
    for parent, folders, names in os.walk(folder, onerror=_leave_out):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = Path(parent).relative_to(folder).as_posix()
        found += [
            name if inside == "." else f"{inside}/{name}"
            for name in names
            if os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES and not name.startswith(".")
        ]
    if not found:
        known = " ".join(sorted(AUDIO_SUFFIXES))
        raise InputError(f"{folder}: no audio files in this folder (looked for {known})")
    return sorted(found)


def _leave_out(error: OSError) -> None:
    _warn(error.filename, f"left out ({error.strerror})")


def _warn(name: object, *oddities: str) -> None:
    for oddity in oddities:
        log.warning("%s: %s", printable(str(name)), oddity)


def read_audio(path: Path, sample_rate: int | None = None) -> tuple[NDArray[np.float64], int]:
    """Read a file as one channel; several channels are averaged, with a warning.

    Args:
        path: WAV, FLAC, Ogg, AIFF or MP3; its content decides, not its name.
        sample_rate: rate in Hz to resample to (soxr, very high quality), or None to keep the own.

    Returns:
        samples (T,) with full scale at 1, and their rate in Hz.

    Raises:
        InputError: if the file is missing, none of these, cut short, cannot be decoded, or holds
            no samples, or some that are not finite or far above full scale.
    """
    with _opened(path) as (file, found):
        samples, rate = _samples(file), file.samplerate
        missing = check_count(found, len(samples), file.frames)
        _warn(path, *missing, *oddities(found, loudest(samples)))
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    if sample_rate is not None and rate != sample_rate:
        return resample(mono, rate, sample_rate), sample_rate
    return mono, rate


def read_blocks(
    path: Path, sample_rate: int, num_samples: int = 1 << 16
) -> Iterator[NDArray[np.float64]]:
    """Yield a file from beginning to end as one channel, for files that do not fit into memory.

    Args:
        path: as for `read_audio`.
        sample_rate: rate in Hz to resample to.
        num_samples: of the file that are read at a time.

    Raises:
        InputError: as `read_audio`, as soon as it is found.
    """
    count, largest = 0, 0.0
    with _opened(path) as (file, found):
        resampler = None
        if file.samplerate != sample_rate:
            resampler = soxr.ResampleStream(
                file.samplerate, sample_rate, 1, dtype="float64", quality="VHQ"
            )
        while len(block := file.read(num_samples, dtype="float64", always_2d=True)):
            count, largest = count + len(block), max(largest, loudest(block))
            mono = block.mean(axis=1)
            yield mono if resampler is None else resampler.resample_chunk(mono)
        _warn(path, *check_count(found, count, file.frames), *oddities(found, largest))
        if resampler is not None:
            yield resampler.resample_chunk(np.zeros(0), last=True)


@contextlib.contextmanager
def _opened(path: Path, whole: bool = True) -> Iterator[tuple[soundfile.SoundFile, Container]]:
    """Open a file, once its header has been found to be sound; errors within become one line."""
    try:
        with open_regular(path) as file, _decoded(file, path, whole) as decoded:
            yield decoded
    except OSError as error:
        raise reading_error(path, error) from error


@contextlib.contextmanager
def _decoded(
    file: BinaryIO, name: object, whole: bool = True
) -> Iterator[tuple[soundfile.SoundFile, Container]]:
    try:
        found = preflight(file, whole)
        file.seek(0)
        # An open file, not its name: names need not be UTF-8.
        with soundfile.SoundFile(cast(BinaryIO, _Patient(file))) as sound:
            facts = (sound.subtype, sound.channels, sound.samplerate, sound.frames)
            frames = found.frames or sound.frames
            if facts != (found.codec, found.channels, found.sample_rate, frames):
                raise ContainerError("its header can be read in two ways; convert it to FLAC")
            yield sound, found
    except ContainerError as error:
        raise InputError(f"{name}: cannot be read as audio: {error}") from error
    except RuntimeError as error:  # libsndfile's
        if is_out_of_memory(error):  # torch's: the file is not to blame
            raise
        reason = " ".join(str(getattr(error, "error_string", error)).split()).rstrip(".")
        raise InputError(
            f"{name}: cannot be read as audio ({reason}); copy the file again, or convert it"
        ) from error


class _Patient:
    """An open file that stays where it is when libsndfile wants to go before its beginning.

    What is raised out of libsndfile would be printed, and lost.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.read, self.tell = file.read, file.tell
        self.readinto = getattr(file, "readinto", None)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return self._file.tell()


def _samples(file: soundfile.SoundFile) -> NDArray[Any]:
    """Return all samples of an open file, (T, C)."""
    if file.subtype != "PCM_16":
        return file.read(dtype="float64", always_2d=True)
    # The same numbers in less time; torch, unlike numpy, takes memory that is warm.
    whole = torch.from_numpy(file.read(dtype="int16", always_2d=True))
    return whole.double().mul_(1 / 32768).numpy()


def read_segment(path: Path, start: int, num_samples: int) -> NDArray[np.float64]:
    """Read part of a one-channel file, thousands of times a second.

    Hence the pages of Ogg files are not walked and no warnings are given: both happen when the
    file is read as a whole or asked for its `audio_info`.

    Args:
        path: of the file.
        start: first sample.
        num_samples: how many; fewer come back where the file ends before.

    Raises:
        InputError: if it cannot be read, or fewer come back although it does not end there.
    """
    with _opened(path, whole=False) as (file, found):
        start = min(start, file.frames)
        file.seek(start)
        samples = file.read(num_samples, dtype="float64", always_2d=True)[:, 0]
        if found.name != "MP3" and len(samples) < min(num_samples, file.frames - start):
            check_count(found, start + len(samples), file.frames)
        loudest(samples)
    return np.asarray(samples, dtype=np.float64)


def num_frames(path: Path) -> int | None:
    """Return how many samples a file says it holds, or None if it is no audio."""
    info = audio_info(path)
    return None if info is None else info.frames


def audio_info(path: Path) -> Any:
    """Return what a file says about itself (soundfile's `info`), or None if it is no audio."""
    try:
        with open_regular(path) as file:
            preflight(file)
            file.seek(0)
            return soundfile.info(cast(BinaryIO, _Patient(file)))
    except (OSError, RuntimeError, ContainerError, BcsimError):
        return None


def is_ours(path: Path, info: Any, suffix: str, sample_rate: int, num_samples: int) -> bool:
    """Tell whether a file is what `write_audio` could have written: a copy would do instead.

    Args:
        path: of the file.
        info: `audio_info` of it.
        suffix: ".wav" or ".flac", the container that is wanted; the file's own name may lie.
        sample_rate: in Hz.
        num_samples: that were read from it.
    """
    facts = (info.format, info.subtype, info.channels, info.samplerate, info.frames)
    if facts != (_FORMATS[suffix], "PCM_16", 1, sample_rate, num_samples):
        return False
    with path.open("rb") as file:
        begin = file.read(8)
    # What a pipe wrote has no sizes in its header, and not every reader forgives that; a FLAC file
    # may begin with somebody's tags.
    return begin[:4] == b"fLaC" or int.from_bytes(begin[4:], "little") + 8 == path.stat().st_size


def resample(samples: NDArray[np.float64], rate: int, new_rate: int) -> NDArray[np.float64]:
    """Resample (T,) or (T, C) from `rate` to `new_rate` Hz."""
    return samples if rate == new_rate else soxr.resample(samples, rate, new_rate, quality="VHQ")


def write_audio(
    path: Path, samples: NDArray[np.floating], sample_rate: int, subtype: str = "PCM_16"
) -> None:
    """Write one channel, whole or not at all; see `encode_audio`.

    Raises:
        InputError: for another suffix than .wav or .flac.
        EnvironmentFault: if the disk is full or forbidden.
    """
    write_bytes(path, encode_audio(path, samples, sample_rate, subtype))


def encode_audio(
    path: Path, samples: NDArray[np.floating], sample_rate: int, subtype: str = "PCM_16"
) -> bytes:
    """Return the bytes of a file of one channel.

    Args:
        path: whose suffix (.wav or .flac) decides the container.
        samples: (T,); rounded to the nearest step, clipped at full scale.
        sample_rate: in Hz.
        subtype: a fixed-point subtype of libsndfile, whose bytes depend on the samples alone
            (floating-point WAV carries the time of day).

    Raises:
        InputError: for another suffix.
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

    Args:
        path: where to; the suffix (.wav or .flac) decides the container. 16 bits.
        sample_rate: in Hz.

    Raises:
        EnvironmentFault: if the disk is full or forbidden.
    """
    with replacing(path, sync_folder=False) as temporary, temporary.open("wb+") as opened:
        file = _Watched(opened)
        try:
            with soundfile.SoundFile(
                cast(BinaryIO, file),
                "w",
                sample_rate,
                1,
                "PCM_16",
                format=_FORMATS[path.suffix.lower()],
            ) as sound:
                yield lambda samples: sound.write(to_pcm16(samples))
        except BaseException:
            if file.fault is not None:
                raise file.fault from None
            raise
        if file.fault is not None:
            raise file.fault


class _Watched:
    """An open file whose faults are kept: libsndfile says nothing but "System error"."""

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


@dataclass(frozen=True)
class CopiedAudio:
    """A file that `copy_audio` wrote.

    Args:
        path: of it; the suffix says the container.
        sample_rate: in Hz.
        num_samples: that it holds.
    """

    path: Path
    sample_rate: int
    num_samples: int


def copy_audio(
    file: BinaryIO,
    name: str,
    stem: Path,
    channel: int | None = None,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> CopiedAudio:
    """Copy a recording of one channel, or one channel of a stretch of it, without loss.

    What is wanted whole keeps its bytes. Else up to 24 bits become FLAC with the same samples;
    more bits and floating point become WAV of 32 bits.

    Args:
        file: the recording, open for reading and seeking.
        name: of it, for messages.
        stem: where to, without suffix.
        channel: counted from 0; None for a recording that has one.
        start_s: of the stretch, in seconds.
        duration_s: likewise; None for all that is left.

    Raises:
        InputError: if it is no audio, has other channels, or is shorter.
        EnvironmentFault: if the disk is full or forbidden.
    """
    with _decoded(file, name) as (opened, found):
        rate, channels, total = opened.samplerate, opened.channels, opened.frames
        if channels > 1 and channel is None:
            raise InputError(f"{name}: has {channels} channels; say which is which")
        if channel is not None and not 0 <= channel < channels:
            raise InputError(f"{name}: has {channels} channels, and no channel {channel}")
        start = round(start_s * rate)
        stop = total if duration_s is None else start + round(duration_s * rate)
        if total < stop <= total + _ROUNDING_S * rate:
            stop = total
        if not 0 <= start < stop <= total:
            raise InputError(f"{name}: holds {total} samples, not those from {start} to {stop}")
        _warn(name, *found.warnings)
        suffix = _SUFFIXES.get(opened.format)
        if suffix is not None and channels == 1 and (start, stop) == (0, total):
            count = 0
            for block in opened.blocks(1 << 16, always_2d=True):
                loudest(block)
                count += len(block)
            _warn(name, *check_count(found, count, total))
            file.seek(0)
            path = stem.with_name(stem.name + suffix)
            with replacing(path) as temporary, temporary.open("wb") as copy:
                shutil.copyfileobj(file, copy)
            return CopiedAudio(path, rate, total)
        opened.seek(start)
        fixed_point = opened.subtype.startswith("PCM")
        read = opened.read(
            stop - start, dtype="int32" if fixed_point else "float64", always_2d=True
        )
        check_count(found, start + len(read), stop)
        bits = _BITS.get(opened.subtype, 32)
    samples = read[:, channel or 0]
    if not fixed_point:
        if not np.abs(samples).max() <= 1:  # not a number is not <= 1 either
            raise InputError(
                f"{name}: exceeds full scale, which no fixed point holds; turn it down"
            )
        samples = np.minimum(np.rint(samples * 2.0**31), 2.0**31 - 1).astype(np.int32)
    container = "WAV" if bits == 32 else "FLAC"
    encoded = io.BytesIO()
    soundfile.write(encoded, samples, rate, format=container, subtype=f"PCM_{bits}")
    path = stem.with_name(f"{stem.name}.{container.lower()}")
    write_bytes(path, encoded.getvalue())
    return CopiedAudio(path, rate, stop - start)
