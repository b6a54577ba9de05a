"""Pairs for training: from a dataset on disk, recorded, or rendered as they are asked for.

What an item is depends on the seed, the epoch and the item's id alone, so loading in another
order, with other workers or after a restart gives the same numbers.
"""

import copy
import logging
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from bcsim.audio.open import open_audio
from bcsim.audio.read import audio_info, read_audio, read_segment
from bcsim.datasets.dataset import Dataset, read_manifest
from bcsim.datasets.manifest import MANIFEST_NAME, SPLITS, file_beneath
from bcsim.datasets.recordings import PairFiles, files_of, find_pairs
from bcsim.datasets.speech_level import speech_level
from bcsim.effects.base import Scene
from bcsim.errors import InputError
from bcsim.files.paths import printable
from bcsim.files.text import shown
from bcsim.rng import stream
from bcsim.simulator import Simulator

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pair:
    """Air and bone of the same speech.

    Args:
        id: name of the pair.
        air: clean speech at the air microphone, (T,), float32.
        bone: signal of the sensor, (T,), float32.
        sample_rate: sample rate of all signals in Hz.
        noisy_air: what the air microphone picks up in noise, (T,), float32; None where that is
            `air` itself, or where nobody asked for it.
    """

    id: str
    air: Tensor
    bone: Tensor
    sample_rate: int
    noisy_air: Tensor | None = None

    def inputs(self, channels: Sequence[str]) -> Tensor:
        """Return the input of a network, (C, T).

        Args:
            channels: what each of the C channels is: "bone", or "air", the noisy air microphone.
        """
        microphone = self.air if self.noisy_air is None else self.noisy_air
        signals = {"bone": self.bone, "air": microphone}
        return torch.stack([signals[channel] for channel in channels])


class Pairs(ABC):
    """An ordered collection of pairs.

    Args:
        ids: of the pairs.
        sample_rate: of all of them, in Hz.
        seed: root seed of everything random about them.

    Attributes:
        channels: the channels that a network takes from the pairs (`Pair.inputs`); `noisy_air` is
            read from disk only if "air" is one of them.
        simulated_s: time that simulating has taken so far, in seconds.
    """

    channels: tuple[str, ...] = ("bone",)

    def __init__(self, ids: Sequence[str], sample_rate: int, seed: int) -> None:
        self.ids = list(ids)
        self.sample_rate = sample_rate
        self.seed = seed
        self.simulated_s = 0.0

    def __len__(self) -> int:
        return len(self.ids)

    def with_channels(self, channels: tuple[str, ...]) -> Self:
        """Return the same pairs for a network that takes other channels."""
        pairs = copy.copy(self)
        pairs.channels = channels
        return pairs

    def is_read(self, signal: str) -> bool:
        """Tell whether a signal of the pairs is read, by what the network takes."""
        return signal != "noisy_air" or "air" in self.channels

    def crop_start(self, index: int, epoch: int, total: int, num_samples: int) -> int:
        """Return where the random crop of an item starts, for a clip of `total` samples."""
        position = stream(self.seed, "crop", epoch, self.ids[index]).uniform()
        return int(position * (max(total - num_samples, 0) + 1))

    @abstractmethod
    def crop(self, index: int, epoch: int, num_samples: int) -> Pair:
        """Return a random segment of an item, zeros behind where the clip is shorter."""

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
            for name in row.file_names.values():
                if not os.path.isfile(self.folder / name):  # which a name too long is not either
                    raise InputError(
                        f"{path} line {number}: {shown(name)} is missing; run synthesize again"
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
        # Looked for again: a link may have come to lead elsewhere since the manifest was read.
        signals = {
            signal: _as_float32(
                read_segment(file_beneath(self.folder, name), start, num_samples), padded
            )
            for signal, name in row.file_names.items()
            if self.is_read(signal)
        }
        return Pair(row.id, sample_rate=self.sample_rate, **signals)


class RecordedPairs(Pairs):
    """Pairs of files of any rate, as they were recorded: delay and polarity stay what they are.

    Files of another rate, or of several channels, are read as a whole and resampled whenever they
    are asked for.

    Args:
        files: of the pairs; their names are the ids.
        sample_rate: that the pairs get, in Hz.
        seed: of the crops.

    Raises:
        InputError: if there are none, two have the same name, or a file holds no audio.
    """

    def __init__(self, files: Sequence[PairFiles], sample_rate: int, seed: int) -> None:
        if not files:
            raise InputError("there are no pairs of recordings")
        names = [pair.name for pair in files]
        twice = next((name for name, after in pairwise(sorted(names)) if name == after), None)
        if twice is not None:
            raise InputError(f"two pairs are called '{shown(twice)}'; rename one")
        super().__init__(names, sample_rate, seed)
        self.files = list(files)
        # Samples to cut from a file as it is; None where it has to be decoded as a whole.
        self._num_samples = [self._common_length(pair) for pair in files]

    def crop(self, index: int, epoch: int, num_samples: int) -> Pair:
        total = self._num_samples[index]
        if total is not None:
            start = self.crop_start(index, epoch, total, num_samples)
            end = min(start + num_samples, total)
            signals = {
                name: read_segment(path, start, end - start)
                for name, path in self._wanted(index).items()
            }
        else:
            decoded = self._decode(index)
            start = self.crop_start(index, epoch, len(decoded["air"]), num_samples)
            signals = {name: s[start : start + num_samples] for name, s in decoded.items()}
        return self._pair(index, signals, num_samples)

    def whole(self, index: int) -> Pair:
        signals = self._decode(index)
        return self._pair(index, signals, len(signals["air"]))

    def _pair(
        self, index: int, signals: Mapping[str, NDArray[np.float64]], num_samples: int
    ) -> Pair:
        padded = {name: _as_float32(signal, num_samples) for name, signal in signals.items()}
        return Pair(self.ids[index], sample_rate=self.sample_rate, **padded)

    def _wanted(self, index: int) -> dict[str, Path]:
        """Return the files of a pair that are read, by signal."""
        signals = self.files[index].signals
        return {signal: path for signal, path in signals.items() if self.is_read(signal)}

    def _decode(self, index: int) -> dict[str, NDArray[np.float64]]:
        """Return the whole signals, cut to the shortest."""
        signals = {
            name: read_audio(path, self.sample_rate)[0]
            for name, path in self._wanted(index).items()
        }
        overlap = min(map(len, signals.values()))
        return {name: signal[:overlap] for name, signal in signals.items()}

    def _common_length(self, files: PairFiles) -> int | None:
        lengths = []
        for path in files.signals.values():
            info = audio_info(path)
            if info is None or info.frames == 0:
                raise InputError(f"{path}: holds no audio, or is missing; leave the pair out")
            if (info.sample_rate, info.channels) == (self.sample_rate, 1):
                lengths.append(info.frames)
        return min(lengths) if len(lengths) == len(files.signals) else None


def open_pairs(
    folder: Path, sample_rate: int, seed: int, split: str | None = None
) -> RecordedPairs:
    """Open pairs of recordings, or a dataset that `synthesize` or `import` wrote.

    Args:
        folder: with `air/` and `bone/`, where files belong together by equal relative paths, or
            with a manifest of its own, as a split of a dataset has; or a whole dataset.
        sample_rate: that the pairs get, in Hz, whatever the files have.
        seed: of the crops.
        split: of a dataset; all of its splits where None. Recordings have no splits.

    Raises:
        InputError: if the folder is none of these, or a pair cannot be used.
    """
    places = [folder, *(folder / name for name in SPLITS)]
    if split is not None or any((place / MANIFEST_NAME).is_file() for place in places):
        dataset = Dataset.open(folder)
        if split is not None and split not in dataset.manifests:
            manifest = folder / split / MANIFEST_NAME
            raise InputError(f"{manifest}: no such manifest; name a split that is there")
        splits = dataset.manifests if split is None else [split]
        files = [files_of(pair) for name in splits for pair in dataset.pairs(name)]
    else:
        for role in ("air", "bone"):
            if not (folder / role).is_dir():
                raise InputError(
                    f"{folder}: no folder {role!r} in it; give one with air/ and bone/, or a "
                    "dataset that synthesize or import wrote"
                )
        files, unmatched = find_pairs(folder / "air", folder / "bone")
        for reason in unmatched.values():
            log.warning("%s; left out", printable(reason))
    return RecordedPairs(files, sample_rate, seed)


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
        indices = [index for index, _ in picks]
        return self._render(indices, airs, clip_ids, num_samples, level)

    def whole(self, index: int) -> Pair:
        air, _ = read_audio(self.files[index], self.sample_rate)
        return self._render([index], [air], [self.ids[index]], len(air))[0]

    def _level(self, index: int) -> Tensor:
        """Return the RMS of active speech in the whole file, (1,)."""
        if index not in self._levels:
            self._levels[index] = speech_level(self.files[index], self.sample_rate)
        return self._levels[index]

    def _read(self, index: int, epoch: int, num_samples: int) -> NDArray[np.float64]:
        with open_audio(self.files[index]) as audio:
            if (audio.info.sample_rate, audio.info.channels) == (self.sample_rate, 1):
                start = self.crop_start(index, epoch, audio.info.frames, num_samples)
                return audio.read_segment(start, num_samples)
            air = audio.read(self.sample_rate)
        start = self.crop_start(index, epoch, len(air), num_samples)
        return air[start : start + num_samples]

    def _render(
        self,
        indices: Sequence[int],
        airs: Sequence[NDArray[np.float64]],
        clip_ids: Sequence[str],
        num_samples: int,
        level: Tensor | None = None,
    ) -> list[Pair]:
        """Return the pairs, of `num_samples` each, that the simulator makes of air as one batch."""
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
        signals = {"air": scene.air, "bone": scene.bone, "noisy_air": scene.noisy_air}
        padded = {name: pad(s, missing) for name, s in signals.items() if s is not None}
        return [
            Pair(
                self.ids[index],
                sample_rate=self.sample_rate,
                **{name: batch[row] for name, batch in padded.items()},
            )
            for row, index in enumerate(indices)
        ]


def _as_float32(samples: NDArray[np.float64], num_samples: int) -> Tensor:
    padded = np.zeros(num_samples, dtype=np.float32)
    padded[: len(samples)] = samples
    return torch.from_numpy(padded)
