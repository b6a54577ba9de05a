"""Folds of the cross-validation: recordings, or parts of them, that are left out together."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from torch import Tensor

from bcsim.dsp.activity import ACTIVE_RANGE_DB, loud_power
from bcsim.dsp.spectra import frame_power
from bcsim.fitting.pairs import AlignedPair

MAX_FOLDS = 4
MIN_PART_S = 1.5  # duration of a part of a recording
MAX_PART_S = 30.0  # longer recordings are cut, however many there are: scores need memory


def folds_of(keys: Sequence[tuple[str | None, str]]) -> list[set[int]]:
    """Deal recordings into at most four folds, by talker where three or more are named.

    Args:
        keys: talker and name of each recording.

    Returns:
        Sets of indices of recordings; a single set of all where there is nothing to leave out.

    Example:
        >>> folds_of([("ann", "1"), ("bob", "2"), ("ann", "3"), ("cy", "4")])
        [{0, 2}, {1}, {3}]
    """
    talkers = [talker for talker, _ in keys if talker is not None]
    if len(set(talkers)) < 3 or len(talkers) < len(keys):
        talkers = [str(index) for index in range(len(keys))]
    names = sorted(set(talkers), key=lambda name: (-talkers.count(name), talkers.index(name)))
    folds: list[set[int]] = [set() for _ in range(min(MAX_FOLDS, len(names)))]
    for name in names:  # the largest first, each to the emptiest fold
        smallest = min(folds, key=len)
        smallest |= {index for index, talker in enumerate(talkers) if talker == name}
    return sorted(folds, key=min)


def fold_items(pairs: Sequence[AlignedPair]) -> list[AlignedPair]:
    """Return what is dealt into folds: pairs, or parts of them where they are few or long."""
    wanted = 1 if len(pairs) >= MAX_FOLDS else -(-MAX_FOLDS // len(pairs))
    return [
        part
        for pair in pairs
        for part in cut(pair, max(wanted, math.ceil(pair.seconds / MAX_PART_S)))
    ]


def cut(pair: AlignedPair, parts: int, min_part_s: float = MIN_PART_S) -> list[AlignedPair]:
    """Cut a pair into equal parts; parts without speech are left out.

    Args:
        pair: aligned pair.
        parts: number of parts; fewer where they would be too short.
        min_part_s: shortest duration of a part in seconds.

    Returns:
        The parts, or the pair itself where it makes only one.
    """
    length = len(pair.air)
    parts = max(1, min(parts, int(length / (min_part_s * pair.sample_rate))))
    edges = [length * k // parts for k in range(parts + 1)]
    pieces = []
    loud = loud_power(_power(pair.air, pair))
    for number, (start, stop) in enumerate(pairwise(edges), start=1):
        air, bone = pair.air[start:stop], pair.bone[start:stop]
        active = _power(air, pair) > loud * 10 ** (-ACTIVE_RANGE_DB / 10)
        if int(active.sum()) < 4 or float(bone.abs().max()) == 0:
            continue
        hop_s = pair.num_fft // 4 / pair.sample_rate
        pieces.append(
            replace(
                pair,
                name=f"{pair.name} part {number}",
                air=air,
                bone=bone,
                active=active,
                seconds=(stop - start) / pair.sample_rate,
                active_seconds=int(active.sum()) * hop_s,
            )
        )
    return pieces if len(pieces) > 1 else [pair]


def _power(air: Tensor, pair: AlignedPair) -> Tensor:
    return frame_power(air[None], pair.num_fft, pair.num_fft // 4)[0]
