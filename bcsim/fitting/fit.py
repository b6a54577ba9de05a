"""Fitting a sensor: recorded pairs in, a profile and an account of every pair out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

import bcsim
from bcsim.dsp.randomness import one_thread
from bcsim.errors import InputError, UsageError
from bcsim.fitting.alignment.align import align
from bcsim.fitting.alignment.timing import Timing
from bcsim.fitting.coherence import coherence_ceiling
from bcsim.fitting.cross_validation import measured_residual, prediction_errors, wearer_curves
from bcsim.fitting.diagnosis.diagnose import examine
from bcsim.fitting.estimation import EstimationSettings, make_estimator
from bcsim.fitting.leakage import leakage_db, recorded_noise_psd
from bcsim.fitting.lowpass_equivalent import fit_lowpass
from bcsim.fitting.noise import deviation
from bcsim.fitting.pairs import AlignedPair
from bcsim.fitting.rendering import Rendering, fit_rendering
from bcsim.fitting.selection import AUTO, CANDIDATES, LearningPoint, Selection, select
from bcsim.fitting.smoothing import measurable_bins, usable_band
from bcsim.fitting.spread import Spread, expected_spread, measured_spread, ratio_curves
from bcsim.fitting.uncertainty import bootstrap_interval_db
from bcsim.sensors.profile import SensorProfile
from bcsim.sensors.provenance import Provenance
from bcsim.sensors.recorded_pair import RecordedPair
from bcsim.sensors.responses.base import SPEECH_RESPONSES, SpeechResponse

MIN_RECORDINGS = 4  # with fewer, what differs between them says nothing about the next one
SAME_START_S = 0.001  # delays that lie further from the median are those of recorders
# Between recordings of a throat microphone (see `expected_spread`); the delay's is from the
# quartiles of 31 recordings, 0.04 ms apart.
EXPECTED_STD = {"level_std_db": 5.0, "noise_level_std_db": 7.0, "delay_std_s": 3e-5}


@dataclass(frozen=True)
class PairReport:
    """What was found on one pair.

    Args:
        name: of the pair.
        talker: or None.
        seconds: duration of the overlap.
        active_seconds: of speech therein.
        pause_seconds: of pauses therein; 0 where there were too few for a noise floor.
        delay_s: of bone relative to air, at the middle.
        level_db: active level of bone relative to that of air.
        noise_db: the sensor's noise relative to its active speech.
        coherence: mean over frequency, each weighted with the sensor's power there.
        drift_ppm: by which the delay grew, microseconds a second.
    """

    name: str
    talker: str | None
    seconds: float
    active_seconds: float
    pause_seconds: float
    delay_s: float
    level_db: float
    noise_db: float
    coherence: float
    drift_ppm: float = 0.0


@dataclass(frozen=True)
class SkippedPair:
    """A pair that could not be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class FitResult:
    """A fitted sensor with what was found on the way.

    Args:
        profile: the sensor.
        pairs: what was found on each pair.
        skipped: pairs that were left out, and why.
        aligned: the pairs as they were fitted to.
        choice: which estimator was taken, and why.
        candidates: held-out scores by method, with those of EBEN's low-pass.
        learning_curve: what less to learn from would have given.
        held_out: recordings with renderings that were fitted without them.
    """

    profile: SensorProfile
    pairs: list[PairReport]
    skipped: list[SkippedPair]
    aligned: list[AlignedPair]
    choice: str
    candidates: dict[str, dict[str, float]]
    learning_curve: list[LearningPoint]
    held_out: list[tuple[AlignedPair, Rendering]]


@dataclass(frozen=True, eq=False)
class AmbientNoise:
    """A recording of ambient noise while nobody speaks, at the gains of the pairs.

    Args:
        air: (T,), of the air microphone.
        bone: (T,), of the sensor.
    """

    air: NDArray[np.floating]
    bone: NDArray[np.floating]


@one_thread()  # the same recordings give the same profile on any number of cores
def fit_sensor(
    pairs: Sequence[RecordedPair],
    sample_rate: int,
    estimator: str = AUTO,
    name: str = "sensor",
    source: str = "",
    licence: str = "",
    settings: EstimationSettings | None = None,
    prior: SensorProfile | None = None,
    ambient: AmbientNoise | None = None,
    held_out: bool = True,
) -> FitResult:
    """Fit a sensor to pairs of recordings.

    Pairs that cannot be used are left out and listed; see `bcsim.fitting.diagnosis` for reasons.

    Args:
        pairs: at least one, all at `sample_rate`.
        sample_rate: in Hz, 4000 or more.
        estimator: a registered name (see `bcsim.fitting.estimators.ESTIMATORS`), or "auto" for
            the one that does best on held-out recordings.
        name: what the sensor is called.
        source: what was recorded, by whom; goes into the profile.
        licence: of the recordings; likewise.
        settings: options of the estimator and of the smoothing.
        prior: a sensor of the kind, fitted to other recordings: its speech-dependent part is
            adapted to these, and its spread is taken over where they are too few to show one.
        ambient: from which the leakage is measured, or None.
        held_out: try the fit on held-out recordings. Without, there are no scores, no learning
            curve and no residual.

    Raises:
        InputError: if no pair is usable; the message gives the first one's reason.
        UsageError: for an unknown estimator, an option that it does not have, `auto` without
            held-out recordings, or a prior that cannot be one.
    """
    settings = settings or EstimationSettings()
    check_estimator(estimator, settings)
    if estimator == AUTO and not held_out:
        raise UsageError("auto chooses by held-out recordings; name an estimator to do without")
    start = _prior_speech(prior, sample_rate, estimator)
    usable, timings, skipped = _usable(pairs, sample_rate)
    aligned, polarity = align(usable, sample_rate, timings)
    if held_out:
        selection = select(aligned, estimator, settings, start)
    else:
        selection = Selection(estimator, f"{estimator}, as asked for; not tried on held-out pairs")
    chosen = make_estimator(selection.estimator, settings)
    fitted = fit_rendering(
        aligned,
        chosen,
        settings.smoothing,
        start,
        prior_noise_psd=None if prior is None else prior.noise_psd,
    )
    rendering, aligned, trial = fitted.rendering, fitted.pairs, selection.trial
    response, speech = rendering.response, rendering.speech
    curves, certainty = ratio_curves(fitted.equal)
    talkers = [pair.talker for pair in aligned]
    if speech is not None and trial is not None:
        errors = prediction_errors(trial)
        speech = replace(speech, residual=measured_residual(errors, trial))
        # How wearers differ beyond what they said.
        curves, certainty = wearer_curves(errors, trial)
        talkers = [pair.talker for pair, _ in trial.held_out]
    few = len(aligned) < MIN_RECORDINGS
    if few:
        spread = _expected_spread(response.frequencies_hz, prior)
    else:
        spread = measured_spread(curves, certainty, talkers)
    interval_db = bootstrap_interval_db(
        fitted.equal, chosen, measurable_bins(fitted.equal), settings.smoothing
    )
    leakage = None
    if ambient is not None:
        own = recorded_noise_psd(usable, sample_rate)
        leakage = leakage_db(ambient.air, ambient.bone, sample_rate, own)
    profile = SensorProfile(
        name=name,
        sample_rate=sample_rate,
        transfer_function=response,
        magnitude_interval_db=interval_db[: 2 if np.isfinite(interval_db).all() else 0],
        coherence_ceiling=coherence_ceiling(aligned),
        spread_db=spread.std_db,
        spread_components_db=spread.components_db,
        noise_psd=rendering.noise_psd,
        noise_level_std_db=_std(fitted.noise_level_std_db, few, prior, "noise_level_std_db"),
        level_db=rendering.level_db,
        level_std_db=_std(deviation(fitted.couplings_db), few, prior, "level_std_db"),
        delay_s=float(np.median([pair.start_delay_s for pair in aligned])),
        delay_std_s=_std(_delay_std_s(aligned), few, prior, "delay_std_s"),
        polarity=polarity,
        lowpass=fit_lowpass(response),
        usable_band_hz=usable_band(response),
        leakage_db=leakage,
        speech=speech,
        provenance=Provenance(
            estimator=selection.estimator,
            num_pairs=len(aligned),
            num_talkers=len({pair.talker for pair in aligned if pair.talker is not None}),
            seconds=sum(pair.seconds for pair in aligned),
            active_seconds=sum(pair.active_seconds for pair in aligned),
            pause_seconds=sum(pair.noise.pause_seconds for pair in aligned),
            bcsim_version=bcsim.__version__,
            source=source,
            licence=licence,
            scores={} if trial is None else trial.scores,
            learning={point.label: point.lsd for point in selection.learning_curve},
            spread=spread.between,
            prior="" if prior is None else prior.name,
        ),
    )
    return FitResult(
        profile=profile,
        pairs=[_report(pair) for pair in aligned],
        skipped=skipped,
        aligned=aligned,
        choice=selection.reason,
        candidates=selection.candidates,
        learning_curve=selection.learning_curve,
        held_out=[] if trial is None else trial.held_out,
    )


def check_estimator(estimator: str, settings: EstimationSettings | None) -> None:
    """Refuse an estimator, or options of it, before any work.

    Raises:
        UsageError: naming what is wrong.
    """
    if estimator != AUTO:
        make_estimator(estimator, settings)
        return
    try:
        for candidate in CANDIDATES:
            make_estimator(candidate, settings)
    except UsageError as error:
        raise UsageError(f"{AUTO} cannot take this option: {error}") from error


def _prior_speech(
    prior: SensorProfile | None, sample_rate: int, estimator: str
) -> SpeechResponse | None:
    if prior is None:
        return None
    if prior.sample_rate != sample_rate:
        raise UsageError(
            f"prior {prior.name!r} is of {prior.sample_rate} Hz, this fit of {sample_rate} Hz; "
            f"fit at its rate with --sample-rate {prior.sample_rate}"
        )
    if prior.speech is None and estimator in (AUTO, *SPEECH_RESPONSES):
        raise UsageError(
            f"prior {prior.name!r} is a fixed filter with nothing to start from; "
            "fit it with --estimator band-gain-network"
        )
    return prior.speech


def _expected_spread(frequencies_hz: NDArray[np.float64], prior: SensorProfile | None) -> Spread:
    """Return the prior's spread, or else that of sensors in general."""
    if prior is None or len(prior.spread_db) != len(frequencies_hz):
        return expected_spread(frequencies_hz)
    return Spread(prior.spread_db, prior.spread_components_db, "prior")


def _std(measured: float, few: bool, prior: SensorProfile | None, name: str) -> float:
    """Return a deviation between recordings: measured, or expected where they are few."""
    if not few:
        return measured
    return getattr(prior, name) if prior is not None else EXPECTED_STD[name]


def _delay_std_s(pairs: Sequence[AlignedPair]) -> float:
    """Return by how much the delay differs, apart from recorders that were started apart.

    Not less than expected: alignment cannot tell small differences from the sensor's phase, and
    gives recordings in step the same delay.
    """
    delays_s = np.array([pair.start_delay_s for pair in pairs])
    near = delays_s[np.abs(delays_s - np.median(delays_s)) < SAME_START_S]
    return max(deviation(near), EXPECTED_STD["delay_std_s"])


def _usable(
    pairs: Sequence[RecordedPair], sample_rate: int
) -> tuple[list[RecordedPair], list[Timing], list[SkippedPair]]:
    usable, timings, skipped = [], [], []
    for pair in pairs:
        found = examine(pair, sample_rate)
        if found.timing is None or found.refusal is not None:
            reason = found.refusal.text if found.refusal else "nothing to be timed"
            skipped.append(SkippedPair(pair.name, reason))
        else:
            usable.append(pair)
            timings.append(found.timing)
    if not usable:
        if not skipped:
            raise InputError("no pairs to fit a sensor to")
        first = skipped[0]
        more = f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""
        raise InputError(f"no usable pair: {first.name}: {first.reason}{more}")
    return usable, timings, skipped


def _report(pair: AlignedPair) -> PairReport:
    spectra = pair.spectra
    noise = float(pair.noise.psd.sum()) * pair.sample_rate / pair.num_fft
    return PairReport(
        name=pair.name,
        talker=pair.talker,
        seconds=pair.seconds,
        active_seconds=pair.active_seconds,
        pause_seconds=pair.noise.pause_seconds,
        delay_s=pair.delay_s,
        level_db=pair.level_db,
        noise_db=10 * math.log10(max(noise, 1e-20)),
        coherence=float((spectra.yy * spectra.coherence).sum() / spectra.yy.sum()),
        drift_ppm=pair.drift_ppm,
    )
