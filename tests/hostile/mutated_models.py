"""The models that `adapt` begins from and `enhance` takes, each beside what reads it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from bcsim.inference.enhancer import enhance
from bcsim.models.storage import CONFIG_FILE, build_enhancer, load_enhancer, save_enhancer
from bcsim.training.networks import Networks, build_model
from bcsim.workflows.enhancers import INVERSE, bundled_enhancers, find_enhancer
from bcsim.workflows.train import load_recipe
from tests.hostile.case import RATE, speech

MAPPER = {"name": "envelope_mapper", "width": 2, "input_bands": 4, "output_bands": 4}
SETTINGS = tuple(f"model.{key}={value}" for key, value in MAPPER.items())


def starts(folder: Path) -> Iterator[tuple[str, Path, Callable[[Path], object]]]:
    """Write models below `folder`; yield the name, the config and what reads the folder of each."""
    config = load_recipe("envelope_mapper-small", SETTINGS)

    def begun_from(start: Path) -> None:
        Networks(config, build_model(config), None, None).begin_from(start)

    save_enhancer(folder / "start", build_enhancer(config.model, seed=1), {})
    yield "start", folder / "start" / CONFIG_FILE, begun_from
    shutil.copytree(bundled_enhancers()["throat-causal"], folder / "bundled")
    yield "bundled", folder / "bundled" / CONFIG_FILE, load_enhancer


def enhanced_by_inverse(sensor: Path) -> None:
    """Enhance a little speech by the inverse of a sensor's response."""
    found = find_enhancer(f"{INVERSE}{sensor}").enhancer
    assert np.isfinite(enhance(found, speech(0.1), RATE)).all()
