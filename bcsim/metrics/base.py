"""What a metric is: a function of a comparison, its names in reports, and which value is good."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Literal

from bcsim.metrics.comparison import Comparison


@dataclass(frozen=True)
class Metric:
    """A metric as it is registered in `bcsim.metrics.METRICS`, by its key in JSON.

    Args:
        function: function that measures one utterance whose real signal is not void and whose
            estimate is not dead; NaN where the real signal has no value, or the estimate none.
        label: name of the metric in reports.
        better: "lower" or "higher" values are better, or those nearest to "one" as a ratio or to
            "zero" as a difference.
        worst: value of a silent or non-finite estimate. No value is worse: what the function finds
            beyond it counts as this.
        unit: unit of the value in reports, or empty.
        note: what a reader should know beside the label and which values are better.
        headline: heading of a narrow column; empty where tables that compare simulators leave the
            metric out.
        simulation: position among the scores of a simulated sensor, or None if it is not one.
        enhancement: position among the scores of an enhancer, or None if it is not one.
        drawn: whether it is of a rendering in which the residual of the speech-dependent part is
            drawn; the others are of the mean sensor.
        selects: whether the best weights of a training run may be chosen by the metric.
        package: optional package without which the metric cannot be measured, or None.
    """

    function: Callable[[Comparison], float]
    label: str
    better: Literal["lower", "higher", "one", "zero"]
    worst: float
    unit: str = ""
    note: str = ""
    headline: str = ""
    simulation: int | None = None
    enhancement: int | None = None
    drawn: bool = False
    selects: bool = False
    package: str | None = None

    def __call__(self, pair: Comparison) -> float:
        """Measure one utterance.

        Returns:
            A value no worse than `worst`; NaN where the real signal has none even against itself.
            The real signal alone decides which, so that all estimates of it are averaged over the
            same utterances.
        """
        if pair.is_void:
            return math.nan
        value = math.nan if pair.is_dead else self.function(pair)
        if math.isnan(value):
            ideal = self.function(replace(pair, estimate=pair.real))
            return math.nan if math.isnan(ideal) else self.worst
        return self.worst if self.is_better(self.worst, value) else value

    @property
    def heading(self) -> str:
        """Label and unit of the metric."""
        return f"{self.label}, {self.unit}" if self.unit else self.label

    @property
    def remark(self) -> str:
        """Which values are better, unless the lower ones are, and the note."""
        good = {"higher": "higher is better", "one": "1 is right", "zero": "0 is right"}
        drawn = "residual drawn" if self.drawn else ""
        return "; ".join(text for text in (good.get(self.better), self.note, drawn) if text)

    @property
    def is_available(self) -> bool:
        """Whether the optional package that it needs is installed."""
        return self.package is None or find_spec(self.package) is not None

    def is_better(self, value: float | None, best: float | None) -> bool:
        """Tell whether a value beats the best so far; None is not measured, and beats nothing."""
        if value is None or best is None:
            return value is not None
        return self._distance(value) < self._distance(best)

    def _distance(self, value: float) -> float:
        """Return a number that is smaller the better a value is."""
        if self.better == "one":  # half and twice are equally far off
            return abs(math.log(value)) if value > 0 else math.inf
        return {"lower": value, "higher": -value, "zero": abs(value)}[self.better]
