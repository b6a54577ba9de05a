"""How well a way of fitting does on recordings that it has not seen.

Each fold is simulated by a sensor that was fitted to the others, and compared with what was
recorded (`bcsim.metrics`). The errors decide which estimator `auto` takes, give the residual of
the speech-dependent part (`bcsim.fitting.residual`), and go into the profile.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from bcsim.effects.white_noise import WhiteNoise
from bcsim.effects.zero_phase_lowpass import ZeroPhaseLowpass
from bcsim.fitting.pairs import AlignedPair
from bcsim.fitting.simulation import simulate
from bcsim.metrics import METRICS
from bcsim.metrics.scores import headline_metrics, simulation_scores
from bcsim.progress import track
from bcsim.sensors.profile import SensorProfile
from bcsim.simulator import Simulator

SCORES = tuple(name for name in headline_metrics() if METRICS[name].better != "one")
BASELINE = "temporal-transforms"

Prediction = tuple[AlignedPair, SensorProfile]  # a fold item, the sensor fitted without its fold
Fit = Callable[[list[AlignedPair]], SensorProfile]


@dataclass(frozen=True, eq=False)
class Trial:
    """A way of fitting, tried by cross-validation.

    Args:
        scores: mean of each score over the fold items.
        rows: scores of each fold item, by its name.
        predictions: each fold item with the sensor that was fitted without its fold.
    """

    scores: dict[str, float]
    rows: dict[str, dict[str, float]]
    predictions: list[Prediction]


def cross_validate(
    items: Sequence[AlignedPair], folds: Sequence[set[int]], fits: Mapping[str, Fit]
) -> dict[str, Trial]:
    """Fit without each fold in turn, in every way, and score the simulation of the fold.

    Args:
        items: fold items.
        folds: sets of indices of the items that are left out together.
        fits: ways of fitting, by name.

    Returns:
        A trial for each way of fitting, by name.
    """
    rows: dict[str, dict[str, dict[str, float]]] = {name: {} for name in fits}
    predictions: dict[str, list[Prediction]] = {name: [] for name in fits}
    tasks = [(name, fold) for name in fits for fold in folds]
    for name, fold in track(tasks, len(tasks), "fitting without each fold"):
        profile = fits[name]([item for k, item in enumerate(items) if k not in fold])
        for index in sorted(fold):
            item = items[index]
            rows[name][item.name] = scores_of(simulate(profile, item.air, item.name), item)
            predictions[name].append((item, profile))
    return {name: Trial(mean_scores(rows[name]), rows[name], predictions[name]) for name in fits}


def scores_of(simulated: Tensor, pair: AlignedPair) -> dict[str, float]:
    """Return the scores of a simulation of a pair's bone signal, (T,)."""
    scores = simulation_scores(simulated, pair.bone, pair.air, pair.sample_rate)
    return {name: scores[name] for name in SCORES}


def mean_scores(rows: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each score over the rows where it is defined; none where it never is."""
    known = {
        name: [row[name] for row in rows.values() if np.isfinite(row[name])] for name in SCORES
    }
    return {name: float(np.mean(values)) for name, values in known.items() if values}


def baseline_scores(pairs: Sequence[AlignedPair]) -> dict[str, float]:
    """Return the scores of EBEN's low-pass, which is fitted to nothing, on the same recordings.

    It is the mean draw of the recipe `temporal-transforms`, without the fades and the peak
    normalisation, which would change air as well.
    """
    rows = {}
    for pair in pairs:
        simulator = Simulator((ZeroPhaseLowpass(), WhiteNoise()), pair.sample_rate)
        scene = simulator.render(pair.air[None], [pair.name], 0, mean=True)
        rows[pair.name] = scores_of(scene.bone[0], pair)
    return mean_scores(rows)
