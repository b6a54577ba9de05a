"""Recordings of noise: a folder of audio files that effects draw from."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bcsim.audio.folder import audio_files
from bcsim.audio.read import read_audio
from bcsim.effects.distributions import Recordings
from bcsim.errors import InputError
from bcsim.files.atomic import environment_faults
from bcsim.files.hashing import hash_file, hash_text
from bcsim.files.paths import printable
from bcsim.progress import track
from bcsim.simulator import Simulator

MEMORY_BYTES = 64 * 2**20  # of recordings that a process keeps: a corpus asks for them again
# The recordings read last, by path and sample rate; one a process, whatever is pickled.
_KEPT: OrderedDict[tuple[str, int], NDArray[np.float64]] = OrderedDict()
_LOCK = threading.Lock()


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
    _names: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        root = self.folder.absolute()  # worker processes may stand elsewhere
        names = tuple(path.relative_to(root).as_posix() for path in audio_files(root))
        object.__setattr__(self, "_root", root)
        object.__setattr__(self, "_names", names)

    @property
    def names(self) -> tuple[str, ...]:
        return self._names

    def read(self, name: str, sample_rate: int) -> NDArray[np.float64]:
        path = self._root / name
        key = (str(path), sample_rate)
        with _LOCK:
            samples = _KEPT.get(key)
            if samples is not None:
                _KEPT.move_to_end(key)
        if samples is None:
            if not path.is_file():
                raise InputError(
                    f"{path}: no such recording of noise; put it back, or name the folder that "
                    "holds it"
                )
            samples, _ = read_audio(path, sample_rate)
            samples = samples - samples.mean()  # a converter's offset is no noise
            samples.setflags(write=False)
            with _LOCK:
                _KEPT[key] = samples
                _KEPT.move_to_end(key)
                # The one asked for last stays, however long: it is likely asked for again.
                while len(_KEPT) > 1 and sum(s.nbytes for s in _KEPT.values()) > MEMORY_BYTES:
                    _KEPT.popitem(last=False)
        return samples

    def fingerprint(self) -> str:
        """Return a hash over the names and contents of the files."""
        with environment_faults(self._root):
            names = track(self.names, len(self.names), "reading noise")
            hashes = [f"{printable(name)}\t{hash_file(self._root / name)}\n" for name in names]
        return hash_text("".join(hashes))


def fingerprint(simulator: Simulator) -> str | None:
    """Return a hash over all recordings that a simulator draws from, or None if there are none."""
    parts = [
        f"{step}.{part.name}\t{value.fingerprint()}\n"
        for step, effect in zip(simulator.step_names, simulator.effects, strict=True)
        for part in fields(effect)
        if isinstance(value := getattr(effect, part.name), NoiseFolder)
    ]
    return hash_text("".join(parts)) if parts else None
