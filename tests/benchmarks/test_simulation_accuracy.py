"""The accuracy that bcsim promises on the development recordings."""

import numpy as np
import pytest

from bcsim.data.recordings import read_recordings


@pytest.fixture(scope="module")
def benchmark_module(load_benchmark):
    return load_benchmark("simulation_accuracy")


@pytest.fixture(scope="module")
def means(benchmark_module, shared):
    """Mean scores of the fixed response and of the network, in both ways, over all pairs."""
    folder = shared / "data" / "vibravox_throat"
    pairs = read_recordings(
        folder / "air", folder / "bone", 16_000, talkers=folder / "pairs.csv"
    ).pairs
    assert len(pairs) == 16
    fits = benchmark_module.Fits(pairs, 16_000, held_out=False)
    found = {}
    for way in (benchmark_module.OTHERS, benchmark_module.OWN):
        for method in ("power-ratio", "band-gain-network"):
            rows = benchmark_module.measure(fits, method, way).rows
            found[way, method] = {
                key: float(np.mean([row[key] for row in rows])) for key in benchmark_module.COLUMNS
            }
    return found


@pytest.mark.shared
@pytest.mark.slow
def test_a_talker_in_the_fit_is_simulated_as_well_as_promised(benchmark_module, means):
    fixed = means[benchmark_module.OWN, "power-ratio"]
    network = means[benchmark_module.OWN, "band-gain-network"]
    assert fixed["lsd"] <= 9.2
    assert network["lsd"] <= min(7.5, fixed["lsd"] - 1.5)
    assert network["mel_sd"] <= 6.4
    assert network["mcd"] <= 4.6
    assert network["estoi"] >= 0.58


@pytest.mark.shared
@pytest.mark.slow
def test_a_talker_not_in_the_fit_is_simulated_as_well_as_promised(benchmark_module, means):
    fixed = means[benchmark_module.OTHERS, "power-ratio"]
    network = means[benchmark_module.OTHERS, "band-gain-network"]
    assert network["lsd"] <= min(9.2, fixed["lsd"] - 0.4)
    assert network["mel_sd"] <= 8.9
    assert network["mcd"] <= 6.2
    assert fixed["ltas"] <= 4.7


def test_the_table_is_markdown(benchmark_module):
    row = dict.fromkeys(benchmark_module.COLUMNS, 1.0)
    result = benchmark_module.Result([row, row], ["ann", "bob"], 0.5, 0.5)
    assert (
        benchmark_module.table({"h1": result}, intervals=False).splitlines()[-1]
        == "| h1 | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 | 0.50 (0.50) |"
    )
