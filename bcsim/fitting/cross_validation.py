"""Cross-validation: how well a way of fitting does on recordings that it has not seen.

Recordings, or parts of them, are dealt into folds. Each fold is simulated by a sensor that was
fitted to the others, and compared with what was recorded (`bcsim.metrics`). The errors decide
which estimator `auto` takes, give the residual of the speech-dependent part
(`bcsim.fitting.residual`), and go into the profile.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from torch import Tensor

from bcsim.dsp.activity import ACTIVE_RANGE_DB, loud_power, speech_power_of
from bcsim.dsp.lazy_signal import part_of
from bcsim.effects.white_noise import WhiteNoise
from bcsim.effects.zero_phase_lowpass import ZeroPhaseLowpass
from bcsim.fitting.pairs import AlignedPair
from bcsim.fitting.simulation import simulate
from bcsim.metrics import METRICS
from bcsim.metrics.comparison import Comparison
from bcsim.metrics.scores import headline_metrics
from bcsim.progress import track
from bcsim.sensors.profile import SensorProfile
from bcsim.simulator import Simulator
from bcsim.workers.heap import give_heap_back

SCORES = tuple(name for name in headline_metrics() if not METRICS[name].drawn)
BASELINE = "temporal-transforms"
MAX_FOLDS = 4
MIN_PART_S = 1.5  # duration of a part of a recording
MAX_PART_S = 30.0  # longer recordings are cut, however many there are: scores need memory
MAX_PARTS = 40  # of long recordings, or four of each; scores of more hardly differ, and take hours

Prediction = tuple[AlignedPair, SensorProfile]  # a fold item, the sensor fitted without its fold
Fit = Callable[[list[AlignedPair]], SensorProfile]

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Trial:
    """Result of the cross-validation of one way of fitting.

    Args:
        scores: mean of each score over the fold items.
        rows: scores of each fold item, by its name.
        predictions: each fold item with the sensor that was fitted without its fold.
    """

    scores: dict[str, float]
    rows: dict[str, dict[str, float]]
    predictions: list[Prediction]


def folds_of(
    keys: Sequence[tuple[str | None, str]], most: int = MAX_FOLDS, least_talkers: int = 3
) -> list[set[int]]:
    """Deal recordings into folds, by talker where all recordings have one and there are enough.

    Args:
        keys: talker and name of each recording.
        most: largest number of folds.
        least_talkers: least number of talkers for folds by talker.

    Returns:
        Sets of indices of recordings; a single set of all where there is nothing to leave out.

    Example:
        >>> folds_of([("ann", "1"), ("bob", "2"), ("ann", "3"), ("cy", "4")])
        [{0, 2}, {1}, {3}]
    """
    talkers = [talker for talker, _ in keys if talker is not None]
    if len(set(talkers)) < least_talkers or len(talkers) < len(keys):
        talkers = [str(index) for index in range(len(keys))]
    names = sorted(set(talkers), key=lambda name: (-talkers.count(name), talkers.index(name)))
    folds: list[set[int]] = [set() for _ in range(min(most, len(names)))]
    for name in names:  # the largest first, each to the emptiest fold
        smallest = min(folds, key=len)
        smallest |= {index for index, talker in enumerate(talkers) if talker == name}
    return sorted(folds, key=min)


def fold_items(pairs: Sequence[AlignedPair]) -> list[AlignedPair]:
    """Return what is dealt into folds: pairs, or parts of them where they are few or long.

    Of recordings that make more parts than `MAX_PARTS` between them, evenly spread ones are taken.
    """
    wanted = 1 if len(pairs) >= MAX_FOLDS else -(-MAX_FOLDS // len(pairs))
    most = max(MAX_FOLDS, math.ceil(MAX_PARTS / len(pairs)))
    items, num_parts = [], 0
    for pair in pairs:
        parts = cut(pair, max(wanted, math.ceil(pair.seconds / MAX_PART_S)))
        count = min(len(parts), most)
        items += [parts[(2 * k + 1) * len(parts) // (2 * count)] for k in range(count)]
        num_parts += len(parts)
    if len(items) < num_parts:
        log.info(
            "cross-validation: %d of %d parts of %g s and less, evenly spread over the recordings",
            *(len(items), num_parts, MAX_PART_S),
        )
    return items


def cut(pair: AlignedPair, parts: int, min_part_s: float = MIN_PART_S) -> list[AlignedPair]:
    """Cut a pair into at most `parts` equal parts with speech, or return it where it makes one."""
    length, rate, hop = len(pair.air), pair.sample_rate, pair.num_fft // 4
    parts = max(1, min(parts, int(length / (min_part_s * rate))))
    edges = [length * k // parts for k in range(parts + 1)]
    pieces = []
    loud = loud_power(speech_power_of(pair.air, rate, pair.num_fft, hop))
    for number, (start, stop) in enumerate(pairwise(edges), start=1):
        air, bone = part_of(pair.air, start, stop), part_of(pair.bone, start, stop)
        power = speech_power_of(air, rate, pair.num_fft, hop)
        active = power > loud * 10 ** (-ACTIVE_RANGE_DB / 10)
        if int(active.sum()) < 4 or float(bone[:].abs().max()) == 0:
            continue
        piece = replace(pair, name=f"{pair.name} part {number}", air=air, bone=bone, active=active)
        seconds, active_seconds = (stop - start) / rate, int(active.sum()) * (hop / rate)
        pieces.append(replace(piece, seconds=seconds, active_seconds=active_seconds))
    return pieces if len(pieces) > 1 else [pair]


def cross_validate(
    items: Sequence[AlignedPair], folds: Sequence[set[int]], fits: Mapping[str, Fit]
) -> dict[str, Trial]:
    """Fit without each fold, and score the simulation of the fold.

    Args:
        items: fold items.
        folds: sets of indices of the items that are left out together.
        fits: functions that fit a sensor to items, by name.

    Returns:
        A trial for each of the functions, by name.
    """
    rows: dict[str, dict[str, dict[str, float]]] = {name: {} for name in fits}
    predictions: dict[str, list[Prediction]] = {name: [] for name in fits}
    tasks = [(name, fold) for name in fits for fold in folds]
    for name, fold in track(tasks, len(tasks), "fitting without each fold"):
        profile = fits[name]([item for k, item in enumerate(items) if k not in fold])
        give_heap_back()
        for item in (items[index] for index in sorted(fold)):
            rows[name][item.name] = _scores(simulate(profile, item.air[:], item.name), item)
            predictions[name].append((item, profile))
            give_heap_back()
    return {name: Trial(_mean_scores(rows[name]), rows[name], predictions[name]) for name in fits}


def _scores(simulated: Tensor, pair: AlignedPair) -> dict[str, float]:
    """Return the scores of a simulation (T,) of a pair's bone signal."""
    compared = Comparison.prepare(simulated, pair.bone[:], pair.sample_rate, pair.air[:])
    return {name: METRICS[name](compared) for name in SCORES}


def _mean_scores(rows: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each score over the rows where it is finite, if there are any."""
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
        scene = simulator.render(pair.air[:][None], [pair.name], 0, mean=True)
        rows[pair.name] = _scores(scene.bone[0], pair)
        give_heap_back()
    return _mean_scores(rows)
