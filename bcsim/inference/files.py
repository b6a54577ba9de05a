"""Enhancement of files: recordings of any length in, a file of the same kind out."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bcsim.audio.read import BLOCK, AudioFile
from bcsim.audio.unchanging import open_unchanging
from bcsim.audio.validation.base import AudioInfo
from bcsim.audio.write import encoding_audio
from bcsim.datasets.recordings import LENGTH_TOLERANCE_S
from bcsim.dsp.resample import BlockResampler
from bcsim.errors import InputError
from bcsim.files.atomic import replacing
from bcsim.files.paths import printable
from bcsim.inference.enhancer import UNBOUNDED_CHUNK_S, BlockEnhancer, measure_loudness
from bcsim.inference.partner import check_partner
from bcsim.metrics.comparison import SILENCE
from bcsim.models.base import Enhancer

PEAK = 0.99
_KEPT_SUBTYPES = {"PCM_24", "PCM_32", "FLOAT", "DOUBLE"}  # all else takes 16 bits

log = logging.getLogger(__name__)


@contextmanager
def open_recordings(source: Path, air: Path | None) -> Iterator[tuple[AudioFile, AudioFile | None]]:
    """Open the recordings of the sensor and of the air microphone, if there is one, once for all.

    Raises:
        InputError: if one of them is no recording.
    """
    with ExitStack() as stack:
        bone = stack.enter_context(open_unchanging(source))
        yield bone, None if air is None else stack.enter_context(open_unchanging(air))


def enhance_file(
    enhancer: Enhancer,
    source: Path,
    air: Path | None,
    out: Path,
    before_naming: Callable[[Path], object] = lambda written: None,
) -> None:
    """Enhance the recordings of two paths; see `enhance_recordings`."""
    with open_recordings(source, air) as recordings:
        enhance_recordings(enhancer, *recordings, out, before_naming)


def enhance_recordings(
    enhancer: Enhancer,
    source: AudioFile,
    air: AudioFile | None,
    out: Path,
    before_naming: Callable[[Path], object] = lambda written: None,
) -> None:
    """Enhance a recording of any length, block by block.

    The file that is written has the rate, the channels and the depth of the sensor's recording,
    each channel enhanced by itself. Above full scale it is turned down as a whole.

    Args:
        enhancer: enhancer in evaluation mode, on the device that it is to run on.
        source: recording of the sensor.
        air: recording of the noisy air microphone, for an enhancer that takes it; else None.
        out: path of the file to write, .wav or .flac.
        before_naming: function that gets the path of the whole file before it becomes `out`; what
            it raises leaves `out` as it was.

    Raises:
        InputError: if a recording cannot be read, the two are not equally long, exchanged or not
            synchronous (`check_partner`), the suffix is another one, or the output of the model is
            not finite.
        EnvironmentFault: if the disk is full or forbidden.
    """
    if air is not None:
        check_partner(source, air)
    loudness = _loudness(enhancer, source, air)
    with replacing(out) as temporary:
        with temporary.open("wb+") as file:
            peak = _write(enhancer, source, air, loudness, file, out)
        if peak > 1:
            log.warning("%s: peak at %.1f of full scale; turned down", printable(str(out)), peak)
            # All of it again: the factor is known now, and the samples are not kept in memory.
            with temporary.open("wb+") as file:
                _write(enhancer, source, air, loudness, file, out, PEAK / peak)
        for recording in (source, air):
            if recording is not None:
                recording.check_unchanged()
        before_naming(temporary)


def _loudness(enhancer: Enhancer, source: AudioFile, air: AudioFile | None) -> list[Tensor | None]:
    """Return what the enhancer takes from the whole of each channel (`measure_loudness`).

    What is enhanced as one piece is not read for it.
    """
    info = source.info
    found: list[Tensor | None] = [None] * info.channels
    if info.duration_s < UNBOUNDED_CHUNK_S and info.container != "MP3":  # whose headers guess
        return found
    for channel in range(info.channels):
        with ExitStack() as stack:
            audio = stack.enter_context(source.again())
            microphone = None
            if air is not None:
                microphone = _Microphone(stack.enter_context(air.again()), audio)
            blocks = (_input(s[:, channel], microphone) for s in audio.blocks(warn=False))
            found[channel] = measure_loudness(enhancer, info.sample_rate, blocks)
        if found[channel] is None:
            break
    return found


def _input(signal: NDArray[np.float64], microphone: "_Microphone | None") -> NDArray[np.float64]:
    """Return a block of what the enhancer takes, (C, T)."""
    second = [] if microphone is None else [microphone.take(len(signal))]
    return np.stack([signal, *second])


def _write(
    enhancer: Enhancer,
    source: AudioFile,
    air: AudioFile | None,
    loudness: Sequence[Tensor | None],
    file: BinaryIO,
    out: Path,
    factor: float | None = None,
) -> float:
    """Write an enhanced recording block by block, and return its peak.

    With a factor it is written again, times the factor, and nothing is logged again.
    """
    peak = loudest = 0.0
    with ExitStack() as stack:
        audio = stack.enter_context(source.again())
        microphone = None
        if air is not None:
            microphone = _Microphone(stack.enter_context(air.again()), audio)
        info = audio.info
        append = stack.enter_context(
            encoding_audio(
                file,
                out,
                info.sample_rate,
                _subtype(info, out),
                num_channels=info.channels,
                num_samples=info.frames,
            )
        )
        channels = [BlockEnhancer(enhancer, info.sample_rate, loudness=own) for own in loudness]
        for samples, enhanced in _enhanced(channels, audio, microphone, factor is None):
            loudest = max(loudest, float(np.abs(samples).max(initial=0.0)))
            peak = max(peak, float(np.abs(enhanced).max(initial=0.0)))
            append(enhanced if factor is None else factor * enhanced)
    if factor is None and peak < SILENCE <= loudest:
        log.warning("%s: the model's output is silent", printable(str(out)))
    return peak


def _enhanced(
    channels: Sequence[BlockEnhancer],
    audio: AudioFile,
    microphone: "_Microphone | None",
    warn: bool,
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield blocks of a recording (T, C), and what is enhanced by then, (T', C)."""
    info = audio.info
    if warn and info.channels > 1:
        log.info("%s: %d channels, each enhanced by itself", audio.name, info.channels)
    for samples in audio.blocks(warn=warn):
        second = [] if microphone is None else [microphone.take(len(samples))]
        with _naming(audio):
            enhanced = [
                channel(np.stack([signal, *second]))
                for channel, signal in zip(channels, samples.T, strict=True)
            ]
        yield samples, np.stack(enhanced, axis=1)
    if microphone is not None:
        microphone.check_length()
    with _naming(audio):
        rest = [channel.finish() for channel in channels]
    yield np.zeros((0, info.channels)), np.stack(rest, axis=1)


@contextmanager
def _naming(audio: AudioFile) -> Iterator[None]:
    """Let an error about the output of the model name the recording."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{audio.name}: {error}") from error


class _Microphone:
    """The recording of the air microphone, at the rate of the sensor's and in its blocks.

    Args:
        audio: recording of the air microphone; several channels are averaged.
        bone: recording of the sensor.

    Raises:
        InputError: if the two are not equally long.
    """

    def __init__(self, audio: AudioFile, bone: AudioFile) -> None:
        self._audio, self._bone = audio, bone
        self._blocks = self._resampled()
        self._held = np.zeros(0)
        self._num_samples = self._num_taken = 0  # of the sensor's rate
        if "MP3" not in (audio.info.container, bone.info.container):  # whose headers guess
            self._check(audio.info.duration_s, bone.info.duration_s)

    def take(self, num_samples: int) -> NDArray[np.float64]:
        """Return the next samples, (num_samples,), with zeros behind the end."""
        while len(self._held) < num_samples and (block := next(self._blocks, None)) is not None:
            self._held = np.concatenate([self._held, block])
        taken, self._held = self._held[:num_samples], self._held[num_samples:]
        self._num_taken += num_samples
        return np.pad(taken, (0, num_samples - len(taken)))

    def check_length(self) -> None:
        """Raise an InputError if the recording is not as long as what was taken of it."""
        for _ in self._blocks:
            pass
        rate = self._bone.info.sample_rate
        self._check(self._num_samples / rate, self._num_taken / rate)

    def _check(self, own_s: float, bone_s: float) -> None:
        if abs(own_s - bone_s) > LENGTH_TOLERANCE_S:
            raise InputError(
                f"{self._audio.name}: lasts {own_s:.2f} s, {self._bone.name} {bone_s:.2f} s; give "
                "recordings of the same speech, cut alike"
            )

    def _resampled(self) -> Iterator[NDArray[np.float64]]:
        resampler = BlockResampler(self._audio.info.sample_rate, self._bone.info.sample_rate)
        for samples in self._audio.mono_blocks(BLOCK, channel=None):
            block = resampler(samples)
            self._num_samples += len(block)
            yield block
        block = resampler(np.zeros(0), last=True)
        self._num_samples += len(block)
        yield block


def _subtype(info: AudioInfo, out: Path) -> str:
    """Return the subtype of libsndfile that keeps the depth of a recording."""
    if info.codec not in _KEPT_SUBTYPES:
        return "PCM_16"
    # FLAC holds no more than 24 bits.
    return "PCM_24" if out.suffix.lower() == ".flac" else info.codec
