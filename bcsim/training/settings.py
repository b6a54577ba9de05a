"""Whether a run is continued with the settings that it was begun with."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bcsim
from bcsim.datasets.pairs import Pairs
from bcsim.files import run_folder
from bcsim.files.hashing import hash_text
from bcsim.training.config import TrainingConfig

# Settings by section that do not change the weights, and may differ when a run is continued.
FREE_SETTINGS = {"data": ("num_workers",), "training": ("device",)}


def comparable_settings(
    config: TrainingConfig,
    sets: Mapping[str, Pairs],
    data_facts: Mapping[str, Any],
    num_processes: int,
) -> dict[str, Any]:
    """Return the settings that have to be the same when a run is continued, as JSON gives them.

    Args:
        config: all settings of the run.
        sets: sets of pairs by name.
        data_facts: what else identifies the pairs.
        num_processes: number of processes that train together, each with a batch of its own.
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

    Args:
        out: folder of the run, for the message.
        begun: `comparable_settings` that the run was begun with.
        now: `comparable_settings` of this command.

    Raises:
        UsageError: naming the first setting that differs, and both values.
    """
    run_folder.check_same_settings(out, _without_free(begun), _without_free(now))


def _without_free(settings: Mapping[str, Any]) -> dict[str, Any]:
    kept = dict(settings)
    for section, names in FREE_SETTINGS.items():
        if isinstance(kept.get(section), dict):
            kept[section] = {n: v for n, v in kept[section].items() if n not in names}
    return kept
