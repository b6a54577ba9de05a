"""What a metric is: a function of a comparison, its names in reports, and which value is good."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from bcsim.metrics.comparison import Comparison


@dataclass(frozen=True)
class Metric:
    """A metric as it is registered in `bcsim.metrics.METRICS`, by its key in JSON.

    Args:
        function: function that measures one utterance; NaN where there is nothing to compare.
        label: name of the metric in reports.
        better: "lower" or "higher" values are better, or those nearest to "one".
        unit: unit of the value in reports, or empty.
        note: what a reader should know beside the label and which values are better.
        headline: heading of a narrow column; empty where tables that compare simulators leave the
            metric out.
        simulation: position among the scores of a simulated sensor, or None if it is not one.
        enhancement: position among the scores of an enhancer, or None if it is not one.
        selects: whether the best weights of a training run may be chosen by the metric.
        package: optional package without which the metric cannot be measured, or None.
    """

    function: Callable[[Comparison], float]
    label: str
    better: Literal["lower", "higher", "one"]
    unit: str = ""
    note: str = ""
    headline: str = ""
    simulation: int | None = None
    enhancement: int | None = None
    selects: bool = False
    package: str | None = None

    def __call__(self, pair: Comparison) -> float:
        return self.function(pair)

    @property
    def heading(self) -> str:
        """Label and unit of the metric."""
        return f"{self.label}, {self.unit}" if self.unit else self.label

    @property
    def remark(self) -> str:
        """Which values are better, unless the lower ones are, and the note."""
        good = {"lower": "", "higher": "higher is better", "one": "1 is right"}[self.better]
        return "; ".join(text for text in (good, self.note) if text)

    @property
    def is_available(self) -> bool:
        """Whether the optional package that it needs is installed."""
        return self.package is None or find_spec(self.package) is not None

    def is_better(self, value: float | None, best: float | None) -> bool:
        """Tell whether a value beats the best so far; None is not measured, and beats nothing."""
        if value is None or best is None:
            return value is not None
        if self.better == "one":
            return abs(value - 1) < abs(best - 1)
        return value < best if self.better == "lower" else value > best
