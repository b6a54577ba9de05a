"""Benchmarks are scripts, not modules: loaded by path."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="session")
def load_benchmark(load_script) -> Callable[[str], ModuleType]:
    return lambda name: load_script(FOLDER / f"{name}.py")
