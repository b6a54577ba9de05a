"""What is to be said of the pairs of a dataset when it is done, counted from the rows' `measured`.

The rows hold it, so that a run that was continued, or joined from shards, says the same as one that
was never interrupted.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bcsim.files.findings import NUM_NAMED, kind_line
from bcsim.files.text import shown

FAINT_DBFS = -50.0  # peak; of 16 bits, half are left
CLIPPED_DBFS = 0.09  # peak that is audibly clipped in fixed point
SNR_TOLERANCE_DB = 3.0  # by which noise may be fainter than asked before it is worth a word


@dataclass
class _Kind:
    """Pairs of which the same is to be said: their number, the first one, the largest value."""

    count: int = 0
    first: str = ""
    most: float = -math.inf


@dataclass
class _Noticed:
    """Recordings of which the same was noticed: their number, the first names, the first text."""

    text: str
    remedy: str
    count: int = 0
    names: list[str] = field(default_factory=list)


_TWICE = {
    "kind": "duplicate",
    "text": "is the same file as another recording",
    "remedy": "leave one of them out, lest one be in training and the other in validation",
}


@dataclass
class Remarks:
    """Counts what came about in a dataset and is not what its author may expect.

    Args:
        sample_rate: sample rate of the pairs in Hz.
        clips: whether the files clip what exceeds full scale, as fixed point does.
        recorded_steps: names of the steps whose noise is as loud as it was recorded; no SNR is
            asked of them.
    """

    sample_rate: int
    clips: bool = True
    recorded_steps: frozenset[str] = frozenset()
    num_pairs: int = 0
    _kinds: dict[str, _Kind] = field(default_factory=dict)
    _noticed: dict[str, _Noticed] = field(default_factory=dict)
    _sources: set[int] = field(default_factory=set)  # eight bytes of the SHA-256 of each

    @classmethod
    def of_recipe(cls, recipe: Mapping[str, Any]) -> "Remarks":
        """Return empty counts for the pairs of a resolved recipe."""
        steps, seen = set(), dict[str, int]()
        effects = recipe.get("effects")
        for spec in effects if isinstance(effects, list) else ():
            if isinstance(spec, dict):
                name = str(spec.get("name"))
                seen[name] = seen.get(name, 0) + 1
                if spec.get("level") == "recorded":
                    steps.add(name if seen[name] == 1 else f"{name}#{seen[name]}")
        audio = recipe.get("audio")
        is_float = isinstance(audio, dict) and audio.get("subtype") == "FLOAT"
        return cls(recipe["sample_rate"], not is_float, frozenset(steps))

    def add(self, row: Mapping[str, Any]) -> list[dict[str, str]]:
        """Count one row of a manifest, as JSON holds it; return the findings of its recording."""
        self.num_pairs += 1
        self._count_measured(row)
        findings = [*(row.get("findings") or ())]
        source = int(str(row.get("source_sha256") or "0")[:16], 16)
        if source and source in self._sources:
            findings.append(_TWICE)
        self._sources.add(source)
        for found in findings:
            fresh = _Noticed(found["text"], found["remedy"])
            noticed = self._noticed.setdefault(found["kind"], fresh)
            noticed.count += 1
            if noticed.count <= NUM_NAMED:
                noticed.names.append(str(row.get("source")))
        return findings

    def _count_measured(self, row: Mapping[str, Any]) -> None:
        drawn = row.get("drawn") or {}
        for name, value in (row.get("measured") or {}).items():
            step, _, quantity = name.rpartition(".")
            if quantity == "peak_dbfs":
                if value is None or value < FAINT_DBFS:
                    self._count(f"{step} faint", row)
                elif value > CLIPPED_DBFS and self.clips:
                    self._count(f"{step} clipped", row)
            elif quantity == "bandwidth_hz":
                if value is not None and value < self.sample_rate / 2:
                    self._count("narrow", row, -value)
            elif quantity == "snr_db" and value is None:
                self._count("without noise", row)
            elif quantity == "snr_db" and step not in self.recorded_steps:
                draw = drawn.get(step)
                asked = draw.get("snr_db") if isinstance(draw, dict) else None
                if isinstance(asked, float) and value - asked > SNR_TOLERANCE_DB:
                    self._count("faint noise", row, value - asked)

    def lines(self) -> list[str]:
        """Return what is to be said, a line for each kind of remark."""
        return [
            f"{kind.count} of {self.num_pairs} pairs {self._text(name, kind)} (first: {kind.first})"
            for name, kind in sorted(self._kinds.items())
        ] + [
            kind_line(kind, found.count, found.names, found.text, found.remedy)
            for kind, found in sorted(self._noticed.items())
            if kind != "narrow" or "narrow" not in self._kinds  # which says it of the same pairs
        ]

    def _count(self, name: str, row: Mapping[str, Any], amount: float = 0.0) -> None:
        kind = self._kinds.setdefault(name, _Kind(first=shown(str(row.get("id")))))
        kind.count += 1
        kind.most = max(kind.most, amount)

    @staticmethod
    def _text(name: str, kind: _Kind) -> str:
        signal, _, what = name.rpartition(" ")
        if name == "narrow":
            return (
                "come from recordings of a lower sample rate than theirs, and hold nothing above "
                f"{-kind.most:g} Hz or more"
            )
        if name == "without noise":
            return "have no noise, since their speech or their noise is silent"
        if name == "faint noise":
            return f"have noise that is up to {kind.most:.0f} dB fainter than their SNR asks for"
        if what == "clipped":
            return f"have {signal} above full scale, where it is clipped: add peak_limit at the end"
        return (
            f"have {signal} that peaks under -50 dBFS: turn the recordings up, or set "
            "audio.subtype to PCM_24 or FLOAT"
        )
