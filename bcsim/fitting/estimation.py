"""How a response is estimated, beyond the choice of the estimator."""

import dataclasses
from dataclasses import dataclass
from typing import cast

from bcsim.errors import UsageError
from bcsim.fitting.estimators import ESTIMATORS
from bcsim.fitting.estimators.base import Average, Estimator, check_average

SMOOTHING = 12.0  # parts of an octave
OPTIONS = {"average": "average over frames", "gated": "gating by coherence"}


@dataclass(frozen=True)
class EstimationSettings:
    """Options of an estimator and of the smoothing; None leaves the estimator its own default.

    Args:
        average: average over frames, "mean" or "median".
        gated: whether bins without coherence get the magnitude of the power ratio.
        smoothing: the magnitude is smoothed over 1/`smoothing` octave.

    Raises:
        UsageError: if the smoothing is out of range.
    """

    average: Average | None = None
    gated: bool | None = None
    smoothing: float = SMOOTHING

    def __post_init__(self) -> None:
        if not 1 <= self.smoothing <= 96:
            raise UsageError(
                f"smoothing over 1/{self.smoothing:g} octave: 1 (whole octaves) to 96 are possible"
            )


def settings_of(average: str | None, gated: bool | None, smoothing: float) -> EstimationSettings:
    """Return the settings that a command line gave as text and flags.

    Raises:
        UsageError: if one of them is impossible.
    """
    if average is not None:
        check_average(average)
    return EstimationSettings(cast(Average | None, average), gated, smoothing)


def make_estimator(name: str, settings: EstimationSettings | None = None) -> Estimator:
    """Make a registered estimator with the options that were asked for.

    Args:
        name: registered name of the estimator.
        settings: options; those that are not None must be options of this estimator.

    Raises:
        UsageError: for an unknown estimator, or an option that it does not have.
    """
    kind = ESTIMATORS[name]
    settings = settings or EstimationSettings()
    asked = {
        option: getattr(settings, option)
        for option in OPTIONS
        if getattr(settings, option) is not None
    }
    for option in asked:
        if option not in _options_of(kind):
            having = [other for other in ESTIMATORS if option in _options_of(ESTIMATORS[other])]
            raise UsageError(
                f"estimator {name!r} has no option for the {OPTIONS[option]}; "
                f"estimators that have it: {', '.join(having)}"
            )
    return kind(**asked)


def _options_of(kind: type[Estimator]) -> set[str]:
    if not dataclasses.is_dataclass(kind):
        return set()  # a plugin without options
    return {field.name for field in dataclasses.fields(kind)}
