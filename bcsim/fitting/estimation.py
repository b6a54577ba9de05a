"""Options of the estimation of a response, and the estimator made with them."""

from dataclasses import dataclass

from bcsim.errors import UsageError
from bcsim.fitting.estimators import ESTIMATORS
from bcsim.fitting.estimators.base import Estimator, check_average

SMOOTHING = 12.0  # parts of an octave
MAX_HIGH_PASS_HZ = 1000.0
OPTIONS = {"average": "average over frames", "gated": "gating by coherence"}


@dataclass(frozen=True)
class EstimationSettings:
    """Options of the fit; None leaves the estimator its own default.

    Args:
        average: average over frames, "mean" or "median".
        gated: whether bins without coherence get the magnitude of the power ratio.
        smoothing: the magnitude is smoothed over 1/`smoothing` octave.
        high_pass_hz: frequency in Hz below which nothing is fitted, and both channels are filtered
            (Butterworth, fourth order, forward and backward); None to fit all that was recorded.

    Raises:
        UsageError: if the average, the smoothing or the high-pass is impossible.
    """

    average: str | None = None
    gated: bool | None = None
    smoothing: float = SMOOTHING
    high_pass_hz: float | None = None

    def __post_init__(self) -> None:
        if self.average is not None:
            check_average(self.average)
        if not 1 <= self.smoothing <= 96:
            raise UsageError(
                f"smoothing over 1/{self.smoothing:g} octave: 1 (whole octaves) to 96 are possible"
            )
        if self.high_pass_hz is not None and not 0 < self.high_pass_hz <= MAX_HIGH_PASS_HZ:
            raise UsageError(
                f"high-pass at {self.high_pass_hz:g} Hz: above 0 to {MAX_HIGH_PASS_HZ:g} Hz are "
                "possible"
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
