"""Discriminators in files, beside the enhancer that they were trained against.

`discriminator.safetensors` holds the weights, `discriminator.json` says what they are of.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bcsim
from bcsim.discriminators import DISCRIMINATORS
from bcsim.discriminators.base import Discriminator
from bcsim.dsp.randomness import torch_stream
from bcsim.files.atomic import write_bytes, write_json
from bcsim.files.safetensors_file import load_network, pack_weights, read_config
from bcsim.registry import build

WEIGHTS_FILE, CONFIG_FILE = "discriminator.safetensors", "discriminator.json"
SCHEMA = 1


def build_discriminator(spec: Mapping[str, Any], seed: int) -> Discriminator:
    """Make a discriminator with fresh weights.

    Args:
        spec: `{name: ..., parameter: value, ...}`.
        seed: what the weights depend on, with nothing else.

    Raises:
        UsageError: for an unknown name or parameter, or sizes that make no network.
    """
    return build(DISCRIMINATORS, spec, within=torch_stream(seed, "discriminator", "weights"))


def save_discriminator(folder: Path, discriminator: Discriminator, spec: Mapping[str, Any]) -> None:
    """Write `discriminator.safetensors` and `discriminator.json`, each whole or not at all.

    Args:
        folder: where to.
        discriminator: what to save.
        spec: what it was built from.

    Raises:
        ValueError: if a weight is not a finite number.
        EnvironmentFault: if the disk is full or forbidden.
    """
    content = pack_weights(discriminator.state_dict())
    config = {
        "format": "bcsim-discriminator",
        "schema": SCHEMA,
        "discriminator": dict(spec),
        "weights_sha256": hashlib.sha256(content).hexdigest(),
        "bcsim_version": bcsim.__version__,
    }
    write_bytes(folder / WEIGHTS_FILE, content)
    write_json(folder / CONFIG_FILE, config)


def load_discriminator(folder: Path) -> Discriminator:
    """Read a discriminator that `save_discriminator` wrote, on the CPU and in training mode.

    Raises:
        InputError: if a file is missing, damaged, newer than this version, or holds other weights
            than the network has; the first differences are listed.
    """
    config = read_config(folder / CONFIG_FILE, "discriminator", SCHEMA, key="discriminator")
    return load_network(
        folder / WEIGHTS_FILE,
        lambda: build_discriminator(config["discriminator"], seed=0),
        blamed=folder / CONFIG_FILE,
        sha256=config["weights_sha256"],
    )
