"""Coupling of held-out simulations, with the residual drawn, beside that of the recordings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bcsim.fitting.cross_validation import Prediction
from bcsim.fitting.simulation import simulate
from bcsim.metrics.comparison import Comparison
from bcsim.metrics.coupling import coupling_of, envelope_correlations
from bcsim.metrics.scores import coupling_metrics
from bcsim.progress import track
from bcsim.workers.heap import give_heap_back


@dataclass(frozen=True, eq=False)
class HeldOutCoupling:
    """How closely the sensor's signal follows air, mean over fold items.

    Args:
        real: coupling of the recordings by metric, such as the STOI of bone with air.
        simulated: the same of the simulations by sensors that were fitted without them.
        real_bands: (20,), envelope correlation of the recordings at
            `bcsim.metrics.coupling.BAND_CENTRES_HZ`; NaN where none is known.
        simulated_bands: (20,), the same of the simulations.
    """

    real: dict[str, float]
    simulated: dict[str, float]
    real_bands: NDArray[np.float64]
    simulated_bands: NDArray[np.float64]

    @property
    def scores(self) -> dict[str, float]:
        """Simulated less real coupling, by metric, where both are known."""
        both = {name: self.simulated[name] - real for name, real in self.real.items()}
        return {name: value for name, value in both.items() if math.isfinite(value)}


def held_out_coupling(predictions: Sequence[Prediction]) -> HeldOutCoupling | None:
    """Simulate each fold item with the residual drawn, and compare both signals with air.

    Returns:
        The coupling, or None without fold items.
    """
    if not predictions:
        return None
    values: dict[str, list[list[float]]] = {name: [] for name in coupling_metrics()}
    bands = []
    for pair, profile in track(predictions, len(predictions), "measuring the coupling"):
        simulated = simulate(profile, pair.air[:], pair.name, within_clip=True)
        compared = Comparison.prepare(simulated, pair.bone[:], pair.sample_rate, pair.air[:])
        if compared.is_void or compared.is_dead:
            continue
        signals = (compared.real, compared.estimate)
        for name, rows in values.items():
            rows.append([coupling_of(signal, compared, name) for signal in signals])
        bands.append(torch.stack([envelope_correlations(signal, compared) for signal in signals]))
        give_heap_back()
    means = {name: _means(np.array(rows).reshape(-1, 2)) for name, rows in values.items()}
    both = _means(torch.stack(bands).numpy()) if bands else np.full((2, 1), np.nan)
    return HeldOutCoupling(
        real={name: float(mean[0]) for name, mean in means.items()},
        simulated={name: float(mean[1]) for name, mean in means.items()},
        real_bands=both[0],
        simulated_bands=both[1],
    )


def _means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return means over the first axis of what is known, NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
