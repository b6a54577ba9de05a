"""The most likely lags of consecutive segments, and the jumps that are beyond doubt."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bcsim.fitting.alignment.likelihood import LagCurve

SLACK = 1  # cells that a lag may move from segment to segment without a jump
# A jump is claimed where either side of it, twice, says so: of the segments next to it, up to
# SIDE_S of speech, each half must prefer its own lag by MARGIN of likelihood, and the other
# side's lag must not explain more than OTHER_PART of what its own explains.
SIDE_S = 8.0
LEAST_SIDE_S = 0.8  # of speech, on either side
MARGIN = 25.0
OTHER_PART = 0.6
# Segments contradict a path where their own lag is another, by more than pitch or formants feign,
# and that of the path explains little of them; one buffer lost, the lag stays another to the end.
LEAST_DOUBTED_S = 0.25  # of speech
LEAST_CONTRADICTION = 5  # cells
DOUBTED_PART = 0.3


def best_path(
    curves: Sequence[LagCurve], cost: float, slack: int = SLACK
) -> tuple[float, NDArray[np.int64]]:
    """Return the most likely lags of consecutive segments, as cells, and their likelihood.

    From one segment to the next the lag moves by up to `slack` cells, or anywhere at a `cost`
    (Viterbi's algorithm).
    """
    total = curves[0].values.astype(np.float64)
    came_from = []
    for before, curve in itertools.pairwise(curves):
        count, shift = len(curve.values), curve.first - before.first
        # Cell c here is cell c + shift of the segment before.
        cells = np.arange(count) + shift
        padded = np.pad(total, 1, constant_values=-np.inf)
        near = np.stack(
            [padded[np.clip(cells + move, -1, len(total)) + 1] for move in range(-slack, slack + 1)]
        )
        source = np.clip(cells + near.argmax(axis=0) - slack, 0, len(total) - 1)
        steady = near.max(axis=0)
        best = int(total.argmax())
        jumps = total[best] - cost > steady
        if not math.isfinite(cost):  # ranges that share no lag: stay as near as possible
            lost = ~np.isfinite(steady)
            steady = np.where(lost, total[source], steady)
            jumps = np.zeros(count, dtype=bool)
        came_from.append(np.where(jumps, best, source))
        total = np.where(jumps, total[best] - cost, steady) + curve.values
    path = [int(total.argmax())]
    for source in reversed(came_from):
        path.append(int(source[path[-1]]))
    offsets = np.array([curve.first for curve in curves])
    return float(total.max()), np.array(path[::-1]) + offsets


def breaks_of(path: NDArray[np.int64], slack: int = SLACK) -> list[int]:
    """Return the segments before which the lag jumps."""
    return (np.flatnonzero(np.abs(np.diff(path)) > slack) + 1).tolist()


def confirmed(
    curves: Sequence[LagCurve],
    path: NDArray[np.int64],
    speech_s: NDArray[np.floating],
    slack: int = SLACK,
) -> NDArray[np.int64]:
    """Take the jumps out of a path that either side does not confirm twice.

    Args:
        curves: likelihood of the lags of each segment.
        path: (segments,), lag of each segment, as a cell.
        speech_s: (segments,), seconds of speech in each segment.
        slack: cells that a lag may move without a jump.

    Returns:
        The path, in which the side with less speech has taken the lag of the other wherever there
        is no jump.
    """
    path, found = path.copy(), path
    doubted = np.zeros(len(path), dtype=bool)
    breaks = breaks_of(path, slack)
    while breaks:
        bounds = [0, *breaks, len(path)]
        margins = []
        for number in range(len(breaks)):
            first, middle, last = bounds[number : number + 3]
            left = _nearest(range(middle - 1, first - 1, -1), speech_s, doubted)
            right = _nearest(range(middle, last), speech_s, doubted)
            own, other = int(path[middle - 1]), int(path[middle])
            margins.append(
                min(
                    _margin(curves, path, left, other, speech_s, slack),
                    _margin(curves, path, right, own, speech_s, slack),
                )
            )
        worst = int(np.argmin(margins))
        if margins[worst] > 0:
            break
        first, middle, last = bounds[worst : worst + 3]
        trusted_s = speech_s * ~doubted
        if trusted_s[first:middle].sum() < trusted_s[middle:last].sum():
            path[first:middle] = path[middle]
        else:
            path[middle:last] = path[middle - 1]
        doubted = contradicting(curves, found, path, speech_s, slack)
        breaks = breaks_of(path, slack)
    return path


def contradicting(
    curves: Sequence[LagCurve],
    found: NDArray[np.int64],
    path: NDArray[np.int64],
    speech_s: NDArray[np.floating],
    slack: int = SLACK,
) -> NDArray[np.bool_]:
    """Tell which segments with speech clearly prefer the lags that were found to those of a path.

    Args:
        curves: likelihood of the lags of each segment.
        found: (segments,), lags that were found, as cells.
        path: (segments,), lags that are believed, as cells.
        speech_s: (segments,), seconds of speech in each segment.
        slack: cells that a lag may differ.
    """
    doubted = np.zeros(len(path), dtype=bool)
    changes = np.flatnonzero(np.diff(found) | np.diff(path)) + 1
    for first, last in itertools.pairwise([0, *changes.tolist(), len(path)]):
        if abs(int(found[first] - path[first])) < LEAST_CONTRADICTION:
            continue
        is_island = first > 0 and last < len(path) and abs(path[last] - path[first - 1]) <= slack
        if is_island and (found == path)[[first - 1, last]].all():
            continue
        own, theirs = (
            np.array([curves[k].at(int(cells[k]), slack) for k in range(first, last)])
            for cells in (found, path)
        )
        ordinary = np.array([curves[k].ordinary for k in range(first, last)])
        gain, gain_there = (
            float((values - ordinary).clip(min=0).sum()) for values in (own, theirs)
        )
        speaks = speech_s[first:last].sum() > LEAST_DOUBTED_S
        is_clear = gain - gain_there > MARGIN and gain_there < DOUBTED_PART * gain
        doubted[first:last] = speaks and is_clear
    return doubted


def _nearest(
    segments: range, speech_s: NDArray[np.floating], doubted: NDArray[np.bool_]
) -> list[int]:
    """Return the first of the segments that together hold `SIDE_S` of speech."""
    chosen: list[int] = []
    total = 0.0
    for segment in segments:
        if total >= SIDE_S:
            break
        if not doubted[segment]:
            chosen.append(segment)
            total += float(speech_s[segment])
    return chosen


def _margin(
    curves: Sequence[LagCurve],
    path: NDArray[np.int64],
    segments: list[int],
    other: int,
    speech_s: NDArray[np.floating],
    slack: int,
) -> float:
    """Return by how much the segments of one side confirm a jump; not above 0 if they do not."""
    spoken = np.array([speech_s[k] for k in segments])
    if spoken.sum() < LEAST_SIDE_S or np.count_nonzero(spoken > 0) < 2:
        return -1.0
    own = np.array([curves[k].at(int(path[k])) for k in segments])
    theirs = np.array([curves[k].at(other, slack) for k in segments])
    ordinary = np.array([curves[k].ordinary for k in segments])
    # Two measurements, from speech that they do not share.
    half = int(np.abs(spoken.cumsum()[:-1] - spoken.sum() / 2).argmin()) + 1
    margin = math.inf
    for part in (slice(None, half), slice(half, None)):
        gain, gain_there = (
            float((values - ordinary)[part].clip(min=0).sum()) for values in (own, theirs)
        )
        preference = float((own - theirs)[part].sum())
        if gain_there > OTHER_PART * gain:
            return 0.0
        margin = min(margin, preference - MARGIN)
    return margin
