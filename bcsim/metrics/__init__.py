"""How close one signal is to another: one metric a file.

Every entry of `METRICS` is a function of one `Comparison`, that is, of one utterance. Two things
are not in it, for they are properties of a corpus: the classifier two-sample test
(`bcsim.metrics.two_sample`) and averages, which are the caller's business.
"""

from collections.abc import Callable

from bcsim.metrics.comparison import Comparison
from bcsim.registry import Registry

METRICS: Registry[Callable[[Comparison], float]] = Registry("metric", "bcsim.metrics")

from bcsim.metrics.scores import enhancement_scores, simulation_scores  # noqa: E402 (needs METRICS)

__all__ = ["METRICS", "Comparison", "enhancement_scores", "simulation_scores"]
