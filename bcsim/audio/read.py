"""Reading audio files: one open gives the checked header, the samples and the hash."""

import contextlib
import dataclasses
import hashlib
import io
import logging
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import torch
from numpy.typing import NDArray

from bcsim.audio.averaging import ChannelMixer
from bcsim.audio.contained import sound_of
from bcsim.audio.decoding import DecodingError, Facts, Part
from bcsim.audio.inspection import Levels, inspect, inspect_header, refusal_of
from bcsim.audio.validation.base import COPY, UNKNOWN_LENGTH, AudioError, AudioInfo
from bcsim.audio.validation.containers import check_header
from bcsim.dsp.resample import BlockResampler, resample
from bcsim.errors import InputError
from bcsim.files.findings import Finding, note
from bcsim.files.opening import (
    CHANGED,
    FileState,
    check_state,
    open_regular,
    reading_error,
    state_of,
)
from bcsim.files.paths import printable

BLOCK = 1 << 16  # samples of each channel
_MAX_MAGNITUDE = 64.0  # 36 dB over full scale: more than floats need, less than integers have
_MP3_SLACK = 4 * 1152  # samples: encoders differ in what they count as delay and padding

log = logging.getLogger(__name__)


def read_audio(
    path: Path,
    sample_rate: int | None = None,
    channel: int | None = None,
    is_recording: bool = True,
) -> tuple[NDArray[np.float64], int]:
    """Read a file as one channel; several are averaged, with a warning that says what this did.

    Args:
        path: audio file of a container in `CONTAINERS`; its content decides, not its name.
        sample_rate: rate in Hz to resample to (soxr, very high quality), or None to keep the own.
        channel: index of the channel to read, from 0, or None to average all of them.
        is_recording: whether the file is refused if it cannot be used; what bcsim wrote itself may
            be silent.

    Returns:
        Samples (T,) with full scale at 1, and their rate in Hz.

    Raises:
        InputError: if the file is missing, none of these, cut short, cannot be decoded, holds no
            samples, or some that are not finite or far above full scale, or lacks the channel;
            or if the recording cannot be used: it is too short, of too low a rate or silent
            (`inspect`), or its channels cancel each other when averaged (`ChannelMixer.effect`).
    """
    with open_audio(path, is_recording=is_recording) as audio:
        return audio.read(sample_rate, channel), sample_rate or audio.info.sample_rate


def read_blocks(
    path: Path, sample_rate: int, num_samples: int = BLOCK, channel: int | None = None
) -> Iterator[NDArray[np.float64]]:
    """Yield a file that need not fit into memory as blocks of one channel; see `read_audio`.

    Args:
        path: audio file.
        sample_rate: rate in Hz to resample to.
        num_samples: number of samples of the file that are read at a time.
        channel: index of the channel to read, from 0, or None to average all of them.
    """
    with open_audio(path) as audio:
        yield from audio.resampled_blocks(sample_rate, num_samples, channel)


def read_segment(
    path: Path, start: int, num_samples: int, channel: int = 0, known: FileState | None = None
) -> NDArray[np.float64]:
    """Read part of one channel of a file, thousands of times a second.

    Hence the pages of Ogg files are not checked and no warnings are given: both happen when the
    file is read as a whole or asked for its `audio_info`. See `AudioFile.read_segment`.

    Args:
        path: audio file.
        start: first sample.
        num_samples: number of samples.
        channel: index of the channel to read, from 0.
        known: state that the file has to have (`check_state`); None for any.

    Raises:
        InputError: if it cannot be read, or has another state.
    """
    with open_audio(path, whole=False, known=known) as audio:
        return audio.read_segment(start, num_samples, channel)


@contextlib.contextmanager
def open_audio(
    path: Path, whole: bool = True, is_recording: bool = True, known: FileState | None = None
) -> Iterator["AudioFile"]:
    """Open an audio file as `read_audio` does, and check its header; see `AudioFile`.

    The file has to be in the state that is `known` of it, if one is (`check_state`).
    """
    # An open file, not its name: names need not be UTF-8.
    with open_regular(path) as file:
        check_state(file, path, known)
        with AudioFile(file, path, whole, is_recording, state_of(file)) as audio:
            yield audio


class AudioFile:
    """An open audio file, whose header has been checked.

    Args:
        file: file open for reading and seeking; the caller closes it.
        name: name of the file, for messages.
        whole: whether all pages of an Ogg file are checked, which takes as long as reading it.
        is_recording: whether `read`, `blocks` and what builds on them refuse what cannot be used.
        state: state of the file (`state_of`), for those who open it again.

    Attributes:
        file: the file.
        is_open: whether libsndfile's understanding of the header was compared.
        state: state of the file when it was opened, if it was told.
        info: what the header says.
        findings: what is to be said of the recording, once all of it was read.

    Raises:
        InputError: if the file cannot be used; every method that reads raises it, too.
        EnvironmentFault: if the machine cannot read the file for now.
    """

    def __init__(
        self,
        file: BinaryIO,
        name: object,
        whole: bool = True,
        is_recording: bool = True,
        state: FileState | None = None,
    ) -> None:
        self.name = name
        self._is_recording = is_recording
        self.file = file
        self.state = state
        self._hashed: str | None = None
        self._is_at_start = True
        self.findings: tuple[Finding, ...] = ()
        with self._errors():
            self.info = check_header(file, whole)
            self._sound, self.is_open = sound_of(file), False
            if self.info.frames == UNKNOWN_LENGTH:
                try:
                    self._open(None)
                except BaseException:
                    self._sound.close()
                    raise

    def __enter__(self) -> "AudioFile":
        return self

    def __exit__(self, *raised: object) -> None:
        try:
            if raised[0] is None and not self.is_open:  # only its header was asked for
                with self._errors():
                    self._open(None)
        finally:
            self._sound.close()

    def _open(self, first: Part | None) -> None:
        """Let libsndfile open the recording, and compare how it understands the header."""
        self.file.seek(0)
        self._check(self._sound.open(first))

    def check_facts(self, facts: Facts | Exception) -> None:
        """Compare how libsndfile understands the header, or raise an InputError that tells why not.

        It is not opened for that any more.
        """
        self.is_open = True
        with self._errors():
            if isinstance(facts, Exception):
                raise facts
            self._check(facts)

    def _check(self, facts: Facts) -> None:
        if self.info.frames == UNKNOWN_LENGTH:
            self.info = dataclasses.replace(self.info, frames=facts[-1])
        if facts != (self.info.codec, self.info.channels, self.info.sample_rate, self.info.frames):
            raise AudioError("its header can be read in two ways; convert it to FLAC")
        self.is_open = True

    def _decode(self, start: int | None, count: int, dtype: str) -> NDArray[Any]:
        """Return samples (T, C) as `Sound.read` does; open the recording before, if it is not."""
        if not self.is_open:
            count = min(count, self.info.frames - (start or 0))
            part = Part(start, count, self.info.channels, dtype)
            self._open(part if count > 0 else None)
        return self._sound.read(start, count, dtype)

    def again(self, whole: bool = True) -> "AudioFile":
        """Return the same open file to be read from the start, whatever its name leads to now."""
        return AudioFile(self.file, self.name, whole, self._is_recording, self.state)

    def read(
        self, sample_rate: int | None = None, channel: int | None = None
    ) -> NDArray[np.float64]:
        """Return the samples (T,) of the whole file as `read_audio` does."""
        with self._errors():
            mixer = ChannelMixer(self.info.channels, channel)
            self.check_header()
            samples = self._decode_all()
            missing = _check_count(self.info, len(samples))
            oddities = _oddities(self.info, _check_magnitude(samples))
            mono = mixer.mix(samples)
            effect, found = mixer.effect()
            self.warn(*missing, *oddities, *effect)
        levels = Levels()
        levels.add(_used(samples, mixer.channel))
        self._note(*inspect(levels, self.info), *found)
        return mono if sample_rate is None else resample(mono, self.info.sample_rate, sample_rate)

    def inspect_part(self, samples: NDArray[np.float64], place: str) -> None:
        """Inspect part of the recording as `read` does the whole.

        Args:
            samples: (T,), samples of one channel at the rate of the file.
            place: place of the part, which tells it from others of the file, or "".
        """
        with self._errors():
            _check_magnitude(samples)
        levels = Levels()
        levels.add(samples)
        info = dataclasses.replace(self.info, channels=1, frames=len(samples))
        self._note(*inspect(levels, info), name=f"{self.name}{place and f' ({place})'}")

    def read_segment(self, start: int, num_samples: int, channel: int = 0) -> NDArray[np.float64]:
        """Read part of one channel as `read_frames` does; no warnings are given."""
        samples = self.read_frames(start, num_samples)[:, channel]
        with self._errors():
            _check_magnitude(samples)
        return np.asarray(samples, dtype=np.float64)

    def read_frames(self, start: int, num_samples: int, dtype: str = "float64") -> NDArray[Any]:
        """Read part of all channels as (T, C), without a look at the values.

        Args:
            start: first sample.
            num_samples: number of samples; fewer come back where the file ends before.
            dtype: "float64", with full scale at 1, or "int32".
        """
        with self._errors():
            start = min(start, self.info.frames)
            self._is_at_start = False
            samples = self._decode(start, num_samples, dtype)
            if len(samples) < min(num_samples, self.info.frames - start):
                _check_count(self.info, start + len(samples))
        return samples

    def blocks(
        self, num_samples: int = BLOCK, warn: bool = True, channel: int | None = None
    ) -> Iterator[NDArray[np.float64]]:
        """Yield the whole file in blocks (num_samples, C); check it, and warn, as `read` does.

        Args:
            num_samples: number of samples of each channel in a block.
            warn: whether to log what is odd.
            channel: index of the only channel that is used, from 0; None for all.
        """
        count, largest, levels = 0, 0.0, Levels()
        with self._errors():
            self.check_header()
            start = self._start()
            while len(block := self._decode(start, num_samples, "float64")):
                start = None
                count, largest = count + len(block), max(largest, _check_magnitude(block))
                levels.add(_used(block, channel))
                yield block
                if len(block) < num_samples:  # behind damage, libsndfile would go on elsewhere
                    break
            missing = _check_count(self.info, count)
            self.warn(*missing, *(_oddities(self.info, largest) if warn else ()))
        self._note(*inspect(levels, self.info))

    def mono_blocks(self, num_samples: int, channel: int | None) -> Iterator[NDArray[np.float64]]:
        """Yield the whole file in blocks (num_samples,) of one channel, as `read` reads it."""
        with self._errors():
            mixer = ChannelMixer(self.info.channels, channel)
        for block in self.blocks(num_samples, channel=mixer.channel):
            yield mixer.mix(block)
        effect, found = mixer.effect()
        self.warn(*effect)
        self._note(*self.findings, *found)

    def resampled_blocks(
        self, sample_rate: int, num_samples: int, channel: int | None
    ) -> Iterator[NDArray[np.float64]]:
        """Yield what `mono_blocks` does, block by block at another sample rate in Hz."""
        resampler = BlockResampler(self.info.sample_rate, sample_rate)
        for mono in self.mono_blocks(num_samples, channel):
            yield resampler(mono)
        if len(rest := resampler(np.zeros(0), last=True)):
            yield rest

    def sha256(self) -> str:
        """Return the SHA-256 of the file in hexadecimal, as it was when it was asked for first."""
        if self._hashed is None:
            self._hashed = self._hash()
        return self._hashed

    def content(self) -> bytes | None:
        """Return the bytes of the file, if they are in memory (`bcsim.audio.unchanging`)."""
        return self.file.getvalue() if isinstance(self.file, io.BytesIO) else None

    def check_unchanged(self) -> None:
        """Raise an InputError if the file was written to since it was hashed, if it was.

        Not by size and time: what is written twice within a tick of the clock has one time.
        """
        if self._hashed is not None and self.content() is None and self._hash() != self._hashed:
            raise InputError(f"{self.name}: {CHANGED}")

    def _hash(self) -> str:
        with self._errors():
            position = self.file.tell()  # where libsndfile goes on
            self.file.seek(0)
            digest = hashlib.file_digest(cast(Any, self.file), "sha256").hexdigest()
            self.file.seek(position)
        return digest

    def warn(self, *warnings: str) -> None:
        """Log warnings that name the file."""
        for warning in warnings:
            log.warning("%s: %s", printable(str(self.name)), warning)

    def look_through(self) -> None:
        """Read the whole file for what is to be said of it, and nothing else."""
        with self.again() as audio:
            for _ in audio.blocks(warn=False):
                pass

    def check_header(self) -> None:
        """Raise an InputError if the header tells that the recording cannot be used."""
        self._refuse(inspect_header(self.info))

    def _start(self) -> int | None:
        """Return where to begin; where it is the start, MP3 would differ a little after a seek."""
        start = None if self._is_at_start else 0
        self._is_at_start = False
        return start

    def _note(self, *findings: Finding, name: object = None) -> None:
        """Keep what was found, and hand it on; an InputError if the recording cannot be used."""
        self.findings = findings
        self._refuse(findings, name)
        note(name or self.name, findings)

    def _refuse(self, findings: Iterable[Finding], name: object = None) -> None:
        reason = refusal_of(findings) if self._is_recording else None
        if reason is not None:
            raise InputError(f"{name or self.name}: {reason}")

    def _decode_all(self) -> NDArray[Any]:
        if self.info.codec != "PCM_16":
            return self._decode(self._start(), self.info.frames, "float64")
        # The same numbers in less time; torch, unlike numpy, reuses memory.
        samples = torch.from_numpy(self._decode(self._start(), self.info.frames, "int16"))
        return samples.double().mul_(1 / 32768).numpy()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn an error of the system, of libsndfile or of a check into one that names the file."""
        try:
            yield
        except AudioError as error:
            raise InputError(f"{self.name}: cannot be read as audio: {error}") from error
        except OSError as error:
            raise reading_error(self.name, error) from error
        except DecodingError as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise InputError(
                f"{self.name}: cannot be read as audio ({reason}); copy the file again, or "
                "convert it"
            ) from error


def _check_count(info: AudioInfo, count: int) -> list[str]:
    """Raise if fewer samples were decoded than a file claims; return what to warn of."""
    if count == 0:
        raise AudioError("holds 0 samples; leave the file out")
    claimed = info.frames
    if count + (_MP3_SLACK if info.container == "MP3" else 0) < claimed:
        raise AudioError(
            f"cut short or damaged: claims {claimed} samples, {count} can be decoded; {COPY}"
        )
    return [f"ends {claimed - count} samples before its header claims"] if count < claimed else []


def _used(samples: NDArray[Any], channel: int | None) -> NDArray[Any]:
    """Return the samples (T, C) of one channel, or of all of them one after the other."""
    return samples.ravel() if channel is None else samples[:, channel]


def _check_magnitude(samples: NDArray[Any]) -> float:
    """Raise if a sample is not finite or far above full scale; return the largest magnitude."""
    if not samples.size:
        return 0.0
    low, high = float(samples.min()), float(samples.max())  # not a number if any sample is not
    if not math.isfinite(low) or not math.isfinite(high):
        raise AudioError("holds samples that are not finite numbers; write it anew")
    if (largest := max(high, -low)) > _MAX_MAGNITUDE:
        raise AudioError(
            f"reaches {largest:.3g} times full scale: were integers stored as floats? Divide them "
            "by 32768, or what their bits call for"
        )
    return largest


def _oddities(info: AudioInfo, largest: float) -> list[str]:
    """Return what to warn of in a usable file, of whose samples `largest` is the peak magnitude."""
    odd = list(info.warnings)
    if largest > 1.01:
        odd.append(f"peaks at {largest:.3g} of full scale")
    return odd
