"""Discriminators in files, beside the enhancer that they were trained against.

`discriminator.safetensors` holds the weights, `discriminator.json` says what they are of.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from bcsim.discriminators import DISCRIMINATORS
from bcsim.discriminators.base import Discriminator
from bcsim.dsp.randomness import torch_stream
from bcsim.files.safetensors_file import NetworkFiles
from bcsim.registry import Convert, build, convert_plain, convert_stored

WEIGHTS_FILE, CONFIG_FILE = "discriminator.safetensors", "discriminator.json"


def build_discriminator(
    spec: Mapping[str, Any], seed: int, convert: Convert = convert_plain
) -> Discriminator:
    """Make the discriminator `{name: ..., parameter: value, ...}` with weights drawn from `seed`.

    Raises:
        UsageError: for an unknown name or parameter, or sizes that make no network.
    """
    within = torch_stream(seed, "discriminator", "weights")
    return build(DISCRIMINATORS, spec, convert=convert, within=within)


_FILES = NetworkFiles(
    *("discriminator", "discriminator", WEIGHTS_FILE, CONFIG_FILE),
    build=partial(build_discriminator, seed=0, convert=convert_stored),
)


def save_discriminator(folder: Path, discriminator: Discriminator, spec: Mapping[str, Any]) -> None:
    """Write a discriminator that was built from `spec`; see `NetworkFiles.save`."""
    _FILES.save(folder, discriminator, spec)


def load_discriminator(folder: Path) -> Discriminator:
    """Read a discriminator that `save_discriminator` wrote, on the CPU and in training mode.

    Raises:
        InputError: if a file is missing, damaged, newer than this version, or holds other weights
            than the network has; the first differences are listed.
    """
    return _FILES.load(folder)
