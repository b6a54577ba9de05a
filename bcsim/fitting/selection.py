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
    cross_validate,
)
from bcsim.fitting.estimation import EstimationSettings, make_estimator
from bcsim.fitting.folds import cut, fold_items, folds_of
from bcsim.fitting.mean_sensor import fit_mean_sensor
from bcsim.fitting.pairs import AlignedPair
from bcsim.sensors.profile import SensorProfile
from bcsim.sensors.responses.base import SPEECH_RESPONSES

AUTO = "auto"
FIXED = "power-ratio"  # what every other candidate has to beat
CANDIDATES = (FIXED, "speech-classes", "band-gain-network")
WORTH_DB = 0.1  # least gain in LSD for which a sensor is worth being no filter
NEARLY_HALF = 0.7  # larger parts of the seconds do not count as half of them
HALF_S = 0.75  # shortest half of a recording
MIN_TALKERS = 4  # least number outside a fold that is halved
LEARNING_FOLDS = 2  # the learning curve is about differences, for which two folds are enough


@dataclass(frozen=True)
class LearningPoint:
    """How well the chosen estimator did in cross-validation, given so much to learn from.

    Args:
        label: "all", "half the seconds" or "half the talkers".
        seconds: duration of the pairs that it was fitted to, mean over folds.
        talkers: number of named talkers among them, mean over folds.
        lsd: log-spectral distance on the fold items, in dB.
    """

    label: str
    seconds: float
    talkers: float
    lsd: float


@dataclass(frozen=True, eq=False)
class Selection:
    """The chosen estimator, and what speaks for it.

    Args:
        estimator: name of the estimator.
        reason: sentence that says why it was chosen.
        candidates: cross-validation scores by estimator, with those of EBEN's low-pass; empty
            without cross-validation.
        trial: cross-validation of the chosen estimator; None without.
        learning_curve: what less to learn from would have given; empty without cross-validation.
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
    prior: SensorProfile | None,
) -> Selection:
    """Try estimators by cross-validation and choose one.

    Args:
        pairs: aligned pairs.
        estimator: name of an estimator, or "auto" for the best.
        settings: options of the estimators.
        prior: sensor of the same kind from which the fits start, or None.

    Raises:
        UsageError: for an unknown estimator, or an option that it does not have.
    """
    automatic = estimator == AUTO
    names = CANDIDATES if automatic else tuple(dict.fromkeys((FIXED, estimator)))
    fits = {
        name: _fit(name, settings if automatic or name == estimator else None, prior)
        for name in names
    }
    items = fold_items(pairs)
    folds = folds_of([(item.talker, item.name) for item in items])
    if len(folds) < 2:
        # A prior has been tried on its own recordings; without one, the filter is the safe choice.
        speech = None if prior is None else prior.speech
        safe = FIXED if speech is None else SPEECH_RESPONSES.name_of(type(speech))
        name = safe if automatic else estimator
        how = "untested on these recordings, which are too short to hold some out"
        return Selection(name, f"{name}: {how}")
    trials = cross_validate(items, folds, fits)
    scores = {name: trial.scores for name, trial in trials.items()}
    scores[BASELINE] = baseline_scores(items)
    best = _best(trials) if automatic else estimator
    curve = learning_curve(items, folds, fits[best], trials[best])
    return Selection(best, _reason(best, trials, automatic), scores, trials[best], curve)


def _fit(name: str, settings: EstimationSettings | None, prior: SensorProfile | None) -> Fit:
    settings = settings or EstimationSettings()
    estimator = make_estimator(name, settings)
    return lambda part: fit_mean_sensor(part, estimator, settings.smoothing, prior).profile


def _best(trials: dict[str, Trial]) -> str:
    """Return the estimator of the least LSD among those that surely beat the fixed response.

    They have to beat it by more than one standard error of the differences between recordings,
    and by more than 0.1 dB.
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
    items: Sequence[AlignedPair], folds: Sequence[set[int]], fit: Fit, whole: Trial
) -> list[LearningPoint]:
    """Return what half of the seconds, and half of the talkers, would have given.

    Args:
        items: fold items.
        folds: sets of indices of the items that are left out together.
        fit: way of fitting.
        whole: cross-validation of this way with all there is to learn from.
    """
    folds = folds[:LEARNING_FOLDS]
    ways: dict[str, Thinning] = {"half the seconds": half_the_seconds}
    if all(len(_talkers(_rest(items, fold))) >= MIN_TALKERS for fold in folds):
        ways["half the talkers"] = half_the_talkers
    fits = {label: _thinned(fit, way) for label, way in ways.items()}
    trials = cross_validate(items, folds, fits)
    trials = {"all": whole, **trials}
    ways = {"all": list, **ways}
    names = [items[index].name for fold in folds for index in fold]
    points = []
    for label, trial in trials.items():
        parts = [ways[label](_rest(items, fold)) for fold in folds]
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


def _rest(items: Sequence[AlignedPair], fold: set[int]) -> list[AlignedPair]:
    return [item for index, item in enumerate(items) if index not in fold]
