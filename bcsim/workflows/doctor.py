"""`bcsim doctor`: what is wrong with paired recordings, before anything is fitted to them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

import bcsim
from bcsim.audio.infos import audio_infos
from bcsim.datasets.dataset import PairFiles
from bcsim.datasets.recordings import find_pairs, read_found
from bcsim.dsp.signals import check_rate
from bcsim.files.findings import Finding
from bcsim.fitting.diagnosis.diagnose import PairDiagnosis, diagnose
from bcsim.workers.heap import give_large_arrays_back

DEFAULT_RATE_HZ = 16_000
MAX_EQUAL = 3  # equal findings that are named pair by pair
ALL_SWAPPED = "all pairs are swapped: exchange the air and bone recordings"


@dataclass(frozen=True, eq=False)
class Checkup:
    """The diagnosis of a set of recordings.

    Args:
        sample_rate: sample rate in Hz at which the recordings were examined.
        pairs: diagnosis of each pair that could be read.
        failures: files that have no partner or cannot be read, and why.
        files: air file and bone file by the name of a pair.
    """

    sample_rate: int
    pairs: list[PairDiagnosis]
    failures: dict[str, str]
    files: dict[str, tuple[str, str]]

    @property
    def verdict(self) -> str:
        """The verdict on the worst pair: `ok`, `warning` or `unusable`."""
        verdicts = {pair.verdict for pair in self.pairs}
        if self.failures or "unusable" in verdicts:
            return "unusable"
        return "warning" if "warning" in verdicts else "ok"

    @property
    def all_swapped(self) -> bool:
        """Whether air and bone are exchanged in each of several pairs."""
        return len(self.pairs) > 1 and all(
            any(finding.kind == "swapped" for finding in pair.findings) for pair in self.pairs
        )

    @property
    def repeated(self) -> dict[tuple[str, str | None, str], list[tuple[str, Finding]]]:
        """Findings that more than three pairs share, by kind, channel and remedy.

        Each is a list of the pairs' names with what was found there; roles that are swapped in
        all pairs are told by `all_swapped`.
        """
        found: dict[tuple[str, str | None, str], list[tuple[str, Finding]]] = {}
        for pair in self.pairs:
            for finding in pair.findings:
                key = (finding.kind, finding.channel, finding.remedy)
                found.setdefault(key, []).append((pair.name, finding))
        return {
            key: rows for key, rows in found.items() if len({name for name, _ in rows}) > MAX_EQUAL
        }

    @property
    def summary(self) -> list[str]:
        """Sentences about all pairs together."""
        verdicts = Counter(pair.verdict for pair in self.pairs)
        words = {"ok": "fine", "warning": "usable with warnings", "unusable": "unusable"}
        counts = [f"{verdicts[key]} {word}" for key, word in words.items() if verdicts[key]]
        sentences = [ALL_SWAPPED] if self.all_swapped else []
        sentences.append(f"{len(self.pairs)} pairs: {', '.join(counts)}")
        if self.failures:
            count = len(self.failures)
            sentences.append(f"{count} files or pairs could not be read or have no partner")
        delays_ms = [1e3 * pair.delay_s for pair in self.pairs if pair.delay_s is not None]
        if delays_ms:
            many = len(delays_ms) > 1
            spread = f", {min(delays_ms):+.2f} to {max(delays_ms):+.2f}" if many else ""
            sentences.append(f"delay of bone {np.median(delays_ms):+.2f} ms{spread}")
        drifts = [pair.drift_ppm for pair in self.pairs if pair.drift_ppm]
        if drifts:
            median = f"{np.median(drifts):+.0f} ppm"
            sentences.append(f"clock drift {median} in {len(drifts)} of {len(delays_ms)} pairs")
        return sentences

    def facts(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {
            "verdict": self.verdict,
            "summary": self.summary,
            "sample_rate": self.sample_rate,
            "pairs": [
                {
                    "name": pair.name,
                    "air": self.files[pair.name][0],
                    "bone": self.files[pair.name][1],
                    "verdict": pair.verdict,
                    "delay_ms": None if pair.delay_s is None else round(1e3 * pair.delay_s, 3),
                    "drift_ppm": pair.drift_ppm,
                    "coherence": None if pair.coherence is None else round(pair.coherence, 3),
                    "findings": [asdict(finding) for finding in pair.findings],
                }
                for pair in self.pairs
            ],
            "failures": self.failures,
            "versions": versions(),
        }


def doctor(
    air: str | Path,
    bone: str | Path,
    sample_rate: int | None = None,
    talkers: Path | None = None,
    channels: Mapping[str, str] | None = None,
) -> Checkup:
    """Examine all pairs of recordings in two folders, or however `find_pairs` finds them.

    Args:
        air: file, folder or pattern of the air microphone; or a folder or list of pairs.
        bone: file, folder or pattern of the sensor; or the same folder or list.
        sample_rate: sample rate in Hz to which recordings are resampled; None for the rate that
            most of them have. Clipping shows only at the rate at which a recording was made.
        talkers: table of who speaks in which recording, which is checked against the files.
        channels: channel of "air" and "bone", where files have several.

    Raises:
        InputError: if there is no pair that can be read.
    """
    if sample_rate is not None:
        check_rate(sample_rate)
    found, unmatched = find_pairs(Path(air), Path(bone), talkers, channels)
    rate = _own_rate(found) if sample_rate is None else sample_rate
    give_large_arrays_back()
    pairs, failures = read_found(found, unmatched, rate, channels)
    files = {pair.name: pair.files for pair in pairs if pair.files is not None}
    noticed = {pair.name: pair.findings for pair in pairs}
    diagnoses = [_with_own(pair, noticed[pair.name]) for pair in diagnose(pairs, rate)]
    return Checkup(rate, diagnoses, failures, files)


def _with_own(pair: PairDiagnosis, noticed: Sequence[Finding]) -> PairDiagnosis:
    """Return a diagnosis with what was noticed about the files of a usable pair."""
    if pair.verdict == "unusable":  # what else is wrong may follow from it
        return pair
    known = {(finding.kind, finding.channel) for finding in pair.findings}
    own = [finding for finding in noticed if (finding.kind, finding.channel) not in known]
    return replace(pair, findings=(*pair.findings, *own))


def versions() -> dict[str, str]:
    """Return the versions of what computes and decodes audio; libsndfile comes with soundfile."""
    return {
        "bcsim": bcsim.__version__,
        "torch": torch.__version__,
        "soundfile": soundfile.__version__,
        "libsndfile": soundfile.__libsndfile_version__,
    }


def _own_rate(found: Sequence[PairFiles]) -> int:
    """Return the rate that most of the recordings have, the lower one of each pair."""
    rates: Counter[int] = Counter()
    for pair in found:
        infos = audio_infos(pair.files[role] for role in ("air", "bone"))
        if None not in infos:  # named when the recordings are read
            rates[min(info.sample_rate for info in infos if info is not None)] += 1
    return max(rates, key=lambda rate: (rates[rate], rate), default=DEFAULT_RATE_HZ)
