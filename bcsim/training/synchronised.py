"""Recorded pairs of which is taken out what the recorders did: offset, drift, jumps, polarity."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from bcsim.audio.unchanging import read_pair
from bcsim.datasets.pairs import Pair, RecordedPairs
from bcsim.errors import InputError
from bcsim.files.paths import printable
from bcsim.fitting.alignment.align import Recorder, recorders_of
from bcsim.fitting.alignment.time_map import bone_on_air_clock, joined
from bcsim.fitting.diagnosis.diagnose import examine
from bcsim.progress import track
from bcsim.sensors.recorded_pair import RecordedPair

SHARED_PAIRS = 8  # of neighbouring batches, which tell whether both have the same polarity
BATCH_S = 1800.0  # of recordings that are in memory while they are compared
CACHED_SAMPLES = 1 << 26  # of synchronised signals that are kept in memory

AS_RECORDED = Recorder((), 1)  # too short to be timed

log = logging.getLogger(__name__)


class SynchronisedPairs(RecordedPairs):
    """Recorded pairs, synchronised as `fit_pairs` does it before it fits.

    What is the sensor's own stays: its delay of some milliseconds, and its polarity. Pairs that
    cannot be used are left out with a warning. Pairs that were rendered stay as they are.

    Args:
        recorded: pairs as they were recorded.

    Raises:
        InputError: if no pair can be used; the message gives the first one's reason.
    """

    def __init__(self, recorded: RecordedPairs) -> None:
        files = recorded.pairs
        found, failures = _examined(recorded)
        for reason in failures.values():
            log.warning("%s; left out", printable(reason))
        if not found:
            first = next(iter(failures.values()))
            raise InputError(f"none of {len(files)} recorded pairs can be used; {first}")
        usable = [index for index, name in enumerate(recorded.ids) if name in found]
        vars(self).update(vars(recorded.part(usable)))  # they are open already
        self.failures = {**recorded.failures, **failures}
        self._recorders = [found[name] for name in self.ids]
        changed = sum(not recorder.is_neutral for recorder in self._recorders)
        if changed:
            log.warning(
                "offset, drift, jumps or polarity are taken out of %d of %d recorded pairs",
                changed,
                len(files),
            )
        self._cache: dict[int, dict[str, NDArray[np.float64]]] = {}

    def part(self, indices: Sequence[int]) -> Self:
        part = super().part(indices)
        part._recorders = [self._recorders[index] for index in indices]
        part._cache = {}
        return part

    def crop(self, index: int, epoch: int, num_samples: int) -> Pair:
        if self._recorders[index].is_neutral:
            return super().crop(index, epoch, num_samples)
        signals = self._decode(index)
        start = self.crop_start(index, epoch, len(signals["air"]), num_samples)
        cropped = {name: signal[start : start + num_samples] for name, signal in signals.items()}
        return self._padded(index, cropped, num_samples)

    def _decode(self, index: int) -> dict[str, NDArray[np.float64]]:
        recorder = self._recorders[index]
        if recorder.is_neutral:
            return super()._decode(index)
        if index not in self._cache or not self._wanted(index).keys() <= self._cache[index].keys():
            kept = sum(len(s) for signals in self._cache.values() for s in signals.values())
            if kept > CACHED_SAMPLES:
                self._cache.clear()
            read = self._read_whole(index)
            signals = {name: torch.from_numpy(samples) for name, samples in read.items()}
            self._cache[index] = _synchronised_signals(signals, recorder, self.sample_rate)
        return self._cache[index]


def _synchronised_signals(
    signals: dict[str, torch.Tensor], recorder: Recorder, sample_rate: int
) -> dict[str, NDArray[np.float64]]:
    """Return the signals of a pair, each cut and joined; bone on air's clock and upright."""
    changed = {}
    for name, signal in signals.items():
        if name == "bone":
            parts = [recorder.sign * bone_on_air_clock(signal, part) for part in recorder.parts]
        else:
            parts = [signal[part.start : part.stop] for part in recorder.parts]
        changed[name] = joined(parts, sample_rate)[:].numpy()
    return changed


def _examined(recorded: RecordedPairs) -> tuple[dict[str, Recorder], dict[str, str]]:
    """Return what the recorders did, and why other pairs cannot be used, by the pair's name."""
    found: dict[str, Recorder] = {}
    compared: dict[str, Recorder] = {}
    failures: dict[str, str] = {}
    batch: list[RecordedPair] = []
    timings = []

    def compare() -> None:
        names = [pair.name for pair in batch]
        if not set(names) <= set(compared):
            recorders = dict(zip(names, recorders_of(batch, sample_rate, timings)[0], strict=True))
            shared = [
                compared[name].sign * recorders[name].sign for name in names if name in compared
            ]
            turn = -1 if sum(shared) < 0 else 1
            for name, recorder in recorders.items():
                compared.setdefault(name, replace(recorder, sign=turn * recorder.sign))
            del batch[:-SHARED_PAIRS], timings[:-SHARED_PAIRS]

    seconds, sample_rate = 0.0, recorded.sample_rate
    found.update((pair.id, AS_RECORDED) for pair in recorded.pairs if pair.is_rendered)
    files = [
        (pair, known)
        for pair, known in zip(recorded.pairs, recorded.states, strict=True)
        if not pair.is_rendered
    ]
    for pair, known in track(files, len(files), "synchronising"):
        try:
            read = read_pair(pair.files, sample_rate, recorded.recorded_channels, known=known)
        except InputError as error:
            failures[pair.id] = str(error)
            continue
        air, bone = read["air"].samples, read["bone"].samples
        both = RecordedPair(pair.id, air, bone, pair.speaker)
        examined = examine(both, sample_rate)
        if examined.refusal is not None and examined.refusal.kind == "malformed":
            log.warning("%s: %s; taken as it is", printable(pair.id), examined.refusal.text)
            found[pair.id] = AS_RECORDED
            continue
        if examined.refusal is not None or examined.timing is None:
            reason = examined.refusal.text if examined.refusal else "nothing to be timed"
            failures[pair.id] = f"{pair.id}: {reason}"
            continue
        batch.append(both)
        timings.append(examined.timing)
        seconds += len(air) / sample_rate
        if seconds > BATCH_S:
            compare()
            seconds = 0.0
    compare()
    most = -1 if sum(recorder.sign for recorder in compared.values()) < 0 else 1
    for name, recorder in compared.items():
        found[name] = replace(recorder, sign=most * recorder.sign)
    return found, failures
