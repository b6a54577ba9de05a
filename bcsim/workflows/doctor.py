"""`bcsim doctor`: what is wrong with paired recordings, before anything is fitted to them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

import bcsim
from bcsim.audio.read import read_audio
from bcsim.datasets.recordings import find_pairs, read_recordings
from bcsim.errors import InputError
from bcsim.fitting.diagnosis.diagnose import PairDiagnosis, diagnose

DEFAULT_RATE_HZ = 16_000
ALL_SWAPPED = "all pairs are swapped: exchange --air and --bone"


@dataclass(frozen=True, eq=False)
class Checkup:
    """The diagnosis of a set of recordings.

    Args:
        sample_rate: at which they were looked at, in Hz.
        pairs: the diagnosis of each pair that could be read.
        failures: files that have no partner or cannot be read, and why.
        summary: sentences about all of them.
    """

    sample_rate: int
    pairs: list[PairDiagnosis]
    failures: dict[str, str]
    summary: list[str]

    @property
    def verdict(self) -> str:
        """Return `ok`, `warning` or `unusable`: that of the worst pair."""
        verdicts = {pair.verdict for pair in self.pairs} | (
            {"unusable"} if self.failures else set()
        )
        return next((word for word in ("unusable", "warning") if word in verdicts), "ok")

    @property
    def all_swapped(self) -> bool:
        """Tell whether each of several pairs has its roles exchanged."""
        return _all_swapped(self.pairs)

    def facts(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {
            "verdict": self.verdict,
            "summary": self.summary,
            "sample_rate": self.sample_rate,
            "pairs": [
                {
                    "name": pair.name,
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


def doctor(air: str | Path, bone: str | Path, sample_rate: int | None = None) -> Checkup:
    """Examine all pairs of recordings in two folders.

    Args:
        air: file or folder of the air microphone.
        bone: file or folder of the sensor.
        sample_rate: that recordings are brought to, in Hz; None for the rate that most of them
            have. Only at its own rate does a recording show how it was clipped.

    Raises:
        InputError: if there is no pair that can be read.
    """
    air, bone = Path(air), Path(bone)
    rate = sample_rate or _own_rate(air, bone)
    pairs, failures = read_recordings(air, bone, rate)
    diagnoses = diagnose(pairs, rate)
    return Checkup(rate, diagnoses, failures, summary(diagnoses, failures))


def versions() -> dict[str, str]:
    """Return the versions of what reads audio and computes, as they are in this process.

    libsndfile, which decodes files that strangers may have written, is bundled with soundfile.
    """
    return {
        "bcsim": bcsim.__version__,
        "torch": torch.__version__,
        "soundfile": soundfile.__version__,
        "libsndfile": soundfile.__libsndfile_version__,
    }


def summary(diagnoses: Sequence[PairDiagnosis], failures: dict[str, str]) -> list[str]:
    """Return what there is to say about all pairs together."""
    verdicts = Counter(pair.verdict for pair in diagnoses)
    words = {"ok": "fine", "warning": "usable with warnings", "unusable": "unusable"}
    counts = [f"{verdicts[key]} {word}" for key, word in words.items() if verdicts[key]]
    sentences = [ALL_SWAPPED] if _all_swapped(diagnoses) else []
    sentences.append(f"{len(diagnoses)} pairs: {', '.join(counts)}")
    if failures:
        sentences.append(f"{len(failures)} files or pairs could not be read or have no partner")
    known = [pair for pair in diagnoses if pair.delay_s is not None]
    if known:
        delays_ms = [1e3 * pair.delay_s for pair in known if pair.delay_s is not None]
        spread = f", {min(delays_ms):+.2f} to {max(delays_ms):+.2f}" if len(known) > 1 else ""
        sentences.append(f"delay of bone {np.median(delays_ms):+.2f} ms{spread}")
        drifts = [pair.drift_ppm for pair in known if pair.drift_ppm]
        if drifts:
            sentences.append(
                f"clock drift {np.median(drifts):+.0f} ppm in {len(drifts)} of {len(known)} pairs"
            )
    return sentences


def _all_swapped(diagnoses: Sequence[PairDiagnosis]) -> bool:
    return len(diagnoses) > 1 and all(
        any(finding.kind == "swapped" for finding in pair.findings) for pair in diagnoses
    )


def _own_rate(air: Path, bone: Path) -> int:
    """Return the rate that most of the recordings have, the lower one of each pair."""
    found, _ = find_pairs(air, bone)
    rates: Counter[int] = Counter()
    for pair in found:
        try:
            rates[min(read_audio(pair.files[role])[1] for role in ("air", "bone"))] += 1
        except InputError:
            continue  # named when the recordings are read
    return max(rates, key=lambda rate: (rates[rate], rate), default=DEFAULT_RATE_HZ)
