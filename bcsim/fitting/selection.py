"""Selection of the estimator that is best for these recordings, and the learning curve."""

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
    cut,
    fold_items,
    folds_of,
)  # fmt: skip
from bcsim.fitting.estimation import EstimationSettings, make_estimator
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

Half = Callable[[Sequence[AlignedPair]], list[AlignedPair]]


@dataclass(frozen=True)
class LearningPoint:
    """How well the chosen estimator did in cross-validation on a part of the recordings.

    Args:
        label: "all", "half the seconds" or "half the talkers".
        seconds: duration of the pairs that the sensor was fitted to, mean over folds.
        talkers: number of named talkers of these pairs, mean over folds.
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
        learning_curve: scores with fewer recordings; empty without cross-validation.
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
    """Try estimators by cross-validation and choose one; for the arguments see `fit_pairs`."""
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
        return Selection(
            name, f"{name}: untested on these recordings, which are too short to hold some out"
        )
    trials = cross_validate(items, folds, fits)
    scores = {name: trial.scores for name, trial in trials.items()}
    scores[BASELINE] = baseline_scores(items)
    best = _best(trials) if automatic else estimator
    curve = _learning_curve(items, folds, fits[best], trials[best])
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


def _learning_curve(
    items: Sequence[AlignedPair], folds: Sequence[set[int]], fit: Fit, whole: Trial
) -> list[LearningPoint]:
    """Return the scores of `fit`, given all, half of the seconds, or half of the talkers."""
    folds = folds[:LEARNING_FOLDS]
    rests = [[item for k, item in enumerate(items) if k not in fold] for fold in folds]
    halves: dict[str, Half] = {"half the seconds": _half_the_seconds}
    if all(len(_talkers(rest)) >= MIN_TALKERS for rest in rests):
        halves["half the talkers"] = _half_the_talkers
    fits = {label: _fit_to_half(fit, half) for label, half in halves.items()}
    trials = {"all": whole, **cross_validate(items, folds, fits)}
    names = [items[index].name for fold in folds for index in fold]
    points = []
    for label, trial in trials.items():
        parts = [halves[label](rest) if label in halves else rest for rest in rests]
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


def _half_the_seconds(pairs: Sequence[AlignedPair]) -> list[AlignedPair]:
    """Return the first half of each recording, and every second one of those too short to cut."""
    halves = [cut(pair, 2, HALF_S)[0] for pair in pairs]
    whole = [half for half, pair in zip(halves, pairs, strict=True) if half is pair]
    dropped = {id(half) for half in whole[1::2]}
    return [half for half in halves if id(half) not in dropped]


def _half_the_talkers(pairs: Sequence[AlignedPair]) -> list[AlignedPair]:
    """Return the recordings of every second talker."""
    kept = _talkers(pairs)[::2]
    return [pair for pair in pairs if pair.talker in kept]


def _fit_to_half(fit: Fit, half: Half) -> Fit:
    return lambda part: fit(half(part))


def _talkers(pairs: Sequence[AlignedPair]) -> list[str]:
    return sorted({pair.talker for pair in pairs if pair.talker is not None})
