"""Enhancers in files: weights in `model.safetensors`, what they are of in `config.json`."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from bcsim.dsp.randomness import torch_stream
from bcsim.dsp.signals import MAX_RATE, MIN_RATE
from bcsim.errors import InputError, UsageError, did_you_mean
from bcsim.files.hashing import hash_text
from bcsim.files.safetensors_file import NetworkFiles
from bcsim.files.text import shown
from bcsim.models import MODELS
from bcsim.models.base import Enhancer
from bcsim.registry import Convert, build, convert_plain, convert_stored

WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"

Direction = Literal["bone-to-air", "air-to-bone"]
BONE_TO_AIR: Direction = "bone-to-air"
AIR_TO_BONE: Direction = "air-to-bone"
_OTHER_WAY = {
    BONE_TO_AIR: "turns air into bone; give one that was trained from bone to air, or use this "
    "one in a recipe, as the effect neural_response",
    AIR_TO_BONE: "turns bone into air; give one that was trained in the direction air-to-bone",
}


def build_enhancer(
    spec: Mapping[str, Any], seed: int, convert: Convert = convert_plain
) -> Enhancer:
    """Make the enhancer `{name: ..., parameter: value, ...}`, with weights drawn from `seed` alone.

    Raises:
        UsageError: for an unknown name or parameter, or sizes that make no network.
    """
    within = torch_stream(seed, "model", "weights")
    return build(MODELS, spec, convert=convert, within=within)


def _check_config(config: dict[str, Any], path: Path) -> None:
    direction = config.setdefault("direction", BONE_TO_AIR)
    if direction not in (BONE_TO_AIR, AIR_TO_BONE):
        raise InputError(
            f"{path}: direction is '{shown(direction)}'; it wants {BONE_TO_AIR} or {AIR_TO_BONE}"
        )
    sample_rate = config["model"].get("sample_rate", MIN_RATE)
    if type(sample_rate) is not int or not MIN_RATE <= sample_rate <= MAX_RATE:
        raise InputError(
            f"{path}: sample_rate is {shown(sample_rate)}; it wants {MIN_RATE} to {MAX_RATE} Hz"
        )


_FILES = NetworkFiles(
    *("enhancer", "model", WEIGHTS_FILE, CONFIG_FILE),
    build=partial(build_enhancer, seed=0, convert=convert_stored),
    check=_check_config,
)


def save_enhancer(
    folder: Path,
    enhancer: Enhancer,
    facts: Mapping[str, Any],
    direction: Direction = BONE_TO_AIR,
) -> None:
    """Write `model.safetensors` and `config.json`, each whole or not at all.

    Args:
        folder: folder of the model.
        enhancer: network to save.
        facts: further content of `config.json`, under "facts", as JSON can hold it.
        direction: "air-to-bone" for a network that simulates a sensor.

    Raises:
        ValueError: if a weight is not a finite number.
        InputError: if the config could not be read again, or makes another network.
        EnvironmentFault: if the disk is full or forbidden.
    """
    _FILES.save(
        folder,
        enhancer,
        spec={"name": MODELS.name_of(type(enhancer)), **enhancer.config},
        told={"direction": direction, **_facts_of(enhancer, direction)},
        facts=facts,
    )


def load_enhancer(folder: str | Path, direction: Direction | None = None) -> Enhancer:
    """Read an enhancer that `save_enhancer` wrote, on the CPU and in evaluation mode.

    Args:
        folder: folder of the model.
        direction: direction that the network has to have, or None for either.

    Raises:
        InputError: if a file is missing, damaged, newer than this version, of another direction,
            or does not agree with the network; the first differences are listed.
        UsageError: for an unknown direction.
    """
    if direction not in (None, *_OTHER_WAY):
        told = f"direction is {direction!r}{did_you_mean(str(direction), _OTHER_WAY)}"
        raise UsageError(f"{told}; give {BONE_TO_AIR}, {AIR_TO_BONE} or None")
    folder = Path(folder)
    config = _FILES.read_config(folder)
    if direction not in (None, config["direction"]):
        raise InputError(f"{folder}: {_OTHER_WAY[direction]}")
    enhancer = _FILES.load(folder, config)
    for name, value in _facts_of(enhancer, config["direction"]).items():
        if name in config and config[name] != value:
            raise InputError(
                f"{folder / CONFIG_FILE}: {name} is {shown(config[name])}, that of the network is "
                f"{value}; copy the file again"
            )
    return enhancer.eval()


def direction_of(folder: Path) -> Direction:
    """Return the direction of a stored network; InputError if its config cannot be read."""
    return _FILES.read_config(folder)["direction"]


def facts_of_run(folder: Path) -> dict[str, Any]:
    """Return the facts that a network was stored with (`save_enhancer`).

    Raises:
        InputError: if the config is missing or damaged, or holds none.
    """
    facts = _FILES.read_config(folder).get("facts")
    if not isinstance(facts, dict):
        raise InputError(f"{folder / CONFIG_FILE}: 'facts' is missing; copy the file again")
    return facts


def fingerprint_of(folder: Path) -> str:
    """Return a hash of a stored network's parameters and weights.

    Raises:
        InputError: if the config is missing or damaged.
    """
    config = _FILES.read_config(folder)
    return hash_text(json.dumps([config["model"], config["weights_sha256"]], sort_keys=True))


def _facts_of(enhancer: Enhancer, direction: Direction) -> dict[str, Any]:
    """Return what a config says of a network beside how to build it."""
    return {
        "sample_rate": enhancer.sample_rate,
        "channels": ["air"] if direction == AIR_TO_BONE else list(enhancer.channels),
        "causal": enhancer.causal,
        "latency_samples": enhancer.latency_samples,
        "num_parameters": enhancer.num_parameters,
    }
