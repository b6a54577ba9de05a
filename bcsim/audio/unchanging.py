"""Recordings that others may write to or replace while they are read: one content, or none."""

import contextlib
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from bcsim.audio.contained import GIB, MAX_MEMORY_GIB
from bcsim.audio.read import BLOCK, AudioFile
from bcsim.dsp.lazy_signal import is_long
from bcsim.errors import InputError
from bcsim.files.findings import Finding
from bcsim.files.opening import (
    CHANGED,
    FileState,
    check_state,
    open_regular,
    reading_error,
    state_of,
)

MOST_HELD = 1 << 25  # bytes of a file that are read into memory


@dataclass(frozen=True, eq=False)
class ReadRecording:
    """A recording that was read as a whole.

    Args:
        samples: (T,), full scale at 1.
        own_rate: sample rate of the file in Hz.
        findings: what is to be said of the recording.
    """

    samples: NDArray[np.floating]
    own_rate: int
    findings: tuple[Finding, ...] = ()


@contextlib.contextmanager
def open_unchanging(path: Path) -> Iterator[AudioFile]:
    """Open an audio file to be read more than once; see `unchanging`."""
    with open_regular(path) as file, unchanging(file, path) as audio:
        yield audio


@contextlib.contextmanager
def unchanging(file: BinaryIO, name: object) -> Iterator[AudioFile]:
    """Return an open file as a recording that is read more than once.

    A file of up to 32 MiB is read into memory, so that header, samples, hash and copy are those of
    one content. A larger one is hashed before and after: `AudioFile.check_unchanged`.

    Args:
        file: file open for reading and seeking, or its bytes.
        name: name of the file, for messages.

    Raises:
        InputError: if it is no recording, or is written to at the moment.
    """
    is_held = isinstance(file, io.BytesIO)
    state = None if is_held else state_of(file)
    content = file if is_held else _held(file, name)
    with AudioFile(content, name, state=state) as audio:
        if audio.content() is None:
            audio.sha256()
        yield audio


def read_pair(
    paths: Mapping[str, Path],
    sample_rate: int,
    channels: Mapping[str, int | None],
    single_if_long: bool = False,
    known: Mapping[str, FileState | None] | None = None,
) -> dict[str, ReadRecording]:
    """Read recordings that belong together, as they are on the disk at one moment.

    Args:
        paths: audio file by role.
        sample_rate: rate in Hz to resample to.
        channels: index of the channel to read, from 0, by role; None to average all.
        single_if_long: whether long recordings are read in single precision, which holds 16 and 24
            bits exactly in half of the memory.
        known: state that each file has to have (`check_state`), by role; None for any.

    Returns:
        The recordings at `sample_rate`, by role.

    Raises:
        InputError: if one cannot be read (`read_audio`), or was changed or replaced meanwhile:
            another one may belong to it now.
    """
    with contextlib.ExitStack() as stack:
        files = {role: stack.enter_context(open_regular(path)) for role, path in paths.items()}
        states = {role: state_of(file) for role, file in files.items()}
        for role, file in files.items():
            check_state(file, paths[role], (known or {}).get(role))
        read = {}
        for role, file in files.items():
            with AudioFile(file, paths[role]) as audio:  # read once: it need not be held
                num_samples = audio.info.duration_s * sample_rate
                if num_samples * np.dtype(np.float32).itemsize > MAX_MEMORY_GIB * GIB:
                    raise InputError(
                        f"{paths[role]}: {audio.info.duration_s / 3600:.3g} hours at {sample_rate} "
                        f"Hz take more than {MAX_MEMORY_GIB:g} GiB of memory; cut it into parts"
                    )
                is_single = single_if_long and is_long(num_samples)
                read_whole = _in_single_precision if is_single else AudioFile.read
                samples = read_whole(audio, sample_rate, channels.get(role))
                read[role] = ReadRecording(samples, audio.info.sample_rate, audio.findings)
        for role, file in files.items():
            path = paths[role]
            check_in_place(file, states[role], path, partial(open_regular, path))
    return read


def check_in_place(
    file: BinaryIO, known: FileState, name: object, reopen: Callable[[], BinaryIO]
) -> None:
    """Raise an InputError if a file was changed, or replaced by another one, since it was opened.

    Args:
        file: the open file.
        known: state of the file when it was opened.
        name: name of the file, for messages.
        reopen: function that opens what has the file's path now.
    """
    check_state(file, name, known)
    with reopen() as there:
        if os.path.sameopenfile(file.fileno(), there.fileno()):
            return
        if state_of(there) == known:  # some file systems number their files anew
            digests = []
            for opened in (file, there):
                opened.seek(0)
                digests.append(hashlib.file_digest(cast(Any, opened), "sha256").digest())
            if digests[0] == digests[1]:
                return
    raise InputError(f"{name}: {CHANGED}")


def _held(file: BinaryIO, name: object) -> BinaryIO:
    """Return a file with its content in memory if it is small, else the file."""
    try:
        before = state_of(file)
        content = io.BytesIO(file.read()) if before[0] <= MOST_HELD else file
        if state_of(file) != before:  # it is being written
            raise InputError(f"{name}: {CHANGED}")
    except OSError as error:
        raise reading_error(name, error) from error
    return content


def _in_single_precision(
    audio: AudioFile, sample_rate: int, channel: int | None
) -> NDArray[np.float32]:
    # One array that grows in place: blocks that are joined at the end need twice the memory.
    samples = np.empty(0, dtype=np.float32)
    for block in audio.resampled_blocks(sample_rate, BLOCK, channel):
        start = len(samples)
        samples.resize(start + len(block), refcheck=False)
        samples[start:] = block
    return samples
