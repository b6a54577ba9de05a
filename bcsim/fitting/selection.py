"""Which estimator is the best for these recordings, and would more of them help."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from bcsim.fitting.cross_validation import (
    BASELINE,
    Fit,
    Trial,
    baseline_scores,
    cut,
    fold_items,
    folds_of,
    try_fits,
)
from bcsim.fitting.estimation import EstimationSettings, make_estimator
from bcsim.fitting.pairs import AlignedPair
from bcsim.fitting.rendering import fit_rendering
from bcsim.sensors.responses.base import SPEECH_RESPONSES, SpeechResponse

AUTO = "auto"
FIXED = "power-ratio"  # what every other candidate has to beat
CANDIDATES = (FIXED, "speech-classes", "band-gain-network")
WORTH_DB = 0.1
NEARLY_HALF = 0.7
HALF_S = 0.75  # the least half of a recording
MIN_TALKERS = 4  # that are left in a fold, to be halved
LEARNING_FOLDS = 2  # the learning curve is about differences, for which these will do


@dataclass(frozen=True)
class LearningPoint:
    """How well the chosen estimator did on held-out recordings, given so much to learn from.

    Args:
        label: "all", "half the seconds" or "half the talkers".
        seconds: of pairs that it was fitted to, mean over folds.
        talkers: named ones among them, mean over folds.
        lsd: on the held-out recordings, in dB.
    """

    label: str
    seconds: float
    talkers: float
    lsd: float


@dataclass(frozen=True, eq=False)
class Selection:
    """What was chosen, and what speaks for it.

    Args:
        estimator: its name.
        reason: a sentence.
        candidates: held-out scores by estimator, with those of EBEN's low-pass; empty where there
            was nothing to hold out.
        trial: of the chosen one; None likewise.
        learning_curve: empty likewise.
    """

    estimator: str
    reason: str
    candidates: dict[str, dict[str, float]] = field(default_factory=dict)
    trial: Trial | None = None
    learning_curve: list[LearningPoint] = field(default_factory=list)


def select(
    pairs: Sequence[AlignedPair],
    estimator: str,
    settings: EstimationSettings,
    prior: SpeechResponse | None,
) -> Selection:
    """Try estimators on held-out recordings and choose one.

    Args:
        pairs: aligned.
        estimator: a name, or "auto" for the best.
        settings: of the estimators.
        prior: speech-dependent part of another sensor of the kind, or None.

    Raises:
        UsageError: for an unknown estimator, or an option that it does not have.
    """
    automatic = estimator == AUTO
    names = CANDIDATES if automatic else tuple(dict.fromkeys((FIXED, estimator)))
    fits = {
        name: _fit(name, settings if automatic or name == estimator else None, prior)
        for name in names
    }
    units = fold_items(pairs)
    folds = folds_of([(unit.talker, unit.name) for unit in units])
    if len(folds) < 2:
        # A prior has been tried on its own recordings; without one, the filter is the safe choice.
        safe = FIXED if prior is None else SPEECH_RESPONSES.name_of(type(prior))
        name = safe if automatic else estimator
        how = "untested on these recordings, which are too short to hold some out"
        return Selection(name, f"{name}: {how}")
    trials = try_fits(units, folds, fits)
    scores = {name: trial.scores for name, trial in trials.items()}
    scores[BASELINE] = baseline_scores(units)
    best = _best(trials) if automatic else estimator
    curve = learning_curve(units, folds, fits[best], trials[best])
    return Selection(best, _reason(best, trials, automatic), scores, trials[best], curve)


def _fit(name: str, settings: EstimationSettings | None, prior: SpeechResponse | None) -> Fit:
    settings = settings or EstimationSettings()
    estimator = make_estimator(name, settings)
    return lambda part: fit_rendering(part, estimator, settings.smoothing, prior).rendering


def _best(trials: dict[str, Trial]) -> str:
    """Return the estimator of the least LSD, of those that surely beat the fixed response.

    That is: by more than one standard error of the differences between recordings, and by more
    than 0.1 dB, for which nobody would want a sensor that is no filter.
    """
    surely = {FIXED: 0.0}
    for name, trial in trials.items():
        gains = _gains(trials[FIXED], trial)
        error = gains.std(ddof=1) / math.sqrt(len(gains)) if len(gains) > 1 else math.inf
        if name != FIXED and gains.mean() > max(error, WORTH_DB):
            surely[name] = float(gains.mean())
    return max(surely, key=lambda name: surely[name])


def _gains(fixed: Trial, other: Trial) -> np.ndarray:
    gains = np.array([fixed.rows[name]["lsd"] - row["lsd"] for name, row in other.rows.items()])
    return gains[np.isfinite(gains)]


def _reason(best: str, trials: dict[str, Trial], automatic: bool) -> str:
    scores = ", ".join(f"{name} {trial.scores['lsd']:.2f}" for name, trial in trials.items())
    count = len(trials[best].rows)
    if not automatic:
        return f"{best}, as asked for; LSD on {count} held-out recordings: {scores} dB"
    if best == FIXED:
        return f"{best}: no other surely has less LSD on {count} held-out recordings ({scores} dB)"
    return f"{best}: the least LSD on {count} held-out recordings ({scores} dB)"


def learning_curve(
    units: Sequence[AlignedPair], folds: Sequence[set[int]], fit: Fit, whole: Trial
) -> list[LearningPoint]:
    """Return what half of the seconds, and half of the talkers, would have given.

    Args:
        units: recordings.
        folds: of them.
        fit: the chosen way.
        whole: its trial with all there is.
    """
    folds = folds[:LEARNING_FOLDS]
    ways: dict[str, Thinning] = {"half the seconds": half_the_seconds}
    if all(len(_talkers(_rest(units, fold))) >= MIN_TALKERS for fold in folds):
        ways["half the talkers"] = half_the_talkers
    trials = try_fits(units, folds, {label: _thinned(fit, way) for label, way in ways.items()})
    trials = {"all": whole, **trials}
    ways = {"all": list, **ways}
    names = [units[index].name for fold in folds for index in fold]
    points = []
    for label, trial in trials.items():
        parts = [ways[label](_rest(units, fold)) for fold in folds]
        seconds = float(np.mean([sum(pair.seconds for pair in part) for part in parts]))
        if points and seconds > NEARLY_HALF * points[0].seconds:
            continue  # could not be halved: nothing is learnt from that
        points.append(
            LearningPoint(
                label=label,
                seconds=seconds,
                talkers=float(np.mean([len(_talkers(part)) for part in parts])),
                lsd=float(np.nanmean([trial.rows[name]["lsd"] for name in names])),
            )
        )
    return points


Thinning = Callable[[Sequence[AlignedPair]], list[AlignedPair]]


def half_the_seconds(pairs: Sequence[AlignedPair]) -> list[AlignedPair]:
    """Return the first half of each recording; every second one of those too short to be cut."""
    halves = [cut(pair, 2, HALF_S)[0] for pair in pairs]
    whole = [half for half, pair in zip(halves, pairs, strict=True) if half is pair]
    dropped = {id(half) for half in whole[1::2]}
    return [half for half in halves if id(half) not in dropped]


def half_the_talkers(pairs: Sequence[AlignedPair]) -> list[AlignedPair]:
    """Return the recordings of every second talker."""
    kept = _talkers(pairs)[::2]
    return [pair for pair in pairs if pair.talker in kept]


def _thinned(fit: Fit, way: Thinning) -> Fit:
    return lambda part: fit(way(part))


def _talkers(pairs: Sequence[AlignedPair]) -> list[str]:
    return sorted({pair.talker for pair in pairs if pair.talker is not None})


def _rest(units: Sequence[AlignedPair], fold: set[int]) -> list[AlignedPair]:
    return [unit for index, unit in enumerate(units) if index not in fold]
