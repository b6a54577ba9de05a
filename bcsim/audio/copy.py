"""Copying recordings without loss, whole or in part."""

import io
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from bcsim.audio.read import AudioFile
from bcsim.audio.unchanging import unchanging
from bcsim.audio.validation.containers import CONTAINERS
from bcsim.audio.write import write_audio
from bcsim.dsp.resample import resample
from bcsim.errors import InputError
from bcsim.files.atomic import replacing, write_bytes
from bcsim.files.hashing import hash_file
from bcsim.files.opening import CHANGED

_SUFFIXES = {container.name: container.suffixes[0] for container in CONTAINERS}
_BITS = {"PCM_S8": 16, "PCM_U8": 16, "PCM_16": 16, "PCM_24": 24}  # all else takes 32
ROUNDING_S = 0.01  # by which the end of a segment may miss the end of its recording


@dataclass(frozen=True)
class CopiedAudio:
    """A file that `copy_audio` wrote.

    Args:
        path: path of the copy.
        sample_rate: sample rate of the copy in Hz.
        num_samples: number of samples of the copy.
        whole: sample rate in Hz and number of samples of the whole recording.
    """

    path: Path
    sample_rate: int
    num_samples: int
    whole: tuple[int, int]


def copy_audio(
    file: BinaryIO,
    name: str,
    stem: Path,
    *,
    channel: int | None = None,
    num_channels: int | None = None,
    start_s: float = 0.0,
    duration_s: float | None = None,
    overshoot_s: float = ROUNDING_S,
    sample_rate: int | None = None,
) -> CopiedAudio:
    """Copy a recording of one channel, or one channel of a segment of it, without loss.

    A recording of one channel that is wanted whole keeps its bytes. Else up to 24 bits become FLAC
    with the same samples; more bits and floating point become WAV of 32 bits. What is resampled
    becomes WAV in floating point, in which no overshoot is clipped.

    Args:
        file: recording, open for reading and seeking.
        name: name of the recording, for messages.
        stem: path of the copy without its suffix.
        channel: channel to copy, counted from 0; None for a recording that has one.
        num_channels: largest number of channels that the recording may have; None for any.
        start_s: start of the segment in seconds.
        duration_s: duration of the segment in seconds; None for all that is left.
        overshoot_s: time in seconds by which the segment may end behind the recording, and is cut.
        sample_rate: sample rate in Hz to resample to; None to keep that of the recording.

    Raises:
        InputError: if it is no audio, has other channels, or is shorter.
        EnvironmentFault: if the disk is full or forbidden.
    """
    with unchanging(file, name) as audio:
        _check_channel(audio, channel, num_channels)
        start, stop = _segment(audio, start_s, duration_s, overshoot_s)
        whole = (audio.info.sample_rate, audio.info.frames)
        info, suffix = audio.info, _SUFFIXES.get(audio.info.container)
        place = _place(audio, channel, start, stop)
        audio.warn(*info.warnings)
        if sample_rate not in (None, info.sample_rate):
            return _resampled(audio, stem, channel or 0, (start, stop), sample_rate, place)
        if suffix is not None and info.channels == 1 and (start, stop) == (0, info.frames):
            path = stem.with_name(stem.name + suffix)
            for _ in audio.blocks(warn=False):  # checks the samples
                pass
            _copy_bytes(audio, file, path)
            return CopiedAudio(path, info.sample_rate, info.frames, whole)
        is_integer = info.codec.startswith("PCM")
        read = audio.read_frames(start, stop - start, "int32" if is_integer else "float64")
        samples = read[:, channel or 0]
        audio.inspect_part(samples * (2.0**-31 if is_integer else 1.0), place)
        audio.check_unchanged()
    if not is_integer:
        samples = _as_int32(samples, name)
    bits = _BITS.get(info.codec, 32)
    container = "WAV" if bits == 32 else "FLAC"
    encoded = io.BytesIO()
    soundfile.write(encoded, samples, info.sample_rate, format=container, subtype=f"PCM_{bits}")
    path = stem.with_name(f"{stem.name}.{container.lower()}")
    write_bytes(path, encoded.getvalue())
    return CopiedAudio(path, info.sample_rate, len(samples), whole)


def _check_channel(audio: AudioFile, channel: int | None, num_channels: int | None) -> None:
    channels = audio.info.channels
    if channels > 1 and channel is None:
        raise InputError(f"{audio.name}: has {channels} channels; say which is which")
    if channel is not None and not 0 <= channel < channels:
        raise InputError(f"{audio.name}: has {channels} channels, and no channel {channel}")
    if num_channels is not None and channels > num_channels:
        raise InputError(f"{audio.name}: has {channels} channels, and {num_channels} are told")


def _place(audio: AudioFile, channel: int | None, start: int, stop: int) -> str:
    """Return the part of a recording that is copied, for messages, or "" for all of it."""
    info = audio.info
    parts = [f"channel {channel or 0}"] if info.channels > 1 else []
    if (start, stop) != (0, info.frames):
        parts.append(f"{start / info.sample_rate:.2f} to {stop / info.sample_rate:.2f} s")
    return ", ".join(parts)


def _copy_bytes(audio: AudioFile, file: BinaryIO, path: Path) -> None:
    content = audio.content()
    if content is not None:
        write_bytes(path, content)
        return
    num_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    with replacing(path, num_bytes=num_bytes) as temporary:
        with temporary.open("wb") as copy:
            shutil.copyfileobj(file, copy)
        if hash_file(temporary) != audio.sha256():
            raise InputError(f"{audio.name}: {CHANGED}")


def _resampled(
    audio: AudioFile,
    stem: Path,
    channel: int,
    segment: tuple[int, int],
    sample_rate: int,
    place: str,
) -> CopiedAudio:
    start, stop = segment
    read = audio.read_frames(start, stop - start)[:, channel]
    audio.inspect_part(read, place)
    audio.check_unchanged()
    samples = resample(read, audio.info.sample_rate, sample_rate)
    path = stem.with_name(f"{stem.name}.wav")
    write_audio(path, samples, sample_rate, "FLOAT")
    return CopiedAudio(path, sample_rate, len(samples), (audio.info.sample_rate, audio.info.frames))


def _segment(
    audio: AudioFile, start_s: float, duration_s: float | None, overshoot_s: float
) -> tuple[int, int]:
    """Return the first sample of a segment, and the first one behind it."""
    rate, total = audio.info.sample_rate, audio.info.frames
    start = round(start_s * rate)
    stop = total if duration_s is None else start + round(duration_s * rate)
    if total < stop <= total + overshoot_s * rate:
        stop = total
    if not 0 <= start < stop <= total:
        raise InputError(f"{audio.name}: holds {total} samples, not those from {start} to {stop}")
    return start, stop


def _as_int32(samples: NDArray[np.float64], name: str) -> NDArray[np.int32]:
    """Return the samples (T,) of a recording, with full scale at 1, in fixed point."""
    if not np.abs(samples).max() <= 1:  # not a number is not <= 1 either
        raise InputError(f"{name}: exceeds full scale, which no fixed point holds; turn it down")
    return np.minimum(np.rint(samples * 2.0**31), 2.0**31 - 1).astype(np.int32)
