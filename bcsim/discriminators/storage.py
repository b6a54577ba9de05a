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
from bcsim.files.safetensors_file import (
    check_config,
    load_network,
    pack_weights,
    read_json,
    shapes_of,
    weights_of,
    write_network,
)
from bcsim.registry import Convert, build, convert_plain, convert_stored

WEIGHTS_FILE, CONFIG_FILE = "discriminator.safetensors", "discriminator.json"
SCHEMA = 1


def build_discriminator(
    spec: Mapping[str, Any], seed: int, convert: Convert = convert_plain
) -> Discriminator:
    """Make the discriminator `{name: ..., parameter: value, ...}` with weights drawn from `seed`.

    Raises:
        UsageError: for an unknown name or parameter, or sizes that make no network.
    """
    within = torch_stream(seed, "discriminator", "weights")
    return build(DISCRIMINATORS, spec, convert=convert, within=within)


def save_discriminator(folder: Path, discriminator: Discriminator, spec: Mapping[str, Any]) -> None:
    """Write a discriminator that was built from `spec`, each file whole or not at all.

    Raises:
        ValueError: if a weight is not a finite number.
        InputError: if the config could not be read again, or makes another network.
        EnvironmentFault: if the disk is full or forbidden.
    """
    content = pack_weights(weights_of(discriminator))
    config = {
        "format": "bcsim-discriminator",
        "schema": SCHEMA,
        "discriminator": dict(spec),
        "weights_sha256": hashlib.sha256(content).hexdigest(),
        "bcsim_version": bcsim.__version__,
    }
    shapes = shapes_of(weights_of(discriminator))
    write_network(
        *(folder / WEIGHTS_FILE, folder / CONFIG_FILE, content, config, shapes),
        check=_checked_config,
        build=_as_stored,
    )


def load_discriminator(folder: Path) -> Discriminator:
    """Read a discriminator that `save_discriminator` wrote, on the CPU and in training mode.

    Raises:
        InputError: if a file is missing, damaged, newer than this version, or holds other weights
            than the network has; the first differences are listed.
    """
    config = _checked_config(read_json(folder / CONFIG_FILE), folder / CONFIG_FILE)
    return load_network(
        folder / WEIGHTS_FILE,
        lambda: _as_stored(config),
        blamed=folder / CONFIG_FILE,
        sha256=config["weights_sha256"],
    )


def _checked_config(config: dict[str, Any], path: Path) -> dict[str, Any]:
    check_config(config, path, "discriminator", SCHEMA, key="discriminator")
    return config


def _as_stored(config: Mapping[str, Any]) -> Discriminator:
    return build_discriminator(config["discriminator"], 0, convert_stored)
