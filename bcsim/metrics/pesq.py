"""Wide-band PESQ, by the package `pesq`."""

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bcsim.extras import optional_import
from bcsim.metrics import METRICS
from bcsim.metrics.base import Metric
from bcsim.metrics.comparison import SAMPLE_RATE, Comparison

MAX_SEGMENT_S = 10.0
LOWEST = 0.999  # the lower end of the scale of P.862.2


@METRICS.register("pesq")
@partial(Metric, label="PESQ", better="higher", worst=LOWEST, enhancement=5, package="pesq")
def pesq(pair: Comparison) -> float:
    """Return the wide-band perceptual evaluation of speech quality, 1 to 4.64.

    ITU-T P.862.2. Levels do not count. Not to choose weights by: it likes body-conducted speech
    as it is better than much that has been made of it.

    Signals over 10 s are cut into equal segments, and the scores of those that have one
    averaged: P.862 was made for 8 to 12 s, and its reference code writes beyond its arrays where
    it finds more than 50 utterances, which take 20 s or more.

    Returns:
        NaN where the signals are shorter than 0.25 s, or P.862 finds no utterance in them.
    """
    package = optional_import("pesq", extra="pesq")
    count = math.ceil(len(pair.real) / (MAX_SEGMENT_S * SAMPLE_RATE))
    segments = (np.array_split(s.numpy(), count) for s in (pair.real, pair.estimate))
    scores = [_segment_score(package, *both) for both in zip(*segments, strict=True)]
    known = [score for score in scores if not math.isnan(score)]
    return float(np.mean(known)) if known else math.nan


def _segment_score(package: Any, real: NDArray[np.float64], estimate: NDArray[np.float64]) -> float:
    """Score a segment (T,): NaN if the real one has no utterance, the lowest if the other has none.

    Otherwise an estimate that is silent in one segment would be scored by the rest alone.
    """
    if not real.any():
        return math.nan
    try:
        if estimate.any():
            return float(package.pesq(SAMPLE_RATE, real, estimate, "wb"))
    except (package.NoUtterancesError, package.BufferTooShortError):
        pass
    if np.array_equal(real, estimate) or math.isnan(_segment_score(package, real, real)):
        return math.nan
    return LOWEST
