"""Recordings of noise: a folder of audio files that effects draw from.

What is silent cannot be had at an SNR. Recordings that are silent, or cannot be read, are left out
before anything is drawn; of the others, pauses are cut to a fraction of a second, so that wherever
a clip starts in them there is sound.
"""

import logging
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bcsim.audio.folder import audio_files
from bcsim.audio.read import open_audio
from bcsim.audio.unchanging import open_unchanging
from bcsim.effects.distributions import Recordings
from bcsim.effects.playback import SILENT
from bcsim.errors import InputError
from bcsim.files.atomic import environment_faults
from bcsim.files.hashing import hash_text
from bcsim.files.opening import FileState
from bcsim.files.paths import printable
from bcsim.progress import track
from bcsim.simulator import Simulator

MEMORY_BYTES = 64 * 2**20  # of recordings that a process keeps: a corpus asks for them again
FRAME_S = 0.1
PAUSE_S = 1.0  # shorter ones belong to the noise
PAUSE_DB = -50.0  # level of a pause, below that of the loudest second
NUM_TOLD = 5  # recordings that are left out and named
SHORT_S = 1.0  # what has less sound beside its pauses is mentioned: it goes round and round
# Steps of full scale: a recording of an RMS of one step is dither, of which no gain makes noise.
ROUNDING = {"PCM_S8": 2**-7, "PCM_U8": 2**-7, "PCM_16": 2**-15, "PCM_24": 2**-23}
# The recordings read last, by path and sample rate; one a process, whatever is pickled.
_KEPT: OrderedDict[tuple[str, int], NDArray[np.float64]] = OrderedDict()
_LOCK = threading.Lock()

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Contents:
    """What is in a folder of noise: names that can be drawn, why others cannot, and a hash.

    What is drawn later has to be of the files in the states that they were in.
    """

    names: tuple[str, ...]
    failures: dict[str, str]
    sha256: str
    states: dict[str, FileState | None]


@dataclass(frozen=True)
class NoiseFolder(Recordings):
    """The audio files below a folder, named by their paths relative to it.

    Args:
        folder: relative to the current folder at the time of making this; kept as given, so that
            a resolved recipe says what its author wrote.

    Raises:
        InputError: if the folder is missing or holds no audio.
    """

    folder: Path
    _root: Path = field(init=False, repr=False, compare=False)
    _files: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _looked_at: _Contents | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        root = self.folder.absolute()  # worker processes may stand elsewhere
        files = tuple(path.relative_to(root).as_posix() for path in audio_files(root))
        object.__setattr__(self, "_root", root)
        object.__setattr__(self, "_files", files)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the recordings that hold sound, sorted.

        All are decoded when this, or what depends on it, is asked for the first time.

        Raises:
            InputError: if no recording can be used.
        """
        contents = self._contents()
        if not contents.names:
            first = next(iter(contents.failures.values()))
            raise InputError(
                f"{self._root}: none of {len(self._files)} recordings of noise can be used; first: "
                f"{first}"
            )
        return contents.names

    @property
    def failures(self) -> dict[str, str]:
        """Why recordings are left out, by their path."""
        return self._contents().failures

    def fingerprint(self) -> str:
        """Return a hash over the names and contents of the files."""
        return self._contents().sha256

    def read(self, name: str, sample_rate: int) -> NDArray[np.float64]:
        path = self._root / name
        key = (str(path), sample_rate)
        with _LOCK:
            samples = _KEPT.get(key)
            if samples is not None:
                _KEPT.move_to_end(key)
        if samples is None:
            if not os.path.isfile(path):
                raise InputError(
                    f"{path}: no such recording of noise; put it back, or name the folder that "
                    "holds it"
                )
            known = None if self._looked_at is None else self._looked_at.states.get(name)
            with open_audio(path, known=known) as audio:
                samples = audio.read(sample_rate)
            samples = without_pauses(samples, sample_rate)
            samples = samples - samples.mean()  # a converter's offset is no noise
            samples.setflags(write=False)
            with _LOCK:
                _KEPT[key] = samples
                _KEPT.move_to_end(key)
                # The one asked for last stays, however long: it is likely asked for again.
                while len(_KEPT) > 1 and sum(s.nbytes for s in _KEPT.values()) > MEMORY_BYTES:
                    _KEPT.popitem(last=False)
        return samples

    def _contents(self) -> _Contents:
        contents = self._looked_at
        if contents is None:
            contents = self._look()
            object.__setattr__(self, "_looked_at", contents)
        return contents

    def _look(self) -> _Contents:
        """Decode all recordings, and log what is left out of them."""
        names, failures, lines, short = [], {}, [], []
        states: dict[str, FileState | None] = {}
        paused_s = 0.0
        for name in track(self._files, len(self._files), "reading noise"):
            path = self._root / name
            try:
                with environment_faults(self._root), open_unchanging(path) as audio:
                    rate, digest = audio.info.sample_rate, audio.sha256()
                    least = max(SILENT, ROUNDING.get(audio.info.codec, 0.0))
                    samples = audio.read()
                    audio.check_unchanged()
                    states[name] = audio.state
                kept = without_pauses(samples, rate)
                if not np.std(kept) > least:
                    raise InputError(
                        f"{path}: is silent but for rounding, so no SNR can be had with it"
                    )
            except InputError as error:
                failures[str(path)] = str(error)
                continue
            names.append(name)
            num_cut = len(samples) - len(kept)
            paused_s += num_cut / rate
            if num_cut and len(kept) < SHORT_S * rate:
                short.append(str(path))
            told = (printable(name), digest, *([f"-{num_cut}"] if num_cut else []))
            lines.append("\t".join(told) + "\n")
        for reason in [*failures.values()][:NUM_TOLD]:
            log.warning("noise is left out: %s", printable(reason))
        if failures:
            total = len(self._files)
            log.warning("%d of %d recordings of noise are left out", len(failures), total)
        if short:
            log.warning(
                "%d of %d recordings of noise hold less than %g s of sound beside their pauses, "
                "which is repeated (first: %s)",
                len(short), len(self._files), SHORT_S, printable(short[0]),
            )  # fmt: skip
        if paused_s:
            log.info("noise: pauses of %.1f s in all are left out of the recordings", paused_s)
        return _Contents(tuple(names), failures, hash_text("".join(lines)), states)


def without_pauses(samples: NDArray[np.float64], sample_rate: int) -> NDArray[np.float64]:
    """Return a recording without its pauses, of which a tenth of a second at either end stays.

    A pause lasts a second or more, and no tenth of a second in it has more power, about its mean,
    than the loudest second less 50 dB.

    Args:
        samples: (T,), recording of noise.
        sample_rate: in Hz.

    Returns:
        (T',), `samples` itself where there is no pause, or nothing else.
    """
    frame = max(1, round(FRAME_S * sample_rate))
    frames_in_pause = round(PAUSE_S / FRAME_S)
    num_frames = len(samples) // frame
    if num_frames <= frames_in_pause:
        return samples
    power = samples[: num_frames * frame].reshape(num_frames, frame).var(axis=1)
    loudest = np.convolve(power, np.full(frames_in_pause, 1 / frames_in_pause), "valid").max()
    if not loudest > SILENT**2:
        return samples
    is_faint = power <= max(SILENT**2, loudest * 10 ** (PAUSE_DB / 10))
    is_kept = np.ones(num_frames, dtype=bool)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_faint, [False]])))
    for begin, end in edges.reshape(-1, 2):
        if end - begin >= frames_in_pause:
            is_kept[begin + 1 : end - 1] = False
    if is_kept.all():
        return samples
    in_frames = np.repeat(is_kept, frame)
    return np.concatenate([samples[: len(in_frames)][in_frames], samples[len(in_frames) :]])


def noise_folders(simulator: Simulator) -> dict[str, NoiseFolder]:
    """Return the folders of noise that a simulator draws from, by step and field."""
    return {
        f"{step}.{part.name}": value
        for step, effect in zip(simulator.step_names, simulator.effects, strict=True)
        for part in fields(effect)
        if isinstance(value := getattr(effect, part.name), NoiseFolder)
    }


def fingerprint(simulator: Simulator) -> str | None:
    """Return a hash over all recordings that a simulator draws from, or None if there are none.

    All are decoded before that, and what cannot be used is left out (`NoiseFolder.failures`).

    Raises:
        InputError: if none of a folder's recordings can be used.
    """
    parts = []
    for name, folder in noise_folders(simulator).items():
        folder.names  # noqa: B018  (raises)
        parts.append(f"{name}\t{folder.fingerprint()}\n")
    return hash_text("".join(parts)) if parts else None
