"""Classifier two-sample test (Lopez-Paz & Oquab 2017, arXiv 1610.06545).

Can a classifier tell simulated from real? Its accuracy on talkers that it has not seen is 0.5
where it cannot. Finite data make even two halves of the same set differ by a little, so the
accuracy for real against real stands beside it. This is a property of a corpus, not of an
utterance.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bcsim.extras import require
from bcsim.metrics.comparison import Comparison
from bcsim.rng import stream

FLOOR_DB = 60.0
MAX_FOLDS = 5
MAX_FRAMES = 400  # of one utterance: beyond, frames are thinned out evenly


@dataclass(frozen=True)
class TwoSampleResult:
    """Balanced accuracies of the classifier.

    Args:
        accuracy: simulated against real; 0.5 is indistinguishable, 1 is told apart every time.
        null: real against real, the utterances split at random.
    """

    accuracy: float
    null: float


def two_sample_test(
    pairs: Sequence[Comparison], talkers: Sequence[str], seed: int = 0
) -> TwoSampleResult:
    """Let boosted trees tell simulated from real frames.

    Features are the levels of 40 mel bands, floored 60 dB under the utterance's maximum, and
    their differences over two frames either way; active frames only. Folds go by talker.

    Args:
        pairs: simulated beside real, levels matched.
        talkers: of each pair; where unknown, give each pair a name of its own.
        seed: of the random split for the null.

    Returns:
        NaN for both with fewer than two talkers; NaN for the null with fewer than four pairs.
    """
    voiced = [(pair, name) for pair, name in zip(pairs, talkers, strict=True) if not pair.is_void]
    if len({name for _, name in voiced}) < 2:
        return TwoSampleResult(math.nan, math.nan)
    groups = [name for _, name in voiced]
    simulated = [features(pair, 0) for pair, _ in voiced]
    real = [features(pair, 1) for pair, _ in voiced]
    accuracy = separability(
        simulated + real, [0] * len(voiced) + [1] * len(voiced), groups + groups
    )
    if len(voiced) < 4:
        return TwoSampleResult(accuracy, math.nan)
    # Half of the utterances each, as evenly within talkers as they come.
    order = stream(seed, "two-sample null").permutation(len(voiced))
    order = sorted(order, key=lambda index: groups[index])
    labels = [0] * len(voiced)
    for position, index in enumerate(order):
        labels[index] = position % 2
    return TwoSampleResult(accuracy, separability(real, labels, groups))


def features(pair: Comparison, which: int) -> NDArray[np.float64]:
    """Return levels and their differences, (active frames, 2 M).

    Args:
        pair: two signals.
        which: 0 for the estimate, 1 for the real one.
    """
    levels = pair.mel_levels_db[which].numpy()
    levels = np.maximum(levels, levels.max() - FLOOR_DB)
    padded = np.pad(levels, ((2, 2), (0, 0)), mode="edge")
    slope = (2 * (padded[4:] - padded[:-4]) + padded[3:-1] - padded[1:-3]) / 10
    chosen = np.flatnonzero(pair.active.numpy())
    if len(chosen) > MAX_FRAMES:
        chosen = chosen[np.linspace(0, len(chosen) - 1, MAX_FRAMES).round().astype(int)]
    return np.concatenate([levels, slope], axis=1)[chosen]


def separability(
    samples: Sequence[NDArray[np.float64]], labels: Sequence[int], groups: Sequence[str]
) -> float:
    """Return the balanced accuracy on held-out groups, averaged over folds.

    Args:
        samples: (frames, features) for each utterance.
        labels: 0 or 1 for each utterance.
        groups: of each utterance; a group is never both in training and in test.

    Returns:
        NaN if no fold has both labels on either side.
    """
    ensemble = require("sklearn.ensemble", extra="eval")
    threadpoolctl = require("threadpoolctl", extra="eval")
    names = sorted(set(groups))
    scores = []
    for fold in range(min(MAX_FOLDS, len(names))):
        held_out = set(names[fold :: min(MAX_FOLDS, len(names))])
        test = [index for index, group in enumerate(groups) if group in held_out]
        train = [index for index, group in enumerate(groups) if group not in held_out]
        if any(len({labels[index] for index in part}) < 2 for part in (train, test)):
            continue
        model = ensemble.HistGradientBoostingClassifier(
            max_iter=60, early_stopping=False, random_state=0
        )
        with threadpoolctl.threadpool_limits(1):  # sums of floats depend on how they are split
            model.fit(*_stack(samples, labels, train))
            inputs, truth = _stack(samples, labels, test)
            guess = model.predict(inputs)
        scores.append(np.mean([(guess[truth == label] == label).mean() for label in (0, 1)]))
    return float(np.mean(scores)) if scores else math.nan


def _stack(
    samples: Sequence[NDArray[np.float64]], labels: Sequence[int], chosen: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    inputs = np.concatenate([samples[index] for index in chosen])
    truth = np.concatenate([np.full(len(samples[index]), labels[index]) for index in chosen])
    return inputs, truth
