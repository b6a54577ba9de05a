"""The accuracy that bcsim promises on the development recordings."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from bcsim.data.recordings import read_recordings

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "simulation_accuracy.py"


@pytest.fixture(scope="module")
def benchmark_module():
    specification = importlib.util.spec_from_file_location("simulation_accuracy", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.shared
@pytest.mark.slow
def test_the_fitted_throat_microphone_beats_the_low_pass_by_far(benchmark_module, shared):
    """Leave one utterance out, over all 16: the limits of the project's own brief."""
    folder = shared / "data" / "vibravox_throat"
    pairs = read_recordings(folder / "air", folder / "bone", 16_000).pairs
    assert len(pairs) == 16
    mean = {
        method: {key: float(np.mean([row[key] for row in rows])) for key in ("lsd", "mcd", "ltas")}
        for method in ("power-ratio", "temporal-transforms")
        for rows in [benchmark_module.leave_one_out(method, pairs, 16_000)]
    }
    assert mean["power-ratio"]["lsd"] <= 9.6
    assert mean["power-ratio"]["mcd"] <= 7.1
    assert mean["power-ratio"]["ltas"] <= 4.5
    assert mean["temporal-transforms"]["lsd"] == pytest.approx(13.8, abs=0.2)
    assert mean["temporal-transforms"]["mcd"] == pytest.approx(11.0, abs=0.2)
    assert mean["temporal-transforms"]["ltas"] == pytest.approx(14.0, abs=0.4)


def test_the_table_is_markdown(benchmark_module):
    means = {"h1": dict.fromkeys(benchmark_module.COLUMNS, 1.0)}
    assert (
        benchmark_module.table(means).splitlines()[-1]
        == "| h1 | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 |"
    )
