"""Reading audio files by their paths; see `bcsim.audio.open` for several looks at one file."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from bcsim.audio.open import BLOCK, AudioInfo, open_audio
from bcsim.errors import BcsimError


def read_audio(path: Path, sample_rate: int | None = None) -> tuple[NDArray[np.float64], int]:
    """Read a file as one channel; several channels are averaged, with a warning.

    Args:
        path: WAV, FLAC, Ogg, AIFF or MP3; its content decides, not its name.
        sample_rate: rate in Hz to resample to (soxr, very high quality), or None to keep the own.

    Returns:
        Samples (T,) with full scale at 1, and their rate in Hz.

    Raises:
        InputError: if the file is missing, none of these, cut short, cannot be decoded, or holds
            no samples, or some that are not finite or far above full scale.
    """
    with open_audio(path) as audio:
        return audio.read(sample_rate), sample_rate or audio.info.sample_rate


def read_blocks(
    path: Path, sample_rate: int, num_samples: int = BLOCK
) -> Iterator[NDArray[np.float64]]:
    """Yield a file from beginning to end as one channel, for files that do not fit into memory.

    Args:
        path: as for `read_audio`.
        sample_rate: rate in Hz to resample to.
        num_samples: number of samples of the file that are read at a time.

    Raises:
        InputError: as `read_audio`, as soon as it is found.
    """
    with open_audio(path) as audio:
        rate, resampler = audio.info.sample_rate, None
        if rate != sample_rate:
            resampler = soxr.ResampleStream(rate, sample_rate, 1, dtype="float64", quality="VHQ")
        for block in audio.blocks(num_samples):
            mono = block.mean(axis=1)
            yield mono if resampler is None else resampler.resample_chunk(mono)
        if resampler is not None:
            yield resampler.resample_chunk(np.zeros(0), last=True)


def read_segment(path: Path, start: int, num_samples: int) -> NDArray[np.float64]:
    """Read part of a one-channel file, thousands of times a second.

    Hence the pages of Ogg files are not checked and no warnings are given: both happen when the
    file is read as a whole or asked for its `audio_info`.

    Args:
        path: as for `read_audio`.
        start: first sample.
        num_samples: number of samples; fewer come back where the file ends before.

    Raises:
        InputError: if it cannot be read, or fewer come back although it does not end there.
    """
    with open_audio(path, whole=False) as audio:
        return audio.read_segment(start, num_samples)


def audio_info(path: Path) -> AudioInfo | None:
    """Return what a file says about itself, or None if it cannot be read as audio."""
    try:
        with open_audio(path) as audio:
            return audio.info
    except BcsimError:
        return None
