"""All pairs of a run, by what they are for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bcsim.datasets.pairs import Pairs
from bcsim.datasets.reversal import ReversedPairs


@dataclass(frozen=True)
class TrainingData:
    """All pairs of a run.

    Args:
        training: pairs to learn from.
        validation: pairs of the same kind to validate on; None or empty means that the last
            weights count as best.
        real: real pairs that a part of every batch comes from, or None.
        validation_real: real pairs to validate on, or None; where they are given they decide
            which weights are best.
        facts: what identifies the pairs (digests of dataset and sensor, say), as JSON holds it. A
            run is continued with the same facts only.
    """

    training: Pairs
    validation: Pairs | None = None
    real: Pairs | None = None
    validation_real: Pairs | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def reversed(self) -> "TrainingData":
        """Return the same for a network that makes bone from air."""
        return self._each(ReversedPairs)

    def with_channels(self, channels: tuple[str, ...]) -> "TrainingData":
        """Return the same for a network that takes these channels."""
        return self._each(lambda pairs: pairs.with_channels(channels))

    def _each(self, change: Callable[[Pairs], Pairs]) -> "TrainingData":
        names = ("training", "validation", "real", "validation_real")
        sets = {name: getattr(self, name) for name in names}
        return replace(self, **{n: change(pairs) for n, pairs in sets.items() if pairs is not None})

    @property
    def sets(self) -> dict[str, Pairs]:
        """All sets of pairs that hold some, by the names that files of a run give them."""
        named = {
            "training": self.training,
            "validation": self.validation,
            "real": self.real,
            "real_validation": self.validation_real,
        }
        return {name: pairs for name, pairs in named.items() if pairs is not None and len(pairs)}
