"""Models and checkpoints that are damaged, foreign, or meant to run code."""

import hashlib
import io
import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from bcsim.models.storage import build_enhancer, save_enhancer
from bcsim.training.checkpoint import Checkpoint, save_checkpoint
from tests.hostile.broken_audio import Payload
from tests.hostile.case import ACCEPT, REJECT, Case, Verdict

MODEL = {"name": "eben", "width": 2, "latent": 2}
Config = dict[str, Any]
Tensors = dict[str, torch.Tensor]


def strange_weights(canary: Path, whole: bytes) -> dict[str, bytes]:
    """Return what may stand in place of a safetensors file, by name."""
    arrays, torch_zip, torch_legacy = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.savez(arrays, weight=np.zeros(3))
    torch.save({"weight": Payload(canary)}, torch_zip)
    torch.save({"w": Payload(canary)}, torch_legacy, _use_new_zipfile_serialization=False)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    deep = b"[" * 100_000
    return {
        "pickle": pickle.dumps(Payload(canary)),
        "torch_zip_payload": torch_zip.getvalue(),
        "torch_legacy_payload": torch_legacy.getvalue(),
        "npz": arrays.getvalue(),
        "empty": b"",
        "cut_half": whole[: len(whole) // 2],
        "cut_1": whole[:-1],
        "cut_8": whole[:8],
        "byte_more": whole + b"\0",
        "flipped": bytes(flipped),
        "zeros": b"\0" * len(whole),
        "header_1gb": struct.pack("<Q", 2**30) + whole[8:],
        "header_all": b"\xff" * 8 + whole[8:],
        "header_deep": struct.pack("<Q", len(deep)) + deep,
        "header_empty": struct.pack("<Q", 2) + b"{}",
    }


def write_models(folder: Path, canary: Path) -> list[Case]:
    """Write folders as `bcsim train` leaves them, with one thing wrong in each.

    Args:
        folder: where to.
        canary: file that comes to be if code in one of them is run.
    """
    made = []
    save_enhancer(folder / "model_good", build_enhancer(MODEL, seed=1), {})
    good = folder / "model_good"
    made.append(Case("model_good", good, ACCEPT, "as it was written"))
    weights = (good / "model.safetensors").read_bytes()
    tensors = safetensors.torch.load(weights)
    first = next(iter(tensors))

    def add(name: str, why: str, verdict: Verdict = REJECT) -> Path:
        copy = folder / f"model_{name}"
        shutil.copytree(good, copy)
        made.append(Case(copy.name, copy, verdict, why))
        return copy

    def put(copy: Path, content: bytes) -> None:
        """Write weights and make the config agree: not by its hash must it be refused."""
        (copy / "model.safetensors").write_bytes(content)
        config = json.loads((copy / "config.json").read_text())
        config["weights_sha256"] = hashlib.sha256(content).hexdigest()
        (copy / "config.json").write_text(json.dumps(config))

    for name, content in strange_weights(canary, weights).items():
        copy = add(name, "no weights of ours")
        (copy / "model.safetensors").write_bytes(content)
        if name != "flipped":  # a bit of a weight that its own hash agrees with is a weight
            put(add(f"{name}_hashed", "and the config agrees"), content)
    for name, change in _tensor_changes(first).items():
        put(
            add(name, "other tensors than the network has"), safetensors.torch.save(change(tensors))
        )
    for name, change in _CONFIGS.items():
        config = json.loads((good / "config.json").read_text())
        text = change(config)
        copy = add(f"config_{name}", "no config of ours")
        (copy / "config.json").write_bytes(
            text if isinstance(text, bytes) else json.dumps(config).encode()
        )
    with (add("config_100mb", "100 MB of zeros") / "config.json").open("wb") as file:
        file.truncate(100 * 2**20)
    (add("config_missing", "no config") / "config.json").unlink()
    (add("weights_missing", "no weights") / "model.safetensors").unlink()
    (copy := add("weights_zero", "a device without an end") / "model.safetensors").unlink()
    copy.symlink_to("/dev/zero")
    return made


def _tensor_changes(first: str) -> dict[str, Callable[[Tensors], Tensors]]:
    def with_first(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Tensors], Tensors]:
        return lambda tensors: {**tensors, first: change(tensors[first]).contiguous()}

    return {
        "nan": with_first(lambda weight: weight * np.nan),
        "inf": with_first(lambda weight: weight / 0),
        "shape": with_first(lambda weight: weight.flatten()),
        "integers": with_first(lambda weight: weight.to(torch.int32)),
        "doubles": with_first(lambda weight: weight.double()),
        "missing": lambda tensors: {k: v for k, v in tensors.items() if k != first},
        "extra": lambda tensors: {**tensors, "stranger": torch.zeros(3)},
        "other_model": lambda tensors: dict(build_enhancer({**MODEL, "width": 4}, 1).state_dict()),
    }


def _set(*keys: str, value: Any) -> Callable[[Config], None]:
    def change(config: Config) -> None:
        for key in keys[:-1]:
            config = config[key]
        config[keys[-1]] = value

    return change


_CONFIGS: dict[str, Callable[[Config], bytes | None]] = {
    "schema_newer": _set("schema", value=99),
    "schema_text": _set("schema", value="1"),
    "format_other": _set("format", value="somebody-else"),
    "model_unknown": _set("model", "name", value="os.system"),
    "model_parameter": _set("model", "taste", value="sweet"),
    "model_list": _set("model", value=[]),
    "width_1e9": _set("model", "width", value=10**9),
    "width_1e20": _set("model", "width", value=10**20),
    "width_negative": _set("model", "width", value=-2),
    "width_zero": _set("model", "width", value=0),
    "width_float": _set("model", "width", value=2.5),
    "width_text": _set("model", "width", value="2"),
    "latent_1e9": _set("model", "latent", value=10**9),
    "direction": _set("direction", value="sideways"),
    "hash_missing": lambda config: config.pop("weights_sha256") and None,
    "hash_list": _set("weights_sha256", value=[]),
    "empty": lambda config: b"",
    "text": lambda config: b"eben, width 2",
    "list": lambda config: b"[]",
    "deep": lambda config: b"[" * 100_000,
    "deep_closed": lambda config: b'{"model": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "not_utf8": lambda config: b'{"format": "\xff"}',
    "key_twice": lambda config: b'{"schema": 1, ' + json.dumps(config).encode()[1:],
    "long_number": lambda config: b'{"schema": ' + b"9" * 10_000 + b"}",
}


def write_checkpoints(folder: Path, canary: Path) -> list[Case]:
    """Write checkpoints of a run; the path of a case is its JSON file.

    Args:
        folder: where to.
        canary: file that comes to be if code in one of them is run.
    """
    tensors = {"model.weight": torch.arange(3000.0).reshape(30, 100), "count": torch.tensor(7)}
    save_checkpoint(folder / "ckpt_good", Checkpoint(7, tensors, {"sums": {"loss": 0.25}}))
    (good,) = (folder / "ckpt_good").glob("*.json")
    made = [Case("ckpt_good", good, ACCEPT, "as it was written")]
    facts, weights = good.read_bytes(), good.with_suffix(".safetensors").read_bytes()

    def add(name: str, why: str, verdict: Verdict = REJECT) -> Path:
        copy = folder / f"ckpt_{name}"
        shutil.copytree(good.parent, copy)
        made.append(Case(copy.name, copy / good.name, verdict, why))
        return copy / good.name

    _sign(add("signed", "what the forgeries below are made of is good", ACCEPT))

    for name, content in strange_weights(canary, weights).items():
        add(name, "no tensors of ours").with_suffix(".safetensors").write_bytes(content)
    nan = safetensors.torch.save({**tensors, "model.weight": tensors["model.weight"] * np.nan})
    add("st_nan", "values that are not finite").with_suffix(".safetensors").write_bytes(nan)
    signed = add("nan_hashed", "values that are not finite, under hashes that agree")
    signed.with_suffix(".safetensors").write_bytes(nan)
    _sign(signed, tensors_sha256=hashlib.sha256(nan).hexdigest())
    payload = strange_weights(canary, weights)["torch_zip_payload"]
    signed = add("payload_hashed", "a payload under hashes that agree")
    signed.with_suffix(".safetensors").write_bytes(payload)
    _sign(signed, tensors_sha256=hashlib.sha256(payload).hexdigest())
    for name, changes in {
        "schema_newer": {"schema": 99},
        "schema_text": {"schema": "1"},
        "format_other": {"format": "bcsim-enhancer"},
        "step_text": {"step": "seven"},
        "step_negative": {"step": -7},
        "step_float": {"step": 7.5},
        "facts_list": {"facts": []},
    }.items():
        _sign(add(name, "its facts are none of ours"), **changes)
    for name in ("step", "schema", "format", "facts", "tensors_sha256", "sha256"):
        path = add(f"without_{name}", f"{name} is missing")
        content = json.loads(path.read_text())
        del content[name]
        path.write_text(json.dumps(content))
        if name != "sha256":
            _sign(path)
    for name, content in {
        "json_empty": b"",
        "json_cut": facts[: len(facts) // 2],
        "json_list": b"[]",
        "json_null": b"null",
        "json_deep": b"[" * 100_000,
        "json_deep_closed": b"[" * 100_000 + b"]" * 100_000,
        "json_not_utf8": b"\xff\xfe" + facts,
        "json_pickle": pickle.dumps(Payload(canary)),
        "json_changed": facts.replace(b"0.25", b"0.75"),
        "json_key_twice": b'{"step": 7, ' + facts.lstrip()[1:],
    }.items():
        add(name, "no facts of ours").write_bytes(content)
    with add("json_1gb", "a gigabyte of zeros").open("wb") as file:
        file.truncate(2**30)
    add("weights_gone", "no tensors").with_suffix(".safetensors").unlink()
    add("json_gone", "no facts").unlink()
    return made


def _sign(path: Path, **changes: Any) -> None:
    """Change facts of a checkpoint, and make its hash agree, as a forger would."""
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(signed_facts(content))


def signed_facts(content: dict[str, Any]) -> str:
    """Return the JSON file of a checkpoint with the hash that its other facts have."""
    facts = {key: value for key, value in content.items() if key != "sha256"}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return json.dumps({**facts, "sha256": digest}, indent=2) + "\n"
