"""Fitting a sensor: recorded pairs in, a profile and a report on every pair out."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bcsim.dsp.lazy_signal import is_long
from bcsim.dsp.randomness import one_thread
from bcsim.errors import InputError, UsageError
from bcsim.files.findings import OF_ONE_RECORDING, note
from bcsim.fitting.alignment.align import SAME_START_S, align, sensor_delay_s, synchronised
from bcsim.fitting.alignment.timing import Timing
from bcsim.fitting.coherence import coherence_ceiling
from bcsim.fitting.coupling import HeldOutCoupling, held_out_coupling
from bcsim.fitting.cross_validation import Prediction
from bcsim.fitting.diagnosis.diagnose import Examination, diagnosis_of, examine
from bcsim.fitting.estimation import EstimationSettings, make_estimator
from bcsim.fitting.leakage import leakage_db, recorded_noise_psd
from bcsim.fitting.lowpass_equivalent import fit_lowpass
from bcsim.fitting.mean_sensor import MeanFit, fit_mean_sensor
from bcsim.fitting.noise import deviation
from bcsim.fitting.pairs import AlignedPair, high_passed
from bcsim.fitting.residual import (
    measured_residual,
    prediction_errors,
    wearer_curves,
    with_residual,
)  # fmt: skip
from bcsim.fitting.selection import AUTO, CANDIDATES, LearningPoint, Selection, select
from bcsim.fitting.smoothing import measurable_bins, usable_band
from bcsim.fitting.spread import Spread, expected_spread, measured_spread, ratio_curves
from bcsim.fitting.uncertainty import MIN_RECORDINGS, bootstrap_interval_db
from bcsim.sensors.profile import SensorProfile
from bcsim.sensors.provenance import Provenance
from bcsim.sensors.recorded_pair import RecordedPair
from bcsim.sensors.responses.base import SPEECH_RESPONSES
from bcsim.workers.heap import give_heap_back

LEAST_KEPT = 0.5  # of the recordings: of less, a fit warns
# Between recordings of a throat microphone (see `expected_spread`); the delay's is from the
# quartiles of 31 recordings, 0.04 ms apart.
EXPECTED_STD = {"level_std_db": 5.0, "noise_level_std_db": 7.0, "delay_std_s": 3e-5}


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SkippedPair:
    """A pair that could not be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class FitResult:
    """A fitted sensor, and the facts of the fit.

    Args:
        profile: the fitted sensor.
        pairs: aligned pairs that the sensor was fitted to.
        skipped: pairs that were left out, and why.
        choice: sentence that says which estimator was taken, and why.
        candidates: cross-validation scores by method, with those of EBEN's low-pass.
        learning_curve: scores with fewer recordings.
        coupling: coupling of the fold items, real and simulated; None without cross-validation.
        predictions: fold items of the cross-validation, each with the provisional sensor that was
            fitted without it; empty without cross-validation.
    """

    profile: SensorProfile
    pairs: list[AlignedPair]
    skipped: list[SkippedPair]
    choice: str
    candidates: dict[str, dict[str, float]]
    learning_curve: list[LearningPoint]
    coupling: HeldOutCoupling | None
    predictions: list[Prediction]


@one_thread()  # the same recordings give the same profile on any number of cores
def fit_pairs(
    pairs: Sequence[RecordedPair],
    sample_rate: int,
    *,
    estimator: str = AUTO,
    name: str = "sensor",
    source: str = "",
    licence: str = "",
    settings: EstimationSettings | None = None,
    prior: SensorProfile | None = None,
    ambient: RecordedPair | None = None,
    cross_validate: bool = True,
) -> FitResult:
    """Fit a sensor to recorded pairs.

    Pairs that cannot be used are left out and listed; see `bcsim.fitting.diagnosis` for reasons.

    Args:
        pairs: recorded pairs, at least one, all at `sample_rate`.
        sample_rate: sample rate of the recordings in Hz, 4000 or more.
        estimator: a registered name (see `bcsim.fitting.estimators.ESTIMATORS`), or "auto" for
            the one that does best in cross-validation.
        name: name of the sensor.
        source: what was recorded, and by whom; kept in the profile.
        licence: licence of the recordings; kept in the profile.
        settings: options of the estimator, of the smoothing, and a high-pass.
        prior: sensor of the same kind, fitted to other recordings: its speech-dependent part is
            adapted to these, and its spread is taken over where they are too few to show one.
        ambient: ambient noise while nobody speaks, recorded at the gains of the pairs, from which
            the leakage is measured; or None.
        cross_validate: whether to try the fit on recordings that it has not seen. Without, there
            are no scores, no learning curve and no residual.

    Returns:
        The sensor and the facts of the fit; equal recordings give equal profiles.

    Raises:
        InputError: if no pair is usable; the message gives the first one's reason.
        UsageError: for an unknown estimator, an option that it does not have, `auto` without
            cross-validation, or a prior that cannot be one.
    """
    settings = settings or EstimationSettings()
    check_estimator(estimator, settings)
    if estimator == AUTO and not cross_validate:
        raise UsageError("auto chooses by held-out recordings; name an estimator to do without")
    _check_prior(prior, sample_rate, estimator)
    low_hz = settings.high_pass_hz
    if low_hz is not None:
        pairs = [high_passed(pair, low_hz, sample_rate) for pair in pairs]
    usable, timings, examined, skipped = _usable(pairs, sample_rate)
    aligned, polarity = align(usable, sample_rate, timings)
    give_heap_back()
    noticed: Counter[str] = Counter()
    for recorded, pair, found in zip(usable, aligned, examined, strict=True):
        findings = diagnosis_of(found.findings, pair, len(aligned)).findings
        noticed.update({finding.kind for finding in (*recorded.findings, *findings)})
        # What one recording shows was noted, under its name, when it was read.
        note(pair.name, [own for own in findings if own.kind not in OF_ONE_RECORDING])
    _warn_of_loss(pairs, aligned, sample_rate)
    if low_hz is not None:
        aligned = [replace(pair, low_hz=low_hz) for pair in aligned]
    if cross_validate:
        selection = select(aligned, estimator, settings, prior)
    else:
        selection = Selection(estimator, f"{estimator}, as asked for; not tried on held-out pairs")
    chosen = make_estimator(selection.estimator, settings)
    fitted = fit_mean_sensor(aligned, chosen, settings.smoothing, prior)
    profile, predictions = _with_spread(fitted, selection, prior)
    coupling = held_out_coupling(predictions)
    interval_db = bootstrap_interval_db(
        fitted.equal, chosen, measurable_bins(fitted.equal), settings.smoothing
    )
    response = profile.transfer_function
    provenance = replace(
        _with_scores(profile.provenance, selection, coupling),
        source=source,
        licence=licence,
        prior="" if prior is None else prior.name,
        findings=dict(sorted(noticed.items())),
    )
    profile = replace(
        profile,
        name=name,
        polarity=polarity,
        magnitude_interval_db=interval_db[: 2 if np.isfinite(interval_db).all() else 0],
        coherence_ceiling=coherence_ceiling(fitted.pairs),
        lowpass=fit_lowpass(response, profile.recorded_band_hz[1]),
        usable_band_hz=usable_band(response),
        leakage_db=_leakage_db(ambient, usable, timings, sample_rate, low_hz),
        provenance=provenance,
    )
    return FitResult(
        profile=profile,
        pairs=fitted.pairs,
        skipped=skipped,
        choice=selection.reason,
        candidates=selection.candidates,
        learning_curve=selection.learning_curve,
        coupling=coupling,
        predictions=predictions,
    )


def _with_scores(
    provenance: Provenance, selection: Selection, coupling: HeldOutCoupling | None
) -> Provenance:
    scores = {} if selection.trial is None else dict(selection.trial.scores)
    if coupling is not None:
        scores |= coupling.scores
    learning = {point.label: point.lsd for point in selection.learning_curve}
    return replace(provenance, scores=scores, learning=learning)


def _leakage_db(
    ambient: RecordedPair | None,
    usable: Sequence[RecordedPair],
    timings: Sequence[Timing],
    sample_rate: int,
    low_hz: float | None,
) -> NDArray[np.float64] | None:
    if ambient is None:
        return None
    if low_hz is not None:
        ambient = high_passed(ambient, low_hz, sample_rate)
    in_step = [
        synchronised(pair, sample_rate, timing)
        for pair, timing in zip(usable, timings, strict=True)
    ]
    own = recorded_noise_psd(in_step, sample_rate)
    return leakage_db(ambient.air, ambient.bone, sample_rate, own)


def check_estimator(estimator: str, settings: EstimationSettings | None) -> None:
    """Raise UsageError for an unknown estimator, or an option that it does not have."""
    if estimator != AUTO:
        make_estimator(estimator, settings)
        return
    try:
        for candidate in CANDIDATES:
            make_estimator(candidate, settings)
    except UsageError as error:
        raise UsageError(f"{AUTO} cannot take this option: {error}") from error


def _with_spread(
    fitted: MeanFit, selection: Selection, prior: SensorProfile | None
) -> tuple[SensorProfile, list[Prediction]]:
    """Return the mean sensor with spread and residual, and the predictions with the residual."""
    profile, pairs = fitted.profile, fitted.pairs
    predictions = [] if selection.trial is None else selection.trial.predictions
    curves, certainty = ratio_curves(fitted.equal)
    talkers = [pair.talker for pair in pairs]
    if profile.speech is not None and predictions:
        errors, predicted = prediction_errors(predictions)
        residual = measured_residual(errors, predicted, predictions)
        # What prediction errors have in common is how wearers differ beyond what they said.
        curves, certainty = wearer_curves(errors, predictions)
        talkers = [pair.talker for pair, _ in predictions]
        predictions = with_residual(predictions, residual)
        profile = replace(profile, speech=replace(profile.speech, residual=residual))
    if len(pairs) >= MIN_RECORDINGS:
        spread = measured_spread(curves, certainty, talkers)
        level_std_db, delay_std_s = deviation(fitted.couplings_db), _delay_std_s(pairs)
        deviations = {"level_std_db": level_std_db, "delay_std_s": delay_std_s}
    else:
        spread, deviations = expected_spread(profile.transfer_function.frequencies_hz), EXPECTED_STD
        if prior is not None:
            deviations = {name: getattr(prior, name) for name in EXPECTED_STD}
            if prior.spread_db.shape == spread.std_db.shape:
                spread = Spread(prior.spread_db, prior.spread_components_db, "prior")
    profile = replace(
        profile,
        spread_db=spread.std_db,
        spread_components_db=spread.components_db,
        delay_s=_delay_s(pairs),
        provenance=replace(profile.provenance, spread=spread.between),
        **deviations,
    )
    return profile, predictions


def _check_prior(prior: SensorProfile | None, sample_rate: int, estimator: str) -> None:
    if prior is None:
        return
    if prior.sample_rate != sample_rate:
        raise UsageError(
            f"prior {prior.name!r} is of {prior.sample_rate} Hz, this fit of {sample_rate} Hz; "
            f"fit at the prior's {prior.sample_rate} Hz"
        )
    if prior.speech is None and estimator in (AUTO, *SPEECH_RESPONSES):
        raise UsageError(
            f"prior {prior.name!r} is a fixed filter with nothing to start from; "
            "fit the prior with the estimator band-gain-network"
        )


def _delay_s(pairs: Sequence[AlignedPair]) -> float:
    """Return the sensor's delay; 0, with a warning, where the recorders hide it."""
    delay_s = sensor_delay_s(pairs)
    if delay_s is None:
        log.warning(
            "the delay of bone (%+.1f ms, median) is that of the recorders, not of the sensor: the "
            "profile's is put at 0",
            1e3 * float(np.median([pair.delay_s for pair in pairs])),
        )
    return delay_s or 0.0


def _warn_of_loss(pairs: Sequence[RecordedPair], kept: Sequence[AlignedPair], rate: int) -> None:
    """Warn where less than half of what was recorded is fitted to."""
    given_s = sum(min(len(pair.air), len(pair.bone)) for pair in pairs) / rate
    kept_s = sum(pair.seconds for pair in kept)
    if kept_s < LEAST_KEPT * given_s:
        log.warning(
            "only %.0f of %.0f s of recordings are fitted to; doctor says what is wrong with the "
            "others",
            kept_s,
            given_s,
        )


def _delay_std_s(pairs: Sequence[AlignedPair]) -> float:
    """Return the standard deviation of the delay, without recorders that were started separately.

    It is not less than expected: alignment cannot tell small differences from the sensor's phase,
    and gives synchronous recordings the same delay.
    """
    delays_s = np.array([pair.delay_s for pair in pairs])
    near = delays_s[np.abs(delays_s - np.median(delays_s)) < SAME_START_S]
    return max(deviation(near), EXPECTED_STD["delay_std_s"])


def _usable(
    pairs: Sequence[RecordedPair], sample_rate: int
) -> tuple[list[RecordedPair], list[Timing], list[Examination], list[SkippedPair]]:
    usable, timings, examined, skipped = [], [], [], []
    for pair in pairs:
        found = examine(pair, sample_rate)
        if found.timing is None or found.refusal is not None:
            reason = found.refusal.text if found.refusal else "nothing to be timed"
            skipped.append(SkippedPair(pair.name, reason))
        else:
            usable.append(pair)
            timings.append(found.timing)
            examined.append(found)
        if is_long(len(pair.air)):  # which left small arrays all over the heap
            give_heap_back()
    if not usable:
        if not skipped:
            raise InputError("no pairs to fit a sensor to")
        first = skipped[0]
        more = f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""
        raise InputError(f"no usable pair: {first.name}: {first.reason}{more}")
    return usable, timings, examined, skipped
