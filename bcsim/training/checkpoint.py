"""Checkpoints: the whole state of a run at one step, in two files.

`step_00001000.safetensors` holds the tensors, `step_00001000.json` everything else, with the
SHA-256 of both and the size of the first. The second is written last, so a checkpoint is whole or
does not count. Nothing is pickled.
"""

import contextlib
import hashlib
import json
import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from bcsim.errors import DivergedError, InputError
from bcsim.files.atomic import environment_faults, sweep_temporaries, write_bytes, write_text
from bcsim.files.hashing import hash_text
from bcsim.files.safetensors_file import (
    check_header,
    check_header_size,
    shapes_of,
    state_differences,
)
from bcsim.files.text import SAFETENSORS_ONLY, kind_of, parse_json, read_bytes, reason_of, shown

FORMAT = "bcsim-checkpoint"
SCHEMA = 2
MAX_FACTS_BYTES = 2**24
NUM_KEPT = 2  # the newest, and the one before it should the newest turn out damaged

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run: steps done, tensors that share no memory, and the rest as JSON has it."""

    step: int
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]


class NewerCheckpointError(InputError):
    """A checkpoint of a later version of bcsim: whole, to be kept, and not to be read."""


def save_checkpoint(folder: Path, checkpoint: Checkpoint, num_kept: int = NUM_KEPT) -> None:
    """Write a checkpoint, then remove all others but the `num_kept - 1` next before it.

    Raises:
        DivergedError: if a tensor holds a value that is not finite.
        EnvironmentFault: if the disk is full or forbidden; earlier checkpoints stay.
    """
    not_finite = _not_finite(checkpoint.tensors)
    if not_finite is not None:
        raise DivergedError(
            f"step {checkpoint.step}: {not_finite} is not finite and is not saved; lower "
            "optimizer.learning_rate"
        )
    content = save({k: v.detach().cpu().contiguous() for k, v in checkpoint.tensors.items()})
    facts = {
        "format": FORMAT,
        "schema": SCHEMA,
        "step": checkpoint.step,
        "tensors_sha256": hashlib.sha256(content).hexdigest(),
        "tensors_bytes": len(content),
        "facts": dict(checkpoint.facts),
    }
    written = folder / f"step_{checkpoint.step:08d}.json"
    tensors_path = written.with_suffix(".safetensors")
    text = _text(facts)
    check_header_size(content)
    _parse_facts(text.encode("utf-8"), written)  # what could not be read again gets no name
    try:
        write_bytes(tensors_path, content)
        write_text(written, text)
    except BaseException:
        if not written.exists():  # then these tensors belong to nothing, and take up room
            with contextlib.suppress(OSError):
                tensors_path.unlink(missing_ok=True)
        raise
    # What claims to come after this step is damaged or left by a run that resumed before it.
    _remove(folder, {stem for stem in _stems(folder) if stem > written.stem})
    remove_earlier(folder, checkpoint.step, num_kept)
    sweep_temporaries(folder)


def remove_earlier(folder: Path, step: int, num_kept: int = NUM_KEPT) -> None:
    """Remove the checkpoints before that of a step but the `num_kept - 1` next before it.

    What a run that was killed while it did this has left goes, too.

    Raises:
        EnvironmentFault: if the disk is forbidden.
    """
    newest = f"step_{step:08d}"
    whole = sorted(stem for stem in _stems(folder, ".json") if stem < newest)
    kept = whole[len(whole) - num_kept + 1 :]
    _remove(folder, {stem for stem in _stems(folder) if stem < newest and stem not in kept})


def _remove(folder: Path, stems: Collection[str]) -> None:
    with environment_faults(folder):
        for suffix in (".json", ".safetensors"):  # in this order a kill leaves no half of one
            for stem in stems:
                (folder / f"{stem}{suffix}").unlink(missing_ok=True)


def holds_checkpoints(folders: Sequence[Path]) -> bool:
    """Tell whether there ever was a whole checkpoint, which tensors alone are not."""
    return any(True for folder in folders for _ in _stems(folder, ".json"))


def load_newest(folders: Sequence[Path]) -> Checkpoint | None:
    """Return the newest whole checkpoint of the first folder that has one, or None without any.

    Each damaged one is skipped with a warning.

    Raises:
        InputError: if there are checkpoints and none of them is whole, or one is of a later
            version of bcsim, which continuing from an earlier one would remove.
    """
    damaged: list[InputError] = []
    for folder in folders:
        for stem in sorted(_stems(folder, ".json"), reverse=True):
            try:
                return load_checkpoint(folder / f"{stem}.json")
            except NewerCheckpointError:
                raise
            except InputError as error:
                log.warning("%s; trying an earlier checkpoint", error)
                damaged.append(error)
    if damaged:
        raise InputError(
            f"no checkpoint is whole; begin anew in another folder (the newest: {damaged[0]})"
        )
    return None


def load_checkpoint(path: Path) -> Checkpoint:
    """Read the checkpoint whose JSON file is `path`.

    Raises:
        InputError: if it is damaged, something else, or of another step than its name says.
        NewerCheckpointError: if it is of a later schema.
    """
    tensors_path = path.with_suffix(".safetensors")
    facts = _read_facts(path)
    if tensors_path.is_file():
        check_header(tensors_path)
    content = _read_tensors(tensors_path, facts["tensors_bytes"])
    if hashlib.sha256(content).hexdigest() != facts["tensors_sha256"]:
        raise InputError(
            f"{tensors_path}: {_what_else(content) or 'damaged'}; its SHA-256 is not that of "
            f"{path.name}"
        )
    try:
        tensors = load(content)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        what = _what_else(content) or f"not a whole safetensors file ({reason_of(error)})"
        raise InputError(f"{tensors_path}: {what}") from error
    name = _not_finite(tensors)
    if name is not None:
        raise InputError(f"{tensors_path}: {shown(name)} holds values that are not finite numbers")
    return Checkpoint(facts["step"], tensors, facts["facts"])


def _read_facts(path: Path) -> dict[str, Any]:
    return _parse_facts(read_bytes(path, MAX_FACTS_BYTES, "a checkpoint"), path)


def _parse_facts(content: bytes, path: Path) -> dict[str, Any]:
    if len(content) > MAX_FACTS_BYTES:
        raise InputError(f"{path}: larger than {MAX_FACTS_BYTES} bytes; this is not a checkpoint")
    try:
        facts = parse_json(content)
    except ValueError as error:
        what = _what_else(content) or f"damaged ({reason_of(error)})"
        raise InputError(f"{path}: {what}") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT or "sha256" not in facts:
        raise InputError(f"{path}: damaged, or not a checkpoint of bcsim")
    schema = facts.get("schema")
    if type(schema) is int and schema > SCHEMA:
        raise NewerCheckpointError(
            f"{path}: schema {shown(schema)}, this version of bcsim reads {SCHEMA}; use the one "
            "that wrote it, or remove the file if it is damaged"
        )
    del facts["sha256"]
    if content != _text(facts).encode("utf-8"):
        raise InputError(f"{path}: damaged: its content is not what its SHA-256 says")
    step = facts.get("step")
    if type(step) is not int or path.stem != f"step_{step:08d}":
        raise InputError(f"{path}: damaged: it is of step {shown(step)}, as it says itself")
    if type(schema) is not int or schema != SCHEMA:
        raise InputError(f"{path}: schema {shown(schema)}, this version of bcsim reads {SCHEMA}")
    for key, kind in (("tensors_sha256", str), ("tensors_bytes", int), ("facts", dict)):
        if type(facts.get(key)) is not kind:
            raise InputError(f"{path}: damaged: {key} is {shown(facts.get(key))}")
    return facts


def _read_tensors(path: Path, num_bytes: int) -> bytes:
    if not path.is_file():
        raise InputError(f"{path}: missing or damaged: not a regular file")
    try:
        found = path.stat().st_size
        if found == num_bytes:
            return path.read_bytes()
        with path.open("rb") as file:  # which may be larger than memory
            what = _what_else(file.read(512)) or f"damaged: {found} bytes long, not {num_bytes}"
        raise InputError(f"{path}: {what}")
    except (OSError, MemoryError) as error:
        raise InputError(f"{path}: missing or damaged ({reason_of(error)})") from error


def _what_else(content: bytes) -> str | None:
    """Name the kind of file that stands in the place of a checkpoint, if it is known."""
    kind = kind_of(content)
    return None if kind is None else f"{kind}; {SAFETENSORS_ONLY}"


def _not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the name of the first tensor that holds a value that is no finite number."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            return name
    return None


def _stems(folder: Path, suffix: str = ".*") -> Iterator[str]:
    """Yield the names of checkpoints' files without their suffix."""
    for path in folder.glob(f"step_*{suffix}"):
        if re.fullmatch(r"step_[0-9]{8}", path.stem) and not path.is_dir():
            yield path.stem


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the moments and step counts of an optimizer, `INDEX.NAME`, without its settings."""
    return {
        f"{index}.{name}": value
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an Adam or AdamW what `optimizer_tensors` returned.

    Raises:
        ValueError: if the tensors are those of another optimizer, or hold negative moments.
    """
    state = optimizer.state_dict()
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    expected: dict[str, list[int]] = {}
    found: dict[int, dict[str, Tensor]] = {}
    for index, weight in enumerate(weights):
        of_weight = {"step": [], "exp_avg": list(weight.shape), "exp_avg_sq": list(weight.shape)}
        # Nothing is remembered of a weight that has not learnt yet.
        if any(f"{index}.{name}" in tensors for name in of_weight):
            expected |= {f"{index}.{name}": shape for name, shape in of_weight.items()}
            names = [name for name in of_weight if f"{index}.{name}" in tensors]
            found[index] = {name: tensors[f"{index}.{name}"] for name in names}
    differences = state_differences(expected, shapes_of(tensors))
    if differences:
        raise ValueError(f"of another optimizer: {differences}")
    for index, values in found.items():
        for name, value in values.items():
            dtype = torch.float32 if name == "step" else weights[index].dtype
            if value.dtype != dtype:
                told = f"{index}.{name} is {value.dtype}, not {dtype}"
                raise ValueError(f"of another optimizer: {told}")
            # Both are sums of what is never negative.
            if (name == "step" or name.endswith("_sq")) and not (value >= 0).all():
                raise ValueError(f"of no optimizer: {index}.{name} is negative")
    optimizer.load_state_dict({"state": found, "param_groups": state["param_groups"]})


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under `prefix.name`."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that `with_prefix` put under `prefix`, by their own names."""
    start = f"{prefix}."
    names = [name for name in tensors if name.startswith(start)]
    return {name.removeprefix(start): tensors[name] for name in names}


def _text(facts: Mapping[str, Any]) -> str:
    """Return the facts as they stand in the file, with their hash; each byte of it counts."""
    digest = hash_text(json.dumps(facts, sort_keys=True, ensure_ascii=True, allow_nan=False))
    return json.dumps({**facts, "sha256": digest}, indent=2, allow_nan=False) + "\n"
