"""Recorded pairs of which is taken out what the recorders did: offset, drift, jumps, polarity."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

import bcsim
from bcsim.audio.unchanging import read_pair
from bcsim.datasets.dataset import PairFiles
from bcsim.datasets.pairs import Pair, Pairs, RecordedPairs
from bcsim.errors import InputError
from bcsim.files.findings import collecting, note
from bcsim.files.hashing import hash_text
from bcsim.files.opening import FileState
from bcsim.files.paths import printable
from bcsim.fitting.alignment.align import Recorder, recorders_of
from bcsim.fitting.alignment.time_map import bone_on_air_clock, joined
from bcsim.fitting.diagnosis.diagnose import examine
from bcsim.progress import track
from bcsim.sensors.recorded_pair import RecordedPair
from bcsim.training.kept_recorders import Synchronisation
from bcsim.training.polarity import polarity_beside

VERSION = 1  # of what is found; another one finds other things in the same recordings
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
        kept: what was found earlier about sets of pairs, by the keys of the sets; of a set of the
            same recordings, no recording is read.
        beside: pairs that are trained on; where they are recordings, too, these get their polarity.

    Attributes:
        key: hash of the recordings, their names and how they are read.
        found: what was found about them.

    Raises:
        InputError: if no pair can be used; the message gives the first one's reason.
    """

    def __init__(
        self,
        recorded: RecordedPairs,
        kept: Mapping[str, Synchronisation] | None = None,
        beside: Pairs | None = None,
    ) -> None:
        beside = beside if isinstance(beside, SynchronisedPairs) else None
        files = recorded.pairs
        self.key = _key_of(recorded, beside)
        known = (kept or {}).get(self.key)
        unread = None if known is None else _unread(recorded, known)
        is_new = known is None or unread is None
        if known is None or unread is None:
            with collecting() as noticed:
                known, unread = _examined(recorded)
            known.findings.update({name: noticed.of(name) for name in noticed.by_name})
        for name, findings in known.findings.items():
            note(name, findings)
        found = known.recorders
        failures = {**unread, **known.refused}
        for reason in failures.values():
            log.warning("%s; left out", printable(reason))
        if not found:
            first = next(iter(failures.values()))
            raise InputError(f"none of {len(files)} recorded pairs can be used; {first}")
        usable = [index for index, name in enumerate(recorded.ids) if name in found]
        vars(self).update(vars(recorded.part(usable)))  # they are open already
        self.found = known
        self.failures = {**recorded.failures, **failures}
        self._recorders = [found[name] for name in self.ids]
        self._cache: dict[int, dict[str, NDArray[np.float64]]] = {}
        if is_new and beside is not None and polarity_beside(self, beside) < 0:
            self._turn_round()
        changed = sum(not recorder.is_neutral for recorder in self._recorders)
        if changed:
            log.warning(
                "offset, drift, jumps or polarity are taken out of %d of %d recorded pairs",
                changed,
                len(files),
            )

    def _turn_round(self) -> None:
        """Turn the polarity of all pairs but those that were rendered or are too short to time."""
        recorders = self.found.recorders
        for name, recorder in recorders.items():
            if recorder.parts:
                recorders[name] = replace(recorder, sign=-recorder.sign)
        self._recorders = [recorders[name] for name in self.ids]
        self._cache.clear()
        log.warning(
            "the polarity of %d recorded pairs, such as %s, is opposite to that of the pairs that "
            "are trained on: they are turned round; check the wiring",
            *(sum(bool(recorder.parts) for recorder in self._recorders), printable(self.ids[0])),
        )

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


def _key_of(recorded: RecordedPairs, beside: SynchronisedPairs | None) -> str:
    """Return a hash of all that decides what is found about the recorders of pairs."""
    pairs = [
        [pair.id, pair.is_rendered, *contents]
        for pair, contents in zip(recorded.pairs, recorded.contents, strict=True)
    ]
    channels = sorted(recorded.recorded_channels.items())
    other = None if beside is None else beside.key
    how = [VERSION, bcsim.__version__, recorded.sample_rate, channels, other]
    return hash_text(json.dumps([*how, pairs]))


def _unread(recorded: RecordedPairs, known: Synchronisation) -> dict[str, str] | None:
    """Return why pairs cannot be read of which nothing is known, or None if one can be read."""
    failures = {}
    for pair, states in zip(recorded.pairs, recorded.states, strict=True):
        if pair.id not in known.recorders and pair.id not in known.refused:
            try:
                _read(recorded, pair, states)
                return None
            except InputError as error:
                failures[pair.id] = str(error)
    return failures


def _read(
    recorded: RecordedPairs, pair: PairFiles, states: Mapping[str, FileState | None]
) -> RecordedPair:
    channels = recorded.recorded_channels
    read = read_pair(pair.files, recorded.sample_rate, channels, known=states)
    return RecordedPair(pair.id, read["air"].samples, read["bone"].samples, pair.speaker)


def _examined(recorded: RecordedPairs) -> tuple[Synchronisation, dict[str, str]]:
    """Return what the recorders did, and why some pairs cannot be read, by the pair's name."""
    found: dict[str, Recorder] = {}
    compared: dict[str, Recorder] = {}
    refused: dict[str, str] = {}
    unread: dict[str, str] = {}
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
        (pair, states)
        for pair, states in zip(recorded.pairs, recorded.states, strict=True)
        if not pair.is_rendered
    ]
    for pair, states in track(files, len(files), "synchronising"):
        try:
            both = _read(recorded, pair, states)
        except InputError as error:
            unread[pair.id] = str(error)
            continue
        examined = examine(both, sample_rate)
        if examined.refusal is not None and examined.refusal.kind == "malformed":
            log.warning("%s: %s; taken as it is", printable(pair.id), examined.refusal.text)
            found[pair.id] = AS_RECORDED
            continue
        if examined.refusal is not None or examined.timing is None:
            reason = examined.refusal.text if examined.refusal else "nothing to be timed"
            refused[pair.id] = f"{pair.id}: {reason}"
            continue
        batch.append(both)
        timings.append(examined.timing)
        seconds += len(both.air) / sample_rate
        if seconds > BATCH_S:
            compare()
            seconds = 0.0
    compare()
    most = -1 if sum(recorder.sign for recorder in compared.values()) < 0 else 1
    for name, recorder in compared.items():
        found[name] = replace(recorder, sign=most * recorder.sign)
    return Synchronisation(found, refused), unread
