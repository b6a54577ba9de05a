"""Enhancers by name: those that come with bcsim, the folder of a run, or a sensor's inverse."""

from dataclasses import dataclass
from pathlib import Path

from bcsim.errors import InputError, UsageError, did_you_mean
from bcsim.files.hashing import hash_text
from bcsim.inference.inverse_response import InverseResponse
from bcsim.models.base import Enhancer
from bcsim.models.storage import (
    BONE_TO_AIR,
    CONFIG_FILE,
    WEIGHTS_FILE,
    Direction,
    fingerprint_of,
)
from bcsim.models.storage import load_enhancer as load_stored
from bcsim.workflows.presets import bundled_folder, load_sensor

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


def bundled_enhancers() -> dict[str, Path]:
    """Return the folders of the trained enhancers that come with bcsim, by name."""
    folder = bundled_folder("bcsim.assets") / "models"
    return {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{CONFIG_FILE}"))}


def enhancer_folder(name: str | Path) -> Path:
    """Return the folder of an enhancer that is given by path or by the name of a bundled one.

    Args:
        name: name of a bundled enhancer, or folder. A `Path` is always a folder.

    Raises:
        InputError: if there is neither.
        UsageError: if the name is that of a folder here as well.
    """
    bundled = bundled_enhancers()
    folder = Path(name)
    if isinstance(name, str) and name in bundled:
        if folder.exists():
            raise UsageError(
                f"{name} is an enhancer that comes with bcsim, and there is ./{name}, too; write "
                f"./{name} for the folder, or rename it"
            )
        return bundled[name]
    if not folder.is_dir():
        raise InputError(
            f"{name}: no such folder of a model{did_you_mean(str(name), bundled)}; give the folder "
            f"of a run, or one of {', '.join(bundled)}"
        )
    return folder


def load_enhancer(name: str | Path, direction: Direction | None = None) -> Enhancer:
    """Read an enhancer, on the CPU and in evaluation mode.

    Args:
        name: name of an enhancer that comes with bcsim, folder of a run, or "inverse:" before
            whatever `load_sensor` takes, for the inverse of that sensor's response.
        direction: direction that the network of a run has to have, or None for either.

    Raises:
        InputError: if it cannot be found or read, or is of another direction.
        UsageError: for an unknown direction, or a name that is that of a folder here as well.

    Example:
        >>> load_enhancer("throat").sample_rate
        16000
    """
    if str(name).startswith(INVERSE):
        return find_enhancer(name).enhancer
    return load_stored(enhancer_folder(name), direction)


def find_enhancer(name: str | Path) -> FoundEnhancer:
    """Read an enhancer as `load_enhancer` does, with what tells it from others.

    Raises:
        InputError: if it cannot be found or read, or turns air into bone.
    """
    if not str(name).startswith(INVERSE):
        folder = enhancer_folder(name)
        files = [folder / file for file in (WEIGHTS_FILE, CONFIG_FILE)]
        return FoundEnhancer(load_stored(folder, BONE_TO_AIR), fingerprint_of(folder), files)
    sensor = str(name).removeprefix(INVERSE)
    profile = load_sensor(sensor)
    made_from = hash_text(f"{INVERSE}{profile.to_bytes().hex()}")
    files = [Path(sensor)] if Path(sensor).is_file() else []
    return FoundEnhancer(InverseResponse(profile).eval(), made_from, files)
