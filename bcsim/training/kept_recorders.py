"""What was found about the recorders of a run's pairs, kept in the folder of the run.

To synchronise a pair takes half a second of a processor. What was found when the run began is read
back at every later start, where it was found of the same recordings, by their content.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bcsim.errors import InputError
from bcsim.files.atomic import write_bytes
from bcsim.files.findings import Finding, facts_of, finding_of
from bcsim.files.opening import open_regular
from bcsim.files.text import numbered_lines, parse_json
from bcsim.fitting.alignment.align import Recorder
from bcsim.fitting.alignment.time_map import Part

SYNCHRONISED_FILE = "synchronised.jsonl"

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Synchronisation:
    """What was found about a set of pairs when it was synchronised.

    Args:
        recorders: what the recorders of each usable pair did, by the name of the pair.
        refused: reason why another pair cannot be used, by the name of the pair.
        findings: what was noticed about recordings, by their names.
    """

    recorders: dict[str, Recorder] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    findings: dict[str, list[Finding]] = field(default_factory=dict)


def write_kept(out: Path, found: Mapping[str, Synchronisation]) -> None:
    """Write what was found to the folder of a run, in place of what is there.

    Args:
        out: folder of the run.
        found: what was found about each set of pairs, by the key of the set.
    """
    lines = []
    for key, own in found.items():
        for name, recorder in own.recorders.items():
            parts = [
                [part.start, part.stop, part.places.tolist(), part.bone_places.tolist()]
                for part in recorder.parts
            ]
            lines.append({"set": key, "pair": name, "sign": recorder.sign, "parts": parts})
        lines += [{"set": key, "pair": n, "refused": reason} for n, reason in own.refused.items()]
        for name, findings in own.findings.items():
            facts = [facts_of(finding) for finding in findings]
            lines.append({"set": key, "recording": name, "findings": facts})
    if lines:
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        write_bytes(out / SYNCHRONISED_FILE, text.encode("ascii"))


def read_kept(out: Path) -> dict[str, Synchronisation]:
    """Return what `write_kept` wrote to the folder of a run; nothing where that was changed."""
    path = out / SYNCHRONISED_FILE
    found: dict[str, Synchronisation] = {}
    if not path.is_file():
        return found
    try:
        with open_regular(path) as file:
            for _, line in numbered_lines(file, path, "what train wrote"):
                entry = parse_json(line)
                _add(found.setdefault(entry["set"], Synchronisation()), entry)
    except (InputError, OSError, ValueError, TypeError, KeyError, IndexError) as error:
        log.warning("%s: %s; the recordings are synchronised anew", path, error)
        return {}
    return found


def _add(found: Synchronisation, entry: Mapping[str, Any]) -> None:
    """Add what a line tells.

    Raises:
        ValueError: if `write_kept` wrote no such line; KeyError, TypeError and IndexError, too.
    """
    if "findings" in entry:
        findings = [finding_of(facts) for facts in entry["findings"]]
        found.findings[_text(entry["recording"])] = [own for own in findings if own is not None]
    elif "refused" in entry:
        found.refused[_text(entry["pair"])] = _text(entry["refused"])
    else:
        parts = tuple(_part(*facts) for facts in entry["parts"])
        if entry["sign"] not in (1, -1):
            raise ValueError("a sign is neither 1 nor -1")
        found.recorders[_text(entry["pair"])] = Recorder(parts, entry["sign"])


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a name or a reason is no text")
    return value


def _part(start: Any, stop: Any, places: Any, bone_places: Any) -> Part:
    at, bone_at = (np.array(values, dtype=np.float64) for values in (places, bone_places))
    is_one = (
        isinstance(start, int)
        and isinstance(stop, int)
        and 0 <= start <= stop
        and at.ndim == 1
        and at.shape == bone_at.shape
        and len(at) >= 2
        and bool((np.diff(at) > 0).all())
    )
    if not is_one:
        raise ValueError("a part of a recording has other places")
    return Part(start, stop, at, bone_at)
