"""Enhancers by what the command line calls them: the folder of a run, or a sensor's inverse."""

from dataclasses import dataclass
from pathlib import Path

from bcsim.files.hashing import hash_text
from bcsim.inference.inverse_response import InverseResponse
from bcsim.models.base import Enhancer
from bcsim.models.storage import (
    BONE_TO_AIR,
    CONFIG_FILE,
    WEIGHTS_FILE,
    fingerprint_of,
    load_enhancer,
)
from bcsim.workflows.presets import load_sensor

INVERSE = "inverse:"  # before the name of a sensor


@dataclass(frozen=True, eq=False)
class FoundEnhancer:
    """An enhancer, and where it comes from.

    Args:
        enhancer: the enhancer, on the CPU and in evaluation mode.
        fingerprint: hash of everything that decides what it makes of a signal.
        files: files that it was read from.
    """

    enhancer: Enhancer
    fingerprint: str
    files: list[Path]


def find_enhancer(name: str | Path) -> FoundEnhancer:
    """Read an enhancer.

    Args:
        name: folder of a run, or "inverse:" before whatever `load_sensor` takes, for the inverse of
            that sensor's response.

    Raises:
        InputError: if it cannot be found or read, or turns air into bone.
    """
    if not str(name).startswith(INVERSE):
        folder = Path(name)
        files = [folder / file for file in (WEIGHTS_FILE, CONFIG_FILE)]
        return FoundEnhancer(load_enhancer(folder, BONE_TO_AIR), fingerprint_of(folder), files)
    sensor = str(name).removeprefix(INVERSE)
    profile = load_sensor(sensor)
    made_from = hash_text(f"{INVERSE}{profile.to_bytes().hex()}")
    files = [Path(sensor)] if Path(sensor).is_file() else []
    return FoundEnhancer(InverseResponse(profile).eval(), made_from, files)
