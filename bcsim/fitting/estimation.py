"""Options of the estimation of a response, and the estimator made with them."""

from dataclasses import dataclass

from bcsim.errors import UsageError
from bcsim.fitting.estimators import ESTIMATORS
from bcsim.fitting.estimators.base import Estimator, check_average

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
        UsageError: if the average or the smoothing is impossible.
    """

    average: str | None = None
    gated: bool | None = None
    smoothing: float = SMOOTHING

    def __post_init__(self) -> None:
        if self.average is not None:
            check_average(self.average)
        if not 1 <= self.smoothing <= 96:
            raise UsageError(
                f"smoothing over 1/{self.smoothing:g} octave: 1 (whole octaves) to 96 are possible"
            )


def make_estimator(name: str, settings: EstimationSettings | None = None) -> Estimator:
    """Make a registered estimator with the options that are not None.

    Raises:
        UsageError: for an unknown estimator, or an option that it does not have.
    """
    kind = ESTIMATORS[name]
    settings = settings or EstimationSettings()
    options = {option: getattr(settings, option) for option in OPTIONS}
    asked = {option: value for option, value in options.items() if value is not None}
    for option in asked:
        having = [other for other in ESTIMATORS if hasattr(ESTIMATORS[other], option)]
        if name not in having:
            raise UsageError(
                f"estimator {name!r} has no option for the {OPTIONS[option]}; "
                f"estimators that have it: {', '.join(having)}"
            )
    return kind(**asked)
