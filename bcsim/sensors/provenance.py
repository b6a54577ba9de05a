"""The plain facts in a sensor's profile: where it comes from, and the nearest low-pass."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class LowpassEquivalent:
    """The low-pass nearest to a response: a second-order section, run forward and backward.

    Args:
        cutoff_hz: cutoff frequency of the section, below half the sample rate.
        q: quality factor of the section.
        gain_db: gain in the pass band.
    """

    cutoff_hz: float
    q: float
    gain_db: float


@dataclass(frozen=True)
class Provenance:
    """Where a profile comes from.

    Args:
        estimator: registered name of the estimator.
        num_pairs: number of pairs that were used.
        num_talkers: number of different talkers among them; 0 where they are not named.
        seconds: duration of the pairs.
        active_seconds: duration of speech in the pairs.
        pause_seconds: duration of the pauses from which the noise floor was taken.
        bcsim_version: version of bcsim that fitted the profile.
        source: what was recorded, and by whom.
        licence: licence of the recordings, hence of the profile.
        scores: mean scores of the cross-validation, by metric; profiles from before 2026-12 have
            none of the coupling.
        learning: cross-validated LSD in dB by what the sensor was fitted to: "all", and where it
            was measured "half the seconds" and "half the talkers".
        spread: what the spread was measured between: "talkers", "utterances", or "prior" where it
            was taken from another sensor of the kind.
        prior: name of the sensor that the fit started from, or empty.
        findings: number of the pairs of which something was noticed (`Finding`), by its kind.
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
    findings: Mapping[str, int] = field(default_factory=dict)
