"""The accuracy that bcsim promises on the development recordings."""

from types import SimpleNamespace

import numpy as np
import pytest

from bcsim.datasets.recordings import read_recordings

# Two of the four utterances of the talker who has the most; the fits see all of them.
NAMES = ("a_00", "a_18")


@pytest.fixture(scope="module")
def benchmark_module(load_benchmark):
    return load_benchmark("simulation_accuracy")


@pytest.fixture(scope="module")
def means(benchmark_module, shared):
    """Mean scores of the fixed response and of the network, in both ways, over two pairs.

    Fitted as for the promise, which is over all seven talkers (the benchmark prints that, in
    minutes). These are easier: the limits below are the promised ones, less the difference of
    their means to those of all pairs, which leaves the same room. Measured on 2026-11-30, by the
    network: in the fit LSD 6.55, MelSD 5.35, MCD 3.96, ESTOI .674 (fixed: LSD 8.13); not in the
    fit 7.43, 6.54, 4.79 (fixed: LSD 8.55, LTAS 2.70).
    """
    folder = shared / "data" / "vibravox_throat"
    pairs, _ = read_recordings(
        folder / "air", folder / "bone", 16_000, talkers=folder / "pairs.csv"
    )
    assert len(pairs) == 16
    fits = benchmark_module.Fits(pairs, 16_000, held_out=False)
    tried = SimpleNamespace(
        pairs=[pair for pair in pairs if pair.name in NAMES],
        sample_rate=fits.sample_rate,
        without=fits.without,
        synchronised=fits.synchronised,
    )
    assert len(tried.pairs) == 2
    found = {}
    for way in (benchmark_module.OTHERS, benchmark_module.OWN):
        for method in ("power-ratio", "band-gain-network"):
            rows = benchmark_module.measure(tried, method, way).rows
            found[way, method] = {
                key: float(np.mean([row[key] for row in rows])) for key in benchmark_module.COLUMNS
            }
    return found


@pytest.mark.shared
@pytest.mark.slow
def test_a_talker_in_the_fit_is_simulated_as_well_as_promised(benchmark_module, means):
    fixed = means[benchmark_module.OWN, "power-ratio"]
    network = means[benchmark_module.OWN, "band-gain-network"]
    assert fixed["lsd"] <= 8.55  # of all: 9.2
    assert network["lsd"] <= min(7.2, fixed["lsd"] - 1.4)  # 7.5
    assert network["mel_sd"] <= 5.9  # 6.4
    assert network["mcd"] <= 4.2  # 4.6
    assert network["estoi"] >= 0.64  # 0.58


@pytest.mark.shared
@pytest.mark.slow
def test_a_talker_not_in_the_fit_is_simulated_as_well_as_promised(benchmark_module, means):
    fixed = means[benchmark_module.OTHERS, "power-ratio"]
    network = means[benchmark_module.OTHERS, "band-gain-network"]
    assert network["lsd"] <= min(8.1, fixed["lsd"] - 0.8)  # of all: 9.2
    assert network["mel_sd"] <= 7.6  # 8.9
    assert network["mcd"] <= 5.2  # 6.2
    assert fixed["ltas"] <= 2.9  # 4.7


def test_the_table_is_markdown(benchmark_module):
    row = dict.fromkeys(benchmark_module.COLUMNS, 1.0)
    result = benchmark_module.Result([row, row], ["ann", "bob"], 0.5, 0.5)
    assert (
        benchmark_module.table({"h1": result}, intervals=False).splitlines()[-1]
        == "| h1 | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 | 0.50 (0.50) |"
    )
