"""Pairs for training: from a dataset on disk, or rendered as they are asked for.

What an item is depends on the seed, the epoch and the item's id alone, so loading in another
order, with other workers or after a restart gives the same numbers.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from bcsim.data.audio import audio_info, read_audio, read_segment
from bcsim.data.manifest import MANIFEST_NAME, read_manifest
from bcsim.data.stretches import speech_level
from bcsim.effects.base import Scene
from bcsim.errors import InputError
from bcsim.rng import stream
from bcsim.simulator import Simulator


@dataclass(frozen=True)
class Pair:
    """Air and bone of the same speech.

    Args:
        id: of the pair.
        air: (T,), float32.
        bone: (T,), float32.
        sample_rate: of both, in Hz.
    """

    id: str
    air: Tensor
    bone: Tensor
    sample_rate: int


class Pairs(ABC):
    """An ordered collection of pairs.

    Args:
        ids: of the pairs.
        sample_rate: of all of them, in Hz.
        seed: root seed of everything random about them.

    Attributes:
        simulated_s: how long simulating has taken so far, in seconds.
    """

    def __init__(self, ids: Sequence[str], sample_rate: int, seed: int) -> None:
        self.ids = list(ids)
        self.sample_rate = sample_rate
        self.seed = seed
        self.simulated_s = 0.0

    def __len__(self) -> int:
        return len(self.ids)

    def crop_start(self, index: int, epoch: int, total: int, num_samples: int) -> int:
        """Return where the random crop of an item starts, for a clip of `total` samples."""
        position = stream(self.seed, "crop", epoch, self.ids[index]).uniform()
        return int(position * (max(total - num_samples, 0) + 1))

    @abstractmethod
    def crop(self, index: int, epoch: int, num_samples: int) -> Pair:
        """Return a random stretch of an item, zeros behind where the clip is shorter."""

    def crops(self, picks: Sequence[tuple[int, int]], num_samples: int) -> list[Pair]:
        """Return the crops of several items, each given by its index and epoch."""
        return [self.crop(index, epoch, num_samples) for index, epoch in picks]

    @abstractmethod
    def whole(self, index: int) -> Pair:
        """Return a whole item; the same one whenever it is asked for."""


class StoredPairs(Pairs):
    """The pairs of one split of a dataset that `synthesize` wrote.

    Args:
        folder: of the dataset.
        split: train, validation or test.
        sample_rate: that the pairs must have, in Hz.
        seed: of the crops.

    Raises:
        InputError: naming file and line, if the manifest is missing, empty, of another sample
            rate, or names a file that is not there.
    """

    def __init__(self, folder: Path, split: str, sample_rate: int, seed: int) -> None:
        path = folder / split / MANIFEST_NAME
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; give the one that synthesize wrote")
        self.rows = read_manifest(path)
        if not self.rows:
            raise InputError(f"{path}: lists no pairs")
        self.folder = folder / split
        for number, row in enumerate(self.rows, start=1):
            if row.sample_rate != sample_rate:
                raise InputError(
                    f"{path} line {number}: pairs are {row.sample_rate} Hz, the recipe wants "
                    f"{sample_rate}; rerun synthesize, or set sample_rate"
                )
            for name in (row.air_file_name, row.bone_file_name):
                if not (self.folder / name).is_file():
                    raise InputError(
                        f"{path} line {number}: {name} is missing; run synthesize again"
                    )
        super().__init__([row.id for row in self.rows], sample_rate, seed)

    def crop(self, index: int, epoch: int, num_samples: int) -> Pair:
        row = self.rows[index]
        total = round(row.duration_s * row.sample_rate)
        start = self.crop_start(index, epoch, total, num_samples)
        return self._read(index, start, num_samples, num_samples)

    def whole(self, index: int) -> Pair:
        row = self.rows[index]
        total = round(row.duration_s * row.sample_rate)
        return self._read(index, 0, total, total)

    def _read(self, index: int, start: int, num_samples: int, padded: int) -> Pair:
        row = self.rows[index]
        air, bone = (
            _as_float32(read_segment(self.folder / name, start, num_samples), padded)
            for name in (row.air_file_name, row.bone_file_name)
        )
        return Pair(row.id, air, bone, self.sample_rate)


class RenderedPairs(Pairs):
    """Air recordings, simulated as they are asked for: every epoch hears other wearers.

    Args:
        files: air recordings.
        folder: their common folder; the paths below it are the ids.
        simulator: how bone comes from air; the pairs have its sample rate.
        seed: of crops and draws.
    """

    def __init__(
        self, files: Sequence[Path], folder: Path, simulator: Simulator, seed: int
    ) -> None:
        ids = [path.relative_to(folder).as_posix() for path in files]
        super().__init__(ids, simulator.sample_rate, seed)
        self.files = list(files)
        self.simulator = simulator
        self._levels: dict[int, Tensor] = {}  # of speech in the whole files, once they were needed

    def crop(self, index: int, epoch: int, num_samples: int) -> Pair:
        return self.crops([(index, epoch)], num_samples)[0]

    def crops(self, picks: Sequence[tuple[int, int]], num_samples: int) -> list[Pair]:
        airs = [self._read(index, epoch, num_samples) for index, epoch in picks]
        clip_ids = [f"{self.ids[index]}@{epoch}" for index, epoch in picks]
        # The sensor's noise goes by how loud the talker is, not by what is said in this crop.
        level = torch.cat([self._level(index) for index, _ in picks])
        signals = self._render(airs, clip_ids, num_samples, level)
        return [
            Pair(self.ids[index], air, bone, self.sample_rate)
            for (index, _), air, bone in zip(picks, *signals, strict=True)
        ]

    def whole(self, index: int) -> Pair:
        air, _ = read_audio(self.files[index], self.sample_rate)
        airs, bones = self._render([air], [self.ids[index]], len(air))
        return Pair(self.ids[index], airs[0], bones[0], self.sample_rate)

    def _level(self, index: int) -> Tensor:
        """Return the RMS of active speech in the whole file, (1,)."""
        if index not in self._levels:
            self._levels[index] = speech_level(self.files[index], self.sample_rate)
        return self._levels[index]

    def _read(self, index: int, epoch: int, num_samples: int) -> NDArray[np.float64]:
        path = self.files[index]
        info = audio_info(path)
        if info is not None and info.samplerate == self.sample_rate and info.channels == 1:
            start = self.crop_start(index, epoch, info.frames, num_samples)
            return read_segment(path, start, num_samples)
        air, _ = read_audio(path, self.sample_rate)
        start = self.crop_start(index, epoch, len(air), num_samples)
        return air[start : start + num_samples]

    def _render(
        self,
        airs: Sequence[NDArray[np.float64]],
        clip_ids: Sequence[str],
        num_samples: int,
        level: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return air and bone of the clips as one batch, (B, num_samples) each."""
        started = time.perf_counter()
        batch = torch.stack([_as_float32(air, num_samples) for air in airs])
        lengths = torch.tensor([len(air) for air in airs])
        scene = Scene.from_air(batch, self.sample_rate, lengths)
        draws = [self.simulator.sample(self.seed, clip_id) for clip_id in clip_ids]
        with torch.inference_mode():
            scene = self.simulator.apply(replace(scene, level=level), draws)
        # An effect may have made the clips longer or shorter.
        missing = (0, num_samples - scene.air.shape[-1])
        self.simulated_s += time.perf_counter() - started
        return pad(scene.air, missing), pad(scene.bone, missing)


def _as_float32(samples: NDArray[np.float64], num_samples: int) -> Tensor:
    padded = np.zeros(num_samples, dtype=np.float32)
    padded[: len(samples)] = samples
    return torch.from_numpy(padded)
