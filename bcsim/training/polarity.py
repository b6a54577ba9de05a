"""Whether a set of recordings has the polarity of the pairs that are trained on.

Within a set, most pairs decide which polarity is upright. A set that is inverted as a whole, by a
cable or a preamplifier of its own, shows only beside another one.
"""

from collections.abc import Sequence

import numpy as np

from bcsim.datasets.pairs import Pairs
from bcsim.fitting.alignment.align import recorders_of
from bcsim.fitting.alignment.timing import Timing
from bcsim.fitting.pairs import UnusablePair, check_pair
from bcsim.sensors.recorded_pair import RecordedPair

MOST_PAIRS = 8  # of a set, evenly spread
MOST_S = 30.0  # of a pair
# Of subsets of 16 throat pairs, 40 of 40 of eight pairs and more together were told rightly; of two
# pairs beside two, one of 8 was left open, and of one beside one, one of 8 was told wrongly.
LEAST_PAIRS = 8  # of both sets together
AGREEMENT = 0.5  # product of both sets' mean signs


def polarity_beside(pairs: Pairs, others: Pairs) -> int:
    """Compare the polarity of two sets of synchronised pairs of one kind of sensor.

    Returns:
        1 where it is the same, -1 where it is the opposite, 0 where it cannot be told.
    """
    own, other = _some_of(pairs), _some_of(others)
    if min(len(own), len(other)) == 0 or len(own) + len(other) < LEAST_PAIRS:
        return 0
    both = [*own, *other]
    found, _ = recorders_of(both, pairs.sample_rate, [_in_step(pair) for pair in both])
    signs = np.array([recorder.sign for recorder in found])
    agreement = float(signs[: len(own)].mean() * signs[len(own) :].mean())
    return 0 if abs(agreement) < AGREEMENT else int(np.sign(agreement))


def _some_of(pairs: Pairs) -> Sequence[RecordedPair]:
    """Return the beginnings of a few pairs of which something can be told."""
    found = []
    length = round(MOST_S * pairs.sample_rate)
    for index in range(0, len(pairs), -(-len(pairs) // MOST_PAIRS)):
        whole = pairs.whole(index)
        pair = RecordedPair(
            f"{id(pairs)} {index}", whole.air[:length].numpy(), whole.bone[:length].numpy()
        )
        try:
            check_pair(pair, pairs.sample_rate)
        except UnusablePair:
            continue
        found.append(pair)
    return found


def _in_step(pair: RecordedPair) -> Timing:
    """Return the timing of a pair that is synchronised already, but for its sensor's delay."""
    length = len(pair.air)
    return Timing(
        lag=0,
        middle=length / 2,
        start=0,
        stop=length,
        slope=0.0,
        jumps=(),
        evidence=0.0,
        likelihood_rate=0.0,
    )
