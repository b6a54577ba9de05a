"""All pairs of a run, by what they are for."""

from collections.abc import Mapping
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
        facts: hashes of what the pairs are made from, as JSON holds them; a run is continued with
            the same facts only.
        failures: reasons why recordings that are rendered are left out, by their names.
    """

    training: Pairs
    validation: Pairs | None = None
    real: Pairs | None = None
    validation_real: Pairs | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)

    def for_network(self, channels: tuple[str, ...], reverse: bool) -> "TrainingData":
        """Return the pairs for a network of these channels, air and bone exchanged if `reverse`."""
        changed = {}
        for name in ("training", "validation", "real", "validation_real"):
            pairs = getattr(self, name)
            if pairs is not None:
                pairs = ReversedPairs(pairs) if reverse else pairs
                changed[name] = pairs.with_channels(channels)
        return replace(self, **changed)

    @property
    def all_failures(self) -> dict[str, str]:
        """Reasons why files and pairs are left out, by their names, of all sets of pairs."""
        found = dict(self.failures)
        for pairs in self.sets.values():
            found |= pairs.failures
        return found

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
