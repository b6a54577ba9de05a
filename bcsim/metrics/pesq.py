"""Wide-band PESQ, by the package `pesq`."""

import math
from functools import partial

import numpy as np

from bcsim.extras import optional_import
from bcsim.metrics import METRICS
from bcsim.metrics.base import Metric
from bcsim.metrics.comparison import SAMPLE_RATE, Comparison

MAX_SEGMENT_S = 10.0


@METRICS.register("pesq")
@partial(Metric, label="PESQ", better="higher", enhancement=5, package="pesq")
def pesq(pair: Comparison) -> float:
    """Return the wide-band perceptual evaluation of speech quality, 1 to 4.64.

    ITU-T P.862.2. Levels do not count. Not to choose weights by: it likes body-conducted speech
    as it is better than much that has been made of it.

    Signals over 10 s are cut into equal segments, and the scores of those that have one
    averaged: P.862 was made for 8 to 12 s, and its reference code writes beyond its arrays where
    it finds more than 50 utterances, which take 20 s or more.

    Returns:
        NaN where either signal is silent or shorter than 0.25 s, or P.862 finds no utterance.
    """
    package = optional_import("pesq", extra="pesq")
    if pair.is_void or not bool(pair.estimate.isfinite().all()):
        return math.nan
    count = math.ceil(len(pair.real) / (MAX_SEGMENT_S * SAMPLE_RATE))
    segments = (np.array_split(s.numpy(), count) for s in (pair.real, pair.estimate))
    scores = []
    for real, estimate in zip(*segments, strict=True):
        if not (real.any() and estimate.any()):
            continue
        try:
            scores.append(package.pesq(SAMPLE_RATE, real, estimate, "wb"))
        except (package.NoUtterancesError, package.BufferTooShortError):
            continue
    return float(np.mean(scores)) if scores else math.nan
