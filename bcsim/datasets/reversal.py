"""Pairs for the other direction: a network that makes bone of air, a neural simulator."""

from collections.abc import Sequence

from bcsim.datasets.pairs import Pair, Pairs


class ReversedPairs(Pairs):
    """Pairs whose air and bone have changed places."""

    def __init__(self, pairs: Pairs) -> None:
        super().__init__(pairs.ids, pairs.sample_rate, pairs.seed)
        self.pairs = pairs

    def crop(self, index: int, epoch: int, num_samples: int) -> Pair:
        return self.crops([(index, epoch)], num_samples)[0]

    def crops(self, picks: Sequence[tuple[int, int]], num_samples: int) -> list[Pair]:
        crops = [_reversed(pair) for pair in self.pairs.crops(picks, num_samples)]
        self.simulated_s = self.pairs.simulated_s
        return crops

    def whole(self, index: int) -> Pair:
        return _reversed(self.pairs.whole(index))


def _reversed(pair: Pair) -> Pair:
    return Pair(pair.id, air=pair.bone, bone=pair.air, sample_rate=pair.sample_rate)
