"""The only reader and writer of audio in bcsim."""

import io
import logging
import os
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from bcsim.errors import InputError
from bcsim.files import write_bytes

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".mp3"})
MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 384_000
_FORMATS = {".wav": "WAV", ".flac": "FLAC"}

log = logging.getLogger(__name__)


def audio_files(folder: Path) -> list[Path]:
    """Return the audio files below `folder`, sorted by relative path, whatever the disk's order.

    Links to folders are not followed and hidden files are left out.

    Raises:
        InputError: if the folder is missing or holds no audio.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(parent, name)
            for name in names
            if Path(name).suffix.lower() in AUDIO_SUFFIXES and not name.startswith(".")
        ]
    if not found:
        known = " ".join(sorted(AUDIO_SUFFIXES))
        raise InputError(f"{folder}: no audio files in this folder (looked for {known})")
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


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
        with path.open("rb") as file:
            samples, rate = soundfile.read(file, dtype="float64", always_2d=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (soundfile.LibsndfileError, RuntimeError) as error:
        reason = " ".join(str(getattr(error, "error_string", error)).split()).rstrip(".")
        raise InputError(f"{path}: cannot be read as audio ({reason})") from error
    if len(samples) == 0:
        raise InputError(f"{path}: holds no samples")
    if not MIN_RATE_HZ <= rate <= MAX_RATE_HZ:
        raise InputError(f"{path}: a sample rate of {rate} Hz is not audio")
    if samples.shape[1] > 1:
        log.warning("%s: %d channels averaged to one", path, samples.shape[1])
    mono = samples.mean(axis=1)
    if not np.isfinite(mono).all():
        raise InputError(f"{path}: holds samples that are not finite numbers")
    if sample_rate is not None and rate != sample_rate:
        return resample(mono, rate, sample_rate), sample_rate
    return mono, rate


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
    try:
        with path.open("rb") as file:
            return soundfile.info(file).frames
    except (OSError, soundfile.LibsndfileError, RuntimeError):
        return None


def resample(samples: NDArray[np.float64], rate: int, new_rate: int) -> NDArray[np.float64]:
    """Resample (T,) or (T, C) from `rate` to `new_rate` Hz."""
    return samples if rate == new_rate else soxr.resample(samples, rate, new_rate, quality="VHQ")


def write_audio(
    path: Path, samples: NDArray[np.floating], sample_rate: int, subtype: str = "PCM_16"
) -> None:
    """Write one channel, whole or not at all; the suffix (.wav or .flac) decides the container.

    Args:
        path: where to.
        samples: (T,); rounded to the nearest step, clipped at full scale.
        sample_rate: in Hz.
        subtype: a fixed-point subtype of libsndfile, whose bytes depend on the samples alone
            (floating-point WAV carries the time of day).

    Raises:
        InputError: for another suffix.
        EnvironmentFault: if the disk is full or forbidden.
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
    write_bytes(path, encoded.getvalue())


def to_pcm16(samples: NDArray[np.float64]) -> NDArray[np.int16]:
    """Round to 16 bits, half to even, clipped at full scale.

    libsndfile scales by 32767 and, when reading, divides by 32768; scaling by 32768 here makes
    reading what was written the identity.
    """
    return np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
