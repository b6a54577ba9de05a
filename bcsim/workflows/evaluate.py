"""`bcsim evaluate`: how close a simulated sensor comes to real recordings of it."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from bcsim.data.recordings import read_recordings
from bcsim.errors import InputError
from bcsim.metrics import simulation_scores
from bcsim.metrics.comparison import Comparison
from bcsim.metrics.two_sample import two_sample_test
from bcsim.progress import track
from bcsim.sensors.alignment import coarse_lag
from bcsim.sensors.pairs import RecordedPair, check_pair
from bcsim.simulator import Simulator
from bcsim.workflows.presets import resolve_simulator

Scores = dict[str, float]
IN_STEP_S = 0.005


@dataclass(frozen=True)
class Evaluation:
    """The accuracy of one simulated sensor.

    Args:
        sensor: its name.
        scores: means over the pairs, with `c2st` and `c2st_null`; NaN where undefined.
        pairs: the scores of each pair, by name.
        failures: pairs that could not be used, and why.
    """

    sensor: str
    scores: Scores
    pairs: dict[str, Scores]
    failures: dict[str, str]


def evaluate(sensor: str, air: Path, bone: Path) -> Evaluation:
    """Simulate the sensor's signal of real pairs and compare it with the recorded one.

    The mean sensor is rendered, with its noise floor. A sensor that was fitted on the same pairs
    looks better than it is: evaluate on others, or look at the leave-one-out table of
    `benchmarks/simulation_accuracy.py`.

    Args:
        sensor: file, bundled sensor or preset.
        air: file or folder of the air microphone.
        bone: file or folder of the sensor.

    Raises:
        InputError: if no pair can be used.
    """
    resolved = resolve_simulator(sensor)
    simulator = resolved.simulator
    recordings = read_recordings(air, bone, simulator.sample_rate)
    failures = dict(recordings.failures)
    rows: dict[str, Scores] = {}
    comparisons, talkers = [], []
    for pair in track(recordings.pairs, len(recordings.pairs), "evaluating"):
        try:
            check_pair(pair, simulator.sample_rate)
        except InputError as error:
            failures[pair.name] = str(error)
            continue
        simulated, real, reference = simulate(simulator, pair)
        rows[pair.name] = simulation_scores(simulated, real, reference, simulator.sample_rate)
        comparisons.append(
            Comparison.prepare(simulated, real, simulator.sample_rate, reference=reference)
        )
        talkers.append(pair.talker or pair.name)
    if not rows:
        raise InputError(f"no usable pair; first: {next(iter(failures.values()))}")
    told_apart = two_sample_test(comparisons, talkers)
    scores = {
        name: mean([row[name] for row in rows.values()]) for name in next(iter(rows.values()))
    }
    scores |= {"c2st": told_apart.accuracy, "c2st_null": told_apart.null}
    return Evaluation(resolved.sensor, scores, rows, failures)


def simulate(
    simulator: Simulator, pair: RecordedPair
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return what the mean sensor makes of a pair's air, the real bone, and the air, (T,) each.

    Recorders that were started apart are brought into step first. A few milliseconds are left as
    they are: the metrics look at frames of 32 ms, and a single pair does not tell its delay finer
    than that from the sensor's phase.
    """
    lag = coarse_lag(pair, simulator.sample_rate)
    lag = lag if abs(lag) > IN_STEP_S * simulator.sample_rate else 0
    overlap = len(pair.air) - abs(lag)
    air, real = (
        torch.from_numpy(signal[start : start + overlap].astype("float64"))
        for signal, start in ((pair.air, max(-lag, 0)), (pair.bone, max(lag, 0)))
    )
    return simulator.render(air[None], [pair.name], seed=0, mean=True).bone[0], real, air


def mean(values: list[float]) -> float:
    """Return the mean of what is defined, or NaN."""
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan
