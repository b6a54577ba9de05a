"""The only reader and writer of audio in bcsim."""

import contextlib
import errno
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

from bcsim.errors import BcsimError, EnvironmentFault, InputError
from bcsim.files import printable, replacing, write_bytes

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".mp3"})
MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 384_000
_PASSING = {errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ETIMEDOUT}
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
    for parent, folders, names in os.walk(folder, onerror=_warn):
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


def _warn(error: OSError) -> None:
    log.warning("%s: left out (%s)", printable(str(error.filename)), error.strerror)


def read_audio(path: Path, sample_rate: int | None = None) -> tuple[NDArray[np.float64], int]:
    """Read a file as one channel; several channels are averaged, with a warning.

    Args:
        path: anything that libsndfile reads.
        sample_rate: rate in Hz to resample to (soxr, very high quality), or None to keep the own.

    Returns:
        samples (T,) with full scale at 1, and their rate in Hz.

    Raises:
        InputError: if the file is missing, empty, cannot be decoded or holds values that are
            not finite.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        # An open file, not its name: names need not be UTF-8.
        with path.open("rb") as opened, soundfile.SoundFile(opened) as file:
            samples, rate = _samples(file), file.samplerate
    except OSError as error:
        raise unreadable(path, error) from error
    except (soundfile.LibsndfileError, RuntimeError) as error:
        reason = " ".join(str(getattr(error, "error_string", error)).split()).rstrip(".")
        raise InputError(f"{path}: cannot be read as audio ({reason})") from error
    if len(samples) == 0:
        raise InputError(f"{path}: holds no samples")
    if not MIN_RATE_HZ <= rate <= MAX_RATE_HZ:
        raise InputError(f"{path}: a sample rate of {rate} Hz is not audio")
    if samples.shape[1] > 1:
        log.warning("%s: %d channels averaged to one", path, samples.shape[1])
    mono = _mono(path, samples)
    if sample_rate is not None and rate != sample_rate:
        return resample(mono, rate, sample_rate), sample_rate
    return mono, rate


def _samples(file: soundfile.SoundFile) -> NDArray[Any]:
    """Return all samples of an open file, (T, C)."""
    if file.subtype != "PCM_16":
        return file.read(dtype="float64", always_2d=True)
    # The same numbers in less time; torch, unlike numpy, takes memory that is warm.
    whole = torch.from_numpy(file.read(dtype="int16", always_2d=True))
    return whole.double().mul_(1 / 32768).numpy()


def _mono(path: Path, samples: NDArray[Any]) -> NDArray[np.float64]:
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    # A sum is as finite as all of its terms, and quicker to look at.
    with np.errstate(over="ignore", invalid="ignore"):
        if not np.isfinite(mono.sum()):
            raise InputError(f"{path}: holds samples that are not finite numbers")
    return mono


def read_blocks(
    path: Path, sample_rate: int, num_samples: int = 1 << 16
) -> Iterator[NDArray[np.float64]]:
    """Yield a file from beginning to end as one channel, for files that do not fit into memory.

    Args:
        path: anything that libsndfile reads.
        sample_rate: rate in Hz to resample to.
        num_samples: of the file that are read at a time.

    Raises:
        InputError: as `read_audio`.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with path.open("rb") as opened, soundfile.SoundFile(opened) as file:
            if not MIN_RATE_HZ <= file.samplerate <= MAX_RATE_HZ:
                raise InputError(f"{path}: a sample rate of {file.samplerate} Hz is not audio")
            if file.channels > 1:
                log.warning("%s: %d channels averaged to one", path, file.channels)
            resampler = None
            if file.samplerate != sample_rate:
                resampler = soxr.ResampleStream(
                    file.samplerate, sample_rate, 1, dtype="float64", quality="VHQ"
                )
            for block in file.blocks(num_samples, dtype="float64", always_2d=True):
                mono = _mono(path, block)
                yield mono if resampler is None else resampler.resample_chunk(mono)
            if resampler is not None:
                yield resampler.resample_chunk(np.zeros(0), last=True)
    except OSError as error:
        raise unreadable(path, error) from error
    except (soundfile.LibsndfileError, RuntimeError) as error:
        reason = " ".join(str(getattr(error, "error_string", error)).split()).rstrip(".")
        raise InputError(f"{path}: cannot be read as audio ({reason})") from error


def unreadable(path: Path, error: OSError) -> BcsimError:
    """Return what to raise for a file that cannot be read: the file's fault, or the machine's."""
    if error.errno in _PASSING:
        return EnvironmentFault(
            f"{path}: {(error.strerror or str(error)).lower()}; see to it, then run the same "
            "command again"
        )
    return InputError(f"{path}: cannot be read ({error.strerror})")


def read_segment(path: Path, start: int, num_samples: int) -> NDArray[np.float64]:
    """Read part of a one-channel file that bcsim wrote.

    Args:
        path: of the file.
        start: first sample.
        num_samples: how many; fewer come back where the file ends before.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        with path.open("rb") as opened, soundfile.SoundFile(opened) as file:
            file.seek(min(start, file.frames))
            samples = file.read(num_samples, dtype="float64", always_2d=True)
            return np.asarray(samples[:, 0], dtype=np.float64)
    except (OSError, soundfile.LibsndfileError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be read; run synthesize again") from error


def num_frames(path: Path) -> int | None:
    """Return how many samples a file says it holds, or None if it is no audio."""
    info = audio_info(path)
    return None if info is None else info.frames


def audio_info(path: Path) -> Any:
    """Return what a file says about itself (soundfile's `info`), or None if it is no audio."""
    if not path.is_file():
        return None  # and a pipe is not waited for
    try:
        with path.open("rb") as file:
            return soundfile.info(file)
    except (OSError, soundfile.LibsndfileError, RuntimeError):
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
    try:
        with soundfile.SoundFile(file) as opened:
            rate, channels, total = opened.samplerate, opened.channels, opened.frames
            if not MIN_RATE_HZ <= rate <= MAX_RATE_HZ:
                raise InputError(f"{name}: a sample rate of {rate} Hz is not audio")
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
            opened.seek(stop - 1)
            if len(opened.read(1)) == 0:
                raise InputError(f"{name}: ends before the {stop} samples that its header claims")
            suffix = _SUFFIXES.get(opened.format)
            if suffix is not None and channels == 1 and (start, stop) == (0, total):
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
            bits = _BITS.get(opened.subtype, 32)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        reason = " ".join(str(getattr(error, "error_string", error)).split()).rstrip(".")
        raise InputError(f"{name}: cannot be read as audio ({reason})") from error
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
