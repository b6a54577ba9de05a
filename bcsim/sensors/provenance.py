"""The plain facts in a sensor's profile: where it comes from, and the nearest low-pass."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class LowpassEquivalent:
    """The low-pass nearest to a response: a second-order section, run forward and backward.

    Args:
        cutoff_hz: of the section, below half the sample rate.
        q: quality factor of the section.
        gain_db: in the pass band.
    """

    cutoff_hz: float
    q: float
    gain_db: float


@dataclass(frozen=True)
class Provenance:
    """Where a profile comes from.

    Args:
        estimator: registered name of the estimator.
        num_pairs: pairs that were used.
        num_talkers: different talkers among them; 0 where the pairs do not say.
        seconds: of pairs.
        active_seconds: of speech therein.
        pause_seconds: of pauses therein, from which the noise floor was taken.
        bcsim_version: that fitted it.
        source: what was recorded, by whom.
        licence: under which the recordings, hence the profile, may be passed on.
        scores: what was measured on held-out recordings, by name.
        learning: LSD on held-out recordings, in dB, by what it was fitted to: "all", and where it
            was measured "half the seconds" and "half the talkers".
        spread: what the spread was measured between: "talkers", "utterances", or "prior" where it
            was taken from another sensor of the kind.
        prior: the sensor whose speech-dependent part was the starting point, or empty.
    """

    estimator: str
    num_pairs: int
    num_talkers: int
    seconds: float
    active_seconds: float
    pause_seconds: float
    bcsim_version: str
    source: str = ""
    licence: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    learning: Mapping[str, float] = field(default_factory=dict)
    spread: str = "utterances"
    prior: str = ""


def check_value(condition: bool, name: str, value: object, wanted: str) -> None:
    """Refuse a value that no sensor has.

    Raises:
        ValueError: that names the value, and what it should be, if the condition is not met.
    """
    if not condition:
        raise ValueError(f"{name} is {str(value)[:80]!r}, not {wanted}")
