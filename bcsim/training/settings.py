"""Whether a run is continued with the settings that it was begun with."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import bcsim
from bcsim.datasets.pairs import Pairs
from bcsim.errors import UsageError
from bcsim.files.hashing import hash_text
from bcsim.files.text import shown
from bcsim.training.config import TrainingConfig

# These may change: they change how a run goes, not what comes out.
FREE_SETTINGS = ("data.num_workers", "training.device")


def comparable_settings(
    config: TrainingConfig,
    sets: Mapping[str, Pairs],
    data_facts: Mapping[str, Any],
    num_processes: int,
) -> dict[str, Any]:
    """Return what has to be the same when a run is continued, as JSON gives it back.

    Args:
        config: all settings.
        sets: pairs by what they are for.
        data_facts: what else identifies the pairs.
        num_processes: that take part; a step's batch is as large as all of theirs.
    """
    settings = {
        "bcsim_version": bcsim.__version__,
        **dataclasses.asdict(config),
        "pairs": {name: hash_text("\n".join(pairs.ids)) for name, pairs in sets.items()},
        "data_facts": dict(data_facts),
        "num_processes": num_processes,
    }
    return json.loads(json.dumps(settings))


def check_same_settings(out: Path, begun: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Compare the settings of a run with those that it is to be continued with.

    Raises:
        UsageError: naming the first setting that differs, and both values.
    """
    before, after = dict(_flat(begun)), dict(_flat(now))
    different = [
        name
        for name in [*after, *(name for name in before if name not in after)]
        if before.get(name) != after.get(name) and name not in FREE_SETTINGS
    ]
    if different:
        name = different[0]
        more = f" (and {len(different) - 1} more differences)" if len(different) > 1 else ""
        raise UsageError(
            f"{out}: the run was begun with {shown(name)} {shown(repr(before.get(name)))}, now it "
            f"is {shown(repr(after.get(name)))}{more}; use the same, or another --out"
        )


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        for number, inner in enumerate(value):
            yield from _flat(inner, f"{name}[{number}]")
    else:
        yield name, value
