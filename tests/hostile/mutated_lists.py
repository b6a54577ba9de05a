"""What a dataset and a training say of themselves, and lists that users write, mutated."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from bcsim.datasets.dataset import read_dataset_metadata
from bcsim.datasets.importers import import_pairs
from bcsim.datasets.pair_lists import read_pair_list
from bcsim.datasets.talkers import talkers_of
from bcsim.training.networks import build_model
from bcsim.workflows.presets import find_recipe
from bcsim.workflows.train import load_recipe
from bcsim.workflows.verify import verify
from tests.hostile.case import RATE, encode, speech

METADATA = {"schema": 1, "bcsim": "0.1.0", "seed": 0, "recipe": {"sample_rate": RATE}}


def lists(folder: Path) -> Iterator[tuple[str, bytes, Callable[[Path], object]]]:
    """Write recordings below `folder`; yield path, content and reader of what speaks of them."""
    for name, gain in (("air/a/0.flac", 1.0), ("bone/a/0.flac", 0.5)):
        (folder / "pairs" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "pairs" / name).write_bytes(encode(gain * speech(0.1), "FLAC"))
    pairs = folder / "pairs/pairs.csv"
    pairs.write_bytes(b"air,bone\nair/a/0.flac,bone/a/0.flac\n")
    yield "pairs/pairs.csv", pairs.read_bytes(), read_pair_list
    yield "talkers.csv", b"file,talker\na/0.flac,ann\nb.wav,bob\n", _talkers
    import_pairs(pairs, folder / "stored", names={"air": "air", "bone": "bone"})
    yield "stored/SHA256SUMS", (folder / "stored/SHA256SUMS").read_bytes(), _verified
    yield "dataset.json", json.dumps(METADATA).encode(), read_dataset_metadata
    recipe = find_recipe("envelope_mapper-small", "training").read_text()
    for key, value in (("width", 128), ("num_layers", 2), ("input_bands", 64)):
        recipe = recipe.replace(f"{key}: {value}", f"{key}: 2")
    yield "training.yaml", recipe.encode(), _network


def _talkers(path: Path) -> None:
    talkers_of(path, {"a": {"a/0.flac"}, "b": {"b.wav"}})


def _verified(path: Path) -> None:
    verify(path.parent)


def _network(path: Path) -> None:
    build_model(load_recipe(str(path), ()))
