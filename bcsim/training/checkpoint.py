"""Checkpoints: the whole state of a run at one step, in two files.

`step_00001000.safetensors` holds the tensors, `step_00001000.json` everything else, with the
SHA-256 of both. The second is written last, so a checkpoint is whole or does not count. Nothing
is pickled.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from bcsim.errors import InputError
from bcsim.files import hash_text, sweep_temporaries, write_bytes, write_json

SCHEMA = 1
NUM_KEPT = 2  # the newest, and the one before it should the newest turn out damaged

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run.

    Args:
        step: steps done.
        tensors: by name; none shares memory with another.
        facts: everything else, as JSON holds it.
    """

    step: int
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint, num_kept: int = NUM_KEPT) -> None:
    """Write a checkpoint, then remove all others but the `num_kept - 1` next before it.

    Raises:
        ValueError: if a tensor holds a value that is not finite.
        EnvironmentFault: if the disk is full or forbidden; earlier checkpoints stay.
    """
    for name, tensor in checkpoint.tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"step {checkpoint.step}: {name} is not finite and is not saved")
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()
    }
    content = save(tensors)
    facts = {
        "format": "bcsim-checkpoint",
        "schema": SCHEMA,
        "step": checkpoint.step,
        "tensors_sha256": hashlib.sha256(content).hexdigest(),
        "facts": dict(checkpoint.facts),
    }
    written = folder / f"step_{checkpoint.step:08d}.json"
    write_bytes(written.with_suffix(".safetensors"), content)
    write_json(written, {**facts, "sha256": _digest(facts)})
    # What claims to come after this step is damaged or left by a run that was taken up earlier.
    earlier = sorted(path for path in folder.glob("step_*.json") if path.name < written.name)
    kept = {written.stem, *(path.stem for path in earlier[len(earlier) - num_kept + 1 :])}
    for path in folder.glob("step_*"):
        if path.stem not in kept:
            path.unlink()
    sweep_temporaries(folder)


def load_newest(folders: Sequence[Path]) -> Checkpoint | None:
    """Read the newest checkpoint that is whole; each damaged one costs a warning.

    Args:
        folders: searched in this order; a later one only if the earlier hold no whole checkpoint.

    Returns:
        The checkpoint, or None where there never was one.

    Raises:
        InputError: if there are checkpoints and none of them is whole.
    """
    damaged = []
    for folder in folders:
        for path in sorted(folder.glob("step_*.json"), reverse=True):
            try:
                return load_checkpoint(path)
            except InputError as error:
                log.warning("%s; trying an earlier checkpoint", error)
                damaged.append(path)
    if damaged:
        raise InputError(
            f"{damaged[0].parent}: no checkpoint is whole; begin anew in another folder"
        )
    return None


def load_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint.

    Args:
        path: of the JSON file.

    Raises:
        InputError: if it is damaged in any way, or of another schema.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        facts = {key: value for key, value in content.items() if key != "sha256"}
        whole = content["sha256"] == _digest(facts) and facts["format"] == "bcsim-checkpoint"
    except (OSError, ValueError, AttributeError, KeyError, RecursionError):
        whole, facts = False, {}
    if not whole:
        raise InputError(f"{path}: damaged, or not a checkpoint")
    if facts["schema"] != SCHEMA:
        raise InputError(
            f"{path}: schema {facts['schema']!r}, this version of bcsim reads {SCHEMA}"
        )
    tensors_path = path.with_suffix(".safetensors")
    try:
        content = tensors_path.read_bytes()
        if hashlib.sha256(content).hexdigest() != facts["tensors_sha256"]:
            raise InputError(f"{tensors_path}: damaged; its SHA-256 is not that of {path.name}")
        tensors = load(content)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{tensors_path}: missing or damaged") from error
    return Checkpoint(facts["step"], tensors, facts["facts"])


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the state of an optimizer as named tensors and JSON facts."""
    state = optimizer.state_dict()
    tensors = {
        f"{index}.{name}": value
        for index, values in state["state"].items()
        for name, value in values.items()
    }
    return tensors, {"param_groups": state["param_groups"]}


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]
) -> None:
    """Give an optimizer the state that `flatten_optimizer` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": list(facts["param_groups"])})


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under `prefix.name`."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that `with_prefix` put under `prefix`, by their own names."""
    start = f"{prefix}."
    return {
        name.removeprefix(start): tensor
        for name, tensor in tensors.items()
        if name.startswith(start)
    }


def _digest(facts: Mapping[str, Any]) -> str:
    return hash_text(json.dumps(facts, sort_keys=True, ensure_ascii=True, allow_nan=False))
