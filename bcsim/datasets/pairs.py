"""Pairs for training: from a dataset on disk, recorded, or rendered as they are asked for.

What an item is depends on the seed, the epoch and the item's id alone, so loading in another
order, with other workers or after a restart gives the same numbers.
"""

import copy
import logging
import os
from abc import ABC, abstractmethod
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bcsim.audio.read import open_audio, read_segment
from bcsim.audio.unchanging import read_pair
from bcsim.datasets.dataset import PairFiles, read_rows
from bcsim.datasets.manifest import MANIFEST_NAME, PairRow, file_beneath
from bcsim.datasets.pairing import ROLES
from bcsim.datasets.recordings import chosen_channels, find_pairs
from bcsim.datasets.split_names import split_of_folder
from bcsim.errors import InputError
from bcsim.files.hashing import hash_files
from bcsim.files.opening import FileState, state_of
from bcsim.files.paths import printable
from bcsim.files.text import shown
from bcsim.progress import track
from bcsim.rng import stream
from bcsim.workers.pool import num_cores

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

    @property
    def microphone(self) -> Tensor:
        """What the air microphone picks up, (T,)."""
        return self.air if self.noisy_air is None else self.noisy_air

    def inputs(self, channels: Sequence[str]) -> Tensor:
        """Return the input of a network, (C, T).

        Args:
            channels: what each of the C channels is: "bone", or "air", the noisy air microphone.
        """
        signals = {"bone": self.bone, "air": self.microphone}
        return torch.stack([signals[channel] for channel in channels])


class Pairs(ABC):
    """An ordered collection of pairs.

    Args:
        ids: names of the pairs.
        sample_rate: sample rate of all pairs in Hz.
        seed: root seed of crops and of everything that a simulator draws.

    Attributes:
        failures: reasons why files and pairs are left out, by their names.
        channels: channels that a network takes from the pairs (`Pair.inputs`); `noisy_air` is read
            from disk only if "air" is one of them.
        simulated_s: time that simulating has taken so far, in seconds.
    """

    channels: tuple[str, ...] = ("bone",)

    def __init__(self, ids: Sequence[str], sample_rate: int, seed: int) -> None:
        self.ids = list(ids)
        self.sample_rate = sample_rate
        self.seed = seed
        self.simulated_s = 0.0
        self.failures: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def with_channels(self, channels: tuple[str, ...]) -> Self:
        """Return the same pairs for a network that takes other channels."""
        pairs = copy.copy(self)
        pairs.channels = channels
        return pairs

    def _is_read(self, signal: str) -> bool:
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

    def num_without_noise(self, num_samples: int) -> int:
        """Return the number of pairs in which the air microphone picks up `air` and nothing else.

        Unless each pair says so by itself, the crop of the first one speaks for all.
        """
        pair = self.with_channels(("bone", "air")).crop(0, 0, num_samples)
        return len(self) if pair.noisy_air is None else 0

    def _padded(
        self, index: int, signals: Mapping[str, NDArray[np.float64]], num_samples: int
    ) -> Pair:
        """Return signals as the pair at `index`, with zeros behind up to `num_samples`."""
        padded = {name: as_float32(signal, num_samples) for name, signal in signals.items()}
        return Pair(self.ids[index], sample_rate=self.sample_rate, **padded)


class StoredPairs(Pairs):
    """The pairs of one split of a dataset that `synthesize` wrote.

    Args:
        folder: folder of the dataset.
        split: "train", "validation" or "test".
        sample_rate: sample rate in Hz that the pairs must have.
        seed: root seed of the crops.

    Attributes:
        file_names: names of the files of each pair by signal, below the folder of the split. Whole
            rows would take ten times the memory.
        are_rendered: whether `synthesize` rendered all of the pairs.

    Raises:
        InputError: naming file and line, if the manifest is missing, empty, of another sample
            rate, or names a file that is not there.
    """

    def __init__(self, folder: Path, split: str, sample_rate: int, seed: int) -> None:
        path = folder / split / MANIFEST_NAME
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; give the one that synthesize wrote")
        self.folder = folder / split
        self.file_names: list[dict[str, str]] = []
        self.are_rendered = True
        self._durations_s = array("d")
        # What is cropped out of them has to be of the files as they are now: size and time of each.
        self._states, self._first_states = array("q"), array("q")
        ids: list[str] = []
        for number, row in enumerate(read_rows(path), start=1):
            if row.sample_rate != sample_rate:
                raise InputError(
                    f"{path} line {number}: pairs are {row.sample_rate} Hz, the recipe wants "
                    f"{sample_rate}; rerun synthesize, or set sample_rate"
                )
            self._first_states.append(len(self._states))
            try:
                for name in row.file_names.values():
                    self._states.extend(state_of(self.folder / name))
            except (OSError, ValueError) as error:  # a name may be too long, or hold a NUL
                raise InputError(
                    f"{path} line {number}: {_missing(self.folder, row)} is missing; run "
                    "synthesize again"
                ) from error
            ids.append(row.id)
            self.file_names.append(row.file_names)
            self._durations_s.append(row.duration_s)
            self.are_rendered = self.are_rendered and row.is_rendered
        if not ids:
            raise InputError(f"{path}: lists no pairs")
        super().__init__(ids, sample_rate, seed)

    def crop(self, index: int, epoch: int, num_samples: int) -> Pair:
        start = self.crop_start(index, epoch, self._total(index), num_samples)
        return self._read(index, start, num_samples)

    def whole(self, index: int) -> Pair:
        return self._read(index, 0, self._total(index))

    def num_without_noise(self, num_samples: int) -> int:
        return sum("noisy_air" not in names for names in self.file_names)

    def _total(self, index: int) -> int:
        return round(self._durations_s[index] * self.sample_rate)

    def _state(self, index: int, place: int) -> FileState:
        """Return the state of one of the files of a pair, by its place among them."""
        first = self._first_states[index] + 2 * place
        return self._states[first], self._states[first + 1]

    def _read(self, index: int, start: int, num_samples: int) -> Pair:
        # Looked for again: a link may have come to lead elsewhere since the manifest was read.
        signals = {
            signal: read_segment(
                file_beneath(self.folder, name), start, num_samples, known=self._state(index, place)
            )
            for place, (signal, name) in enumerate(self.file_names[index].items())
            if self._is_read(signal)
        }
        return self._padded(index, signals, num_samples)


class RecordedPairs(Pairs):
    """Pairs of files of any rate, as they were recorded: delay and polarity stay what they are.

    Files of another rate, or of several channels that are averaged, are read as a whole whenever
    they are asked for. A pair that the header of a file tells to be unusable is left out.

    Args:
        pairs: files of the pairs, which have different ids.
        sample_rate: sample rate in Hz that the pairs get.
        seed: root seed of the crops.
        channels: index of the channel of "air" and "bone", from 0; None to average all.

    Attributes:
        pairs: files of the pairs that can be used.
        states: state that the files of each pair had when they were opened first, by signal: what
            is read of them has to be of one content.

    Raises:
        InputError: if there are none that can be used, or two have the same id.
    """

    def __init__(
        self,
        pairs: Sequence[PairFiles],
        sample_rate: int,
        seed: int,
        channels: Mapping[str, int | None] | None = None,
    ) -> None:
        if not pairs:
            raise InputError("there are no pairs of recordings")
        names = [pair.id for pair in pairs]
        twice = next((name for name, after in pairwise(sorted(names)) if name == after), None)
        if twice is not None:
            raise InputError(f"two pairs are called '{shown(twice)}'; rename one")
        super().__init__([], sample_rate, seed)
        self.pairs: list[PairFiles] = []
        self.recorded_channels = dict(channels or {})
        # Samples to cut from a file as it is; None where it has to be decoded as a whole.
        self._num_samples: list[int | None] = []
        self.states: list[dict[str, FileState | None]] = []
        for pair in pairs:
            try:
                num_samples, states = self._look_at(pair.files)
            except InputError as error:
                self.failures[pair.id] = str(error)
                log.warning("%s; left out", printable(str(error)))
                continue
            self.ids.append(pair.id)
            self.pairs.append(pair)
            self._num_samples.append(num_samples)
            self.states.append(states)
        if not self.pairs:
            first = next(iter(self.failures.values()))
            raise InputError(f"none of {len(pairs)} recorded pairs can be used; first: {first}")

    def crop(self, index: int, epoch: int, num_samples: int) -> Pair:
        total = self._num_samples[index]
        if total is not None:
            start = self.crop_start(index, epoch, total, num_samples)
            end = min(start + num_samples, total)
            signals = {
                name: read_segment(
                    *(path, start, end - start, self.recorded_channels.get(name) or 0),
                    known=self.states[index][name],
                )
                for name, path in self._wanted(index).items()
            }
        else:
            decoded = self._decode(index)
            start = self.crop_start(index, epoch, len(decoded["air"]), num_samples)
            signals = {name: s[start : start + num_samples] for name, s in decoded.items()}
        return self._padded(index, signals, num_samples)

    def whole(self, index: int) -> Pair:
        signals = self._decode(index)
        return self._padded(index, signals, len(signals["air"]))

    def by_split(self) -> dict[str, Self]:
        """Return the pairs by split, where folders tell; none of them where none does.

        They do where the first folder of every name is called like a split: `train`, `dev`, ...

        Raises:
            InputError: if there are several splits, and pairs in none of them.
        """
        members: dict[str, list[int]] = {}
        others = []
        for index, name in enumerate(self.ids):
            folder = name.split("/")[0] if "/" in name else ""
            split = split_of_folder(folder)
            (others if split is None else members.setdefault(split, [])).append(index)
        if others and members:
            told = f"{len(others)} pairs lie in none of the splits, such as {self.ids[others[0]]}"
            if len(members) > 1:
                raise InputError(f"{told}; move them, or rename the folders of the splits")
            log.warning("%s: all are taken alike", printable(told))
            return {}
        return {split: self.part(indices) for split, indices in members.items()}

    @cached_property
    def contents(self) -> list[tuple[str, str]]:
        """SHA-256 of the air and of the bone file of each pair."""
        digests = contents_of([pair.files[role] for pair in self.pairs for role in ROLES])
        return [*zip(digests[::2], digests[1::2], strict=True)]

    def part(self, indices: Sequence[int]) -> Self:
        """Return the pairs at some indices; their files are not opened again."""
        part = copy.copy(self)
        if "contents" in vars(self):  # or they are hashed when somebody asks
            part.contents = [self.contents[index] for index in indices]
        part.ids = [self.ids[index] for index in indices]
        part.pairs = [self.pairs[index] for index in indices]
        part._num_samples = [self._num_samples[index] for index in indices]
        part.states = [self.states[index] for index in indices]
        return part

    def num_without_noise(self, num_samples: int) -> int:
        return sum("noisy_air" not in pair.files for pair in self.pairs)

    def _wanted(self, index: int) -> dict[str, Path]:
        """Return the files of a pair that are read, by signal."""
        return {name: path for name, path in self.pairs[index].files.items() if self._is_read(name)}

    def _decode(self, index: int) -> dict[str, NDArray[np.float64]]:
        """Return the whole signals, cut to the shortest."""
        signals = self._read_whole(index)
        overlap = min(map(len, signals.values()))
        return {name: signal[:overlap] for name, signal in signals.items()}

    def _read_whole(self, index: int) -> dict[str, NDArray[np.float64]]:
        """Return the whole signals as they were recorded, at the rate of the pairs."""
        wanted, known = self._wanted(index), self.states[index]
        read = read_pair(wanted, self.sample_rate, self.recorded_channels, known=known)
        return {
            name: recording.samples.astype(np.float64, copy=False)
            for name, recording in read.items()
        }

    def _look_at(self, files: Mapping[str, Path]) -> tuple[int | None, dict[str, FileState | None]]:
        """Return the length that all files have, where crops of them are pairs, and their states.

        Raises:
            InputError: if a header tells that a file cannot be used, or it lacks the channel.
        """
        lengths: list[int] = []
        states: dict[str, FileState | None] = {}
        for name, path in files.items():
            channel = self.recorded_channels.get(name)
            with open_audio(path) as audio:
                audio.check_header()
                info, states[name] = audio.info, audio.state
            if channel is not None and channel >= info.channels:
                raise InputError(f"{path}: has no channel {channel + 1}")
            is_one = info.channels == 1 or channel is not None
            if is_one and info.sample_rate == self.sample_rate:
                lengths.append(info.frames)
        return min(lengths) if len(lengths) == len(files) else None, states


def open_pairs(
    folder: Path,
    sample_rate: int,
    seed: int,
    split: str | None = None,
    channels: Mapping[str, str] | None = None,
    bone: Path | None = None,
    talkers: Path | None = None,
) -> RecordedPairs:
    """Open pairs of recordings, or a dataset that `synthesize` or `import` wrote.

    Args:
        folder: folder or list of pairs, or a dataset; with `bone`, recordings of the air microphone
            (`find_pairs`).
        sample_rate: sample rate in Hz that the pairs get.
        seed: root seed of the crops.
        split: split of a dataset; None for all of its splits. Recordings have no splits.
        channels: channel of "air" and "bone", where files have several.
        bone: recordings of the sensor, given like those of the air microphone.
        talkers: table of the talkers.

    Raises:
        InputError: if the folder is none of these, or a pair cannot be used.
    """
    pairs, unmatched = find_pairs(folder, bone or folder, talkers, channels, split)
    for reason in unmatched.values():
        log.warning("%s; left out", printable(reason))
    recorded = RecordedPairs(pairs, sample_rate, seed, chosen_channels(pairs, channels))
    recorded.failures = {**unmatched, **recorded.failures}
    return recorded


def contents_of(paths: Sequence[Path]) -> list[str]:
    """Return the SHA-256 of each file, "-" for what cannot be read."""
    digests = track(hash_files(paths, num_cores()), len(paths), "hashing")
    return [digest or "-" for digest in digests]


def _missing(folder: Path, row: PairRow) -> str:
    """Return the first file of a pair that is not there, for messages."""
    there = (name for name in row.file_names.values() if not os.path.isfile(folder / name))
    return shown(next(there, row.id))


def as_float32(samples: NDArray[np.float64], num_samples: int) -> Tensor:
    """Return samples (T,) in single precision, (num_samples,), with zeros behind."""
    padded = np.zeros(num_samples, dtype=np.float32)
    padded[: len(samples)] = samples
    return torch.from_numpy(padded)
