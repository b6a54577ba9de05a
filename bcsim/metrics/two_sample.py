"""Classifier two-sample test (Lopez-Paz & Oquab 2017, arXiv 1610.06545).

Can a classifier tell simulated from real? Its accuracy on talkers that it has not seen is 0.5
where it cannot. Finite data make even two halves of the same recordings differ by a little, so
the accuracy for real against real stands beside it, the null. This is a property of a corpus, not
of an utterance.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bcsim.extras import optional_import
from bcsim.metrics.comparison import Comparison
from bcsim.rng import stream

FLOOR_DB = 60.0
MAX_FOLDS = 5
MAX_FRAMES = 400  # taken from one utterance, evenly
MAX_ALL_FRAMES = 16_000  # of all utterances together, for the sake of time
NUM_SPLITS = 3  # of the real frames, behind the null
SEGMENT = 31  # frames, half a second


class Frames(NamedTuple):
    """What the test needs of a pair: `features` of some of its active frames.

    Args:
        simulated: (N, 2 M), of the simulated signal.
        real: (N, 2 M), of the real one.
    """

    simulated: NDArray[np.float64]
    real: NDArray[np.float64]


def frames_of(pair: Comparison, num_pairs: int) -> Frames | None:
    """Return frames of a pair, or None where its real signal is silent.

    Args:
        pair: simulated beside real signal, levels matched.
        num_pairs: number of pairs, which share out 16,000 frames.
    """
    if pair.is_void:
        return None
    most = max(1, min(MAX_FRAMES, MAX_ALL_FRAMES // num_pairs))
    return Frames(features(pair, 0, most), features(pair, 1, most))


def told_apart(pairs: Sequence[Frames | None], talkers: Sequence[str]) -> float:
    """Return the balanced accuracy with which boosted trees tell simulated from real frames.

    Features are the levels of 40 mel bands, floored 60 dB under the real utterance's maximum,
    and their differences over two frames either way; active frames only. Folds go by talker. Both
    sets hold the same speech, so what was said and who said it tell nothing.

    Args:
        pairs: frames of each pair; None for one that is left out.
        talkers: talker of each pair; where unknown, a name of its own for each pair.

    Returns:
        0.5 where the two cannot be told apart, 1 where they always are; NaN with fewer than two
        talkers.
    """
    voiced, groups = _voiced(pairs, talkers)
    if len(set(groups)) < 2:
        return math.nan
    samples = [*(pair.simulated for pair in voiced), *(pair.real for pair in voiced)]
    return separability(samples, [0] * len(voiced) + [1] * len(voiced), groups + groups)


def null_accuracy(
    pairs: Sequence[Frames | None], talkers: Sequence[str], seed: int = 0
) -> tuple[float, float]:
    """Return the accuracy of real against real: mean and deviation over several random splits.

    Every utterance is cut into segments of about half a second, of which a random half goes to
    either set: as in the test itself, both sets hold every utterance of every talker. Whole
    utterances against others give 0.5 as well, but differ more from split to split, as they
    happen to fall together (16 utterances of 7 talkers: deviation 0.03 instead of 0.01).

    Args:
        pairs: frames of each pair, of which the real ones are compared; None for one left out.
        talkers: talker of each pair.
        seed: seed of the random splits.

    Returns:
        NaN for both with fewer than two talkers.
    """
    voiced, groups = _voiced(pairs, talkers)
    if len(set(groups)) < 2:
        return math.nan, math.nan
    real = [pair.real for pair in voiced]
    found = []
    for split in range(NUM_SPLITS):
        generator = stream(seed, "two-sample null", split)
        halves = [halve(frames, generator) for frames in real]
        samples = [half[label] for label in (0, 1) for half in halves]
        labels = [0] * len(real) + [1] * len(real)
        found.append(separability(samples, labels, groups + groups))
    return float(np.mean(found)), float(np.std(found))


def halve(
    frames: NDArray[np.float64], generator: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Deal segments of frames (N, features) at random to two halves of as many segments."""
    segments = np.array_split(frames, max(2, len(frames) // SEGMENT))
    order = generator.permutation(len(segments))
    first, second = order[::2], order[1::2]
    if generator.integers(2):  # where their number is odd, either may get the one more
        first, second = second, first
    return (
        np.concatenate([segments[index] for index in sorted(first)]),
        np.concatenate([segments[index] for index in sorted(second)]),
    )


def _voiced(
    pairs: Sequence[Frames | None], talkers: Sequence[str]
) -> tuple[list[Frames], list[str]]:
    voiced = [(pair, name) for pair, name in zip(pairs, talkers, strict=True) if pair is not None]
    return [pair for pair, _ in voiced], [name for _, name in voiced]


def features(pair: Comparison, which: int, max_frames: int = MAX_FRAMES) -> NDArray[np.float64]:
    """Return levels and their differences, (active frames, 2 M).

    Levels of both signals are relative to the real one's maximum. With a maximum of its own for
    each, all that lies on the floor would tell the two apart by their peaks.

    Args:
        pair: two signals.
        which: 0 for the estimate, 1 for the real one.
        max_frames: largest number of frames; of more, these are taken evenly.
    """
    levels = pair.mel_levels_db[which].numpy() - float(pair.mel_levels_db[1].max())
    levels = np.maximum(levels, -FLOOR_DB)
    padded = np.pad(levels, ((2, 2), (0, 0)), mode="edge")
    slope = (2 * (padded[4:] - padded[:-4]) + padded[3:-1] - padded[1:-3]) / 10
    chosen = np.flatnonzero(pair.active.numpy())
    if len(chosen) > max_frames:
        chosen = chosen[np.linspace(0, len(chosen) - 1, max_frames).round().astype(int)]
    return np.concatenate([levels, slope], axis=1)[chosen]


def separability(
    samples: Sequence[NDArray[np.float64]], labels: Sequence[int], groups: Sequence[str]
) -> float:
    """Return the balanced accuracy on held-out groups, averaged over folds.

    Args:
        samples: frames of each utterance, (frames, features).
        labels: class of each utterance, 0 or 1.
        groups: group of each utterance; a group is never both in training and in test.

    Returns:
        NaN if no fold has both labels on either side.
    """
    ensemble = optional_import("sklearn.ensemble", extra="eval")
    threadpoolctl = optional_import("threadpoolctl", extra="eval")
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
