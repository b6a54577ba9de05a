"""How close one signal is to another: one metric a file.

Every entry of `METRICS` is a function of one `Comparison`, that is, of one utterance, with all
that reports and trainers have to know of it. Two things are not in it, for they are properties of
a corpus: the classifier two-sample test (`bcsim.metrics.two_sample`) and averages, which are the
caller's business.
"""

from bcsim.metrics.base import Metric
from bcsim.registry import Registry

METRICS: Registry[Metric] = Registry("metric", "bcsim.metrics")
