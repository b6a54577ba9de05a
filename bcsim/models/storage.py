"""Enhancers in files: `model.safetensors` holds the weights, `config.json` says what they are of.

Both may come from strangers. Nothing in them is run: the weights are safetensors, the network is
one that is registered here, and its size is compared with the file's before memory is taken.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

import bcsim
from bcsim.dsp.randomness import torch_stream
from bcsim.errors import InputError, UsageError
from bcsim.files import hash_file, write_bytes, write_json
from bcsim.models import MODELS
from bcsim.models.base import Enhancer

WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"
SCHEMA = 1
MAX_CONFIG_BYTES = 2**20
NUM_DIFFERENCES_TOLD = 5


def build_enhancer(spec: Mapping[str, Any], seed: int) -> Enhancer:
    """Make an enhancer with fresh weights.

    Args:
        spec: `{name: ..., parameter: value, ...}`.
        seed: what the weights depend on, with nothing else.

    Raises:
        UsageError: for an unknown name or parameter, or sizes that make no network.
    """
    parameters = dict(spec)
    name = parameters.pop("name", None)
    if not isinstance(name, str):
        raise UsageError("a model is a mapping with a name: {name: eben, ...}")
    model_class = MODELS[name]
    try:
        with torch_stream(seed, "model", "weights"):
            return model_class(**parameters)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: sizes beyond torch
        raise UsageError(f"model {name!r}: {_one_line(error)}") from error


def save_enhancer(folder: Path, enhancer: Enhancer, facts: Mapping[str, Any]) -> None:
    """Write `model.safetensors` and `config.json`, each whole or not at all.

    Args:
        folder: where to.
        enhancer: what to save.
        facts: what else to say in `config.json` under "facts", as JSON can hold it.

    Raises:
        ValueError: if a weight is not a finite number.
        EnvironmentFault: if the disk is full or forbidden.
    """
    weights = {key: value.detach().cpu() for key, value in enhancer.state_dict().items()}
    not_finite = sorted(key for key, value in weights.items() if not value.isfinite().all())
    if not_finite:
        raise ValueError(f"{not_finite[0]} holds weights that are not finite; they are not saved")
    content = save({key: value.contiguous() for key, value in weights.items()})
    config = {
        "format": "bcsim-enhancer",
        "schema": SCHEMA,
        "model": {"name": MODELS.name_of(type(enhancer)), **enhancer.config},
        "sample_rate": enhancer.sample_rate,
        "channels": list(enhancer.channels),
        "causal": enhancer.causal,
        "latency_samples": enhancer.latency_samples,
        "num_parameters": enhancer.num_parameters,
        "weights_sha256": hashlib.sha256(content).hexdigest(),
        "bcsim_version": bcsim.__version__,
        "facts": dict(facts),
    }
    write_bytes(folder / WEIGHTS_FILE, content)
    write_json(folder / CONFIG_FILE, config)


def load_enhancer(folder: Path) -> Enhancer:
    """Read an enhancer that `save_enhancer` wrote, on the CPU and in evaluation mode.

    Raises:
        InputError: if a file is missing, damaged, newer than this version, or holds other weights
            than the network has; the first differences are listed.
    """
    spec, digest = _read_config(folder)
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise InputError(f"{path}: no such file; a model is {WEIGHTS_FILE} and {CONFIG_FILE}")
    try:
        # Without memory for its weights: a config may ask for more than the machine has.
        with torch.device("meta"):
            outline = build_enhancer(spec, seed=0)
        with safe_open(path, framework="pt") as file:
            stored = {key: list(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
            _refuse_differences(path, outline, stored)
            weights = {key: file.get_tensor(key) for key in stored}
    except UsageError as error:
        raise InputError(f"{folder / CONFIG_FILE}: {error}") from error
    except SafetensorError as error:
        raise InputError(f"{path}: not a whole safetensors file ({_one_line(error)})") from error
    _check_weights(path, weights, digest)
    enhancer = build_enhancer(spec, seed=0)
    enhancer.load_state_dict(weights)
    return enhancer.eval()


def state_differences(expected: Mapping[str, list[int]], stored: Mapping[str, list[int]]) -> str:
    """Say in one line how tensors differ by name and shape, or nothing if they do not.

    Example:
        >>> state_differences({"a": [1], "b": [2]}, {"b": [3], "c": [4]})
        'a is missing; b is [3], not [2]; c is unknown'
    """
    said = []
    for key in sorted(expected.keys() | stored.keys()):
        if key not in stored:
            said.append(f"{key} is missing")
        elif key not in expected:
            said.append(f"{key} is unknown")
        elif list(expected[key]) != list(stored[key]):
            said.append(f"{key} is {list(stored[key])}, not {list(expected[key])}")
    told = said[:NUM_DIFFERENCES_TOLD]
    if len(said) > len(told):
        told.append(f"and {len(said) - len(told)} more")
    return "; ".join(told)


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, list[int]]:
    """Return the shape of every tensor."""
    return {key: list(tensor.shape) for key, tensor in tensors.items()}


def _read_config(folder: Path) -> tuple[dict[str, Any], str]:
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise InputError(f"{path}: no such file; a model is a folder that `bcsim train` wrote")
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise InputError(f"{path}: larger than {MAX_CONFIG_BYTES} bytes; this is no model config")
    try:
        config = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({_one_line(error)})") from error
    if not isinstance(config, dict) or config.get("format") != "bcsim-enhancer":
        raise InputError(f"{path}: not the config of a bcsim enhancer")
    if config.get("schema") != SCHEMA:
        raise InputError(
            f"{path}: schema {config.get('schema')!r}, this version of bcsim reads {SCHEMA}; "
            "use the version that wrote it"
        )
    spec, digest = config.get("model"), config.get("weights_sha256")
    if not isinstance(spec, dict) or not isinstance(digest, str):
        raise InputError(f"{path}: 'model' or 'weights_sha256' is missing")
    return spec, digest


def _refuse_differences(path: Path, outline: Enhancer, stored: Mapping[str, list[int]]) -> None:
    differences = state_differences(shapes_of(outline.state_dict()), stored)
    if differences:
        raise InputError(f"{path}: other weights than the model has: {differences}")


def _check_weights(path: Path, weights: Mapping[str, Tensor], digest: str) -> None:
    if hash_file(path) != digest:
        raise InputError(
            f"{path}: not the weights that {CONFIG_FILE} belongs to, or damaged; "
            "copy both again, or finish the run with --resume"
        )
    for key, tensor in weights.items():
        if not (tensor.is_floating_point() and tensor.isfinite().all()):
            raise InputError(f"{path}: {key} holds values that are not finite numbers")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
