"""All pairs of a run, by what they are for."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from bcsim.datasets.pairs import Pairs
from bcsim.datasets.reversal import ReversedPairs


@dataclass(frozen=True)
class TrainingData:
    """All pairs of a run.

    Args:
        training: to learn from.
        validation: to judge by, of the same kind; None or empty means that the last weights count
            as best.
        real: real pairs that a part of every batch comes from, or None.
        real_validation: real pairs to judge by, or None; where they are given they say which
            weights are best.
        facts: what identifies the pairs (digests of dataset and sensor, say), as JSON holds it. A
            run is continued with the same facts only.
    """

    training: Pairs
    validation: Pairs | None = None
    real: Pairs | None = None
    real_validation: Pairs | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def reversed(self) -> "TrainingData":
        """Return the same for a network that makes bone of air."""
        sets = {
            field.name: ReversedPairs(pairs)
            for field in fields(self)
            if isinstance(pairs := getattr(self, field.name), Pairs)
        }
        return replace(self, **sets)

    @property
    def sets(self) -> dict[str, Pairs]:
        """All sets of pairs that there are, by name."""
        named = {
            "training": self.training,
            "validation": self.validation,
            "real": self.real,
            "real_validation": self.real_validation,
        }
        return {name: pairs for name, pairs in named.items() if pairs is not None and len(pairs)}
