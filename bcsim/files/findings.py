"""Findings about recordings: what they are, who collects them, and `findings.jsonl`."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bcsim.files.paths import printable
from bcsim.files.run_lines import RunLines

SEVERITIES = ("unusable", "warning")  # a warning costs quality; what is unusable is left out
# Kinds of findings about one recording, whose name tells which.
OF_ONE_RECORDING = frozenset(
    {
        *("silent", "lossy", "coarse", "narrow", "short", "quiet", "clipping", "dc"),
        *("cancelling", "duplicate"),
    }
)
FINDINGS_NAME = "findings.jsonl"
NUM_NAMED = 3  # recordings that the line of a kind names


@dataclass(frozen=True)
class Finding:
    """Something that was noticed about a recording or a pair.

    Args:
        kind: one of `OF_ONE_RECORDING`; of a pair besides: malformed, identical, unrelated,
            swapped, offset, drift, jump, unsure, inverted, dropout, band, rumble, noisy,
            incoherent.
        severity: one of `SEVERITIES`.
        text: what was noticed, with the measured value and where.
        remedy: what to do about it.
        channel: air or bone, where the finding is about one of them.
        time_s: time of what was noticed, where it has one.
    """

    kind: str
    severity: Literal["unusable", "warning"]
    text: str
    remedy: str
    channel: str | None = None
    time_s: float | None = None


@dataclass(eq=False)  # collectors of the same findings are two: `collecting` takes out its own
class FoundInRecordings:
    """Findings of many recordings, by the name of the recording; each is kept once.

    Args:
        by_name: findings by the name of the recording or pair.
    """

    by_name: dict[str, dict[tuple[str, str | None, float | None], Finding]] = field(
        default_factory=dict
    )

    def add(self, name: str, findings: Iterable[Finding]) -> None:
        """Add findings of a recording or a pair."""
        for finding in findings:
            known = self.by_name.setdefault(name, {})
            known.setdefault((finding.kind, finding.channel, finding.time_s), finding)

    def of(self, name: str) -> list[Finding]:
        """Return the findings of a recording or a pair."""
        return [*self.by_name.get(name, {}).values()]

    def lines(self) -> list[str]:
        """Return a line for each kind: how many have it, the first ones, and what to do."""
        kinds: dict[str, tuple[list[str], Finding]] = {}
        for name in sorted(self.by_name):
            for finding in self.by_name[name].values():
                names, _ = kinds.setdefault(finding.kind, ([], finding))
                if name not in names[-1:]:
                    names.append(name)
        return [
            kind_line(kind, len(names), names[:NUM_NAMED], first.text, first.remedy)
            for kind, (names, first) in sorted(kinds.items())
        ]

    def write(self, path: Path, run: str) -> None:
        """Write a line for each finding, in place of those that the same run left there before.

        Args:
            path: path of `findings.jsonl`.
            run: name of the run, such as "fit-response throat.sensor".
        """
        with RunLines(path, run) as file:
            for name in sorted(self.by_name):
                for finding in self.by_name[name].values():
                    file.add({"recording": printable(name), **facts_of(finding)})


def kind_line(kind: str, count: int, names: Iterable[str], text: str, remedy: str) -> str:
    """Return the line that tells of one kind of finding.

    Args:
        kind: kind of the finding.
        count: number of recordings or pairs that have it.
        names: names of the first of them.
        text: what was noticed about the first.
        remedy: what to do about it.
    """
    named = ", ".join(map(printable, names))
    more = ", ..." if count > NUM_NAMED else ""
    what = "recordings or pairs" if count > 1 else "recording or pair"
    if kind in OF_ONE_RECORDING:
        first = "the first " if count > 1 else "it "
    else:  # the text says which side of the pair it is about
        first = "of the first, " if count > 1 else ""
    return f"{kind}: {count} {what} ({named}{more}); {first}{text}; {remedy}"


_collecting: list[FoundInRecordings] = []


@contextlib.contextmanager
def collecting() -> Iterator[FoundInRecordings]:
    """Collect the findings of all recordings that this process reads, in any of its threads."""
    found = FoundInRecordings()
    _collecting.append(found)
    try:
        yield found
    finally:
        _collecting.remove(found)


def note(name: object, findings: Iterable[Finding]) -> None:
    """Hand findings of a recording or a pair to whoever collects them, if anybody does."""
    for found in _collecting[-1:]:
        found.add(str(name), findings)


def write_noticed(path: Path, run: str) -> None:
    """Write what is collected so far, as `FoundInRecordings.write` does, if anybody collects."""
    for found in _collecting[-1:]:
        found.write(path, run)


def facts_of(finding: Finding) -> dict[str, Any]:
    """Return a finding as JSON holds it."""
    return {key: value for key, value in vars(finding).items() if value is not None}


def finding_of(facts: Any) -> Finding | None:
    """Return the finding that `facts_of` wrote; None for anything else, which others may write."""
    try:
        finding = Finding(**facts)
    except TypeError:
        return None
    texts = (finding.kind, finding.text, finding.remedy, finding.channel or "")
    is_finding = all(isinstance(text, str) for text in texts) and finding.severity in SEVERITIES
    return finding if is_finding and isinstance(finding.time_s, float | None) else None
