"""The facts of a profile or a fit as plain numbers, and what to record more of."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bcsim.dsp.spectra import fractional_octave_smooth
from bcsim.fitting.fit import FitResult
from bcsim.fitting.pairs import AlignedPair
from bcsim.fitting.smoothing import FALL_ABOVE
from bcsim.sensors.profile import SensorProfile

DROPS_DB = (3.0, 10.0, 20.0)
ENOUGH_ERROR_DB = 0.5  # median standard error of the magnitude
ENOUGH_PAUSES_S = 2.0  # for a noise floor
ENOUGH_UTTERANCES = 8  # for the spread between utterances
ENOUGH_TALKERS = 5  # for the spread between talkers
WORTHWHILE_DB = 0.1  # gain in LSD for which a doubling of the recordings is advised


def sensor_summary(fitted: FitResult | SensorProfile) -> dict[str, Any]:
    """Return the facts of a sensor as plain numbers and texts, ready for a table or JSON.

    Args:
        fitted: profile of the sensor, or result of its fit, which adds the facts of each pair.
    """
    profile = fitted.profile if isinstance(fitted, FitResult) else fitted
    provenance = profile.provenance
    facts: dict[str, Any] = {
        "name": profile.name,
        "sample_rate": profile.sample_rate,
        "estimator": provenance.estimator,
        "num_pairs": provenance.num_pairs,
        "num_talkers": provenance.num_talkers,
        "seconds": round(provenance.seconds, 3),
        "active_seconds": round(provenance.active_seconds, 3),
        "pause_seconds": round(provenance.pause_seconds, 3),
        "delay_ms": round(1000 * profile.delay_s, 4),
        "polarity": profile.polarity,
        "level_db": round(profile.level_db, 2),
        "level_std_db": round(profile.level_std_db, 2),
        "usable_band_hz": [round(hz, 1) for hz in profile.usable_band_hz],
        "recorded_band_hz": [round(hz, 1) for hz in profile.recorded_band_hz],
        "drops_hz": {f"-{drop:g} dB": drop_hz(profile, drop) for drop in DROPS_DB},
        "magnitude_error_db": round(_standard_error_db(profile), 2),
        "noise_to_speech_db": round(profile.noise_to_speech_db(), 1),
        "noise_level_std_db": round(profile.noise_level_std_db, 1),
        "noise_from": noise_source(profile),
        "deviations_from": deviations_source(profile),
        "lowpass": {key: round(value, 3) for key, value in asdict(profile.lowpass).items()},
        "source": provenance.source,
        "licence": provenance.licence,
        "speech": None if profile.speech is None else profile.speech.summary_word,
        "prior": provenance.prior,
        "findings": dict(provenance.findings),
        "spread_between": provenance.spread,
        "magnitude_interval_db": _interval_db(profile),
        "leakage": profile.leakage_db is not None,
        "scores": dict(provenance.scores),
        "learning": dict(provenance.learning),
        "advice": advice(profile),
    }
    if isinstance(fitted, FitResult):
        facts["pairs"] = [_pair_facts(pair) for pair in fitted.pairs]
        facts["skipped"] = [asdict(pair) for pair in fitted.skipped]
        facts["choice"] = fitted.choice
        facts["candidates"] = fitted.candidates
        facts["learning_curve"] = [asdict(point) for point in fitted.learning_curve]
    return facts


def _pair_facts(pair: AlignedPair) -> dict[str, Any]:
    return {
        **{name: getattr(pair, name) for name in ("name", "talker", "seconds", "active_seconds")},
        "pause_seconds": pair.noise.pause_seconds,
        **{name: getattr(pair, name) for name in ("delay_s", "level_db")},
        "noise_db": pair.noise_db if pair.noise.from_pauses else None,
        "coherence": pair.coherence,
        "drift_ppm": pair.drift_ppm,
    }


def noise_source(profile: SensorProfile) -> str:
    """Return where the noise floor comes from: "pauses", "prior", "assumed", or "" without any."""
    if not profile.noise_psd.any():
        return ""
    if profile.provenance.pause_seconds > 0:
        return "pauses"
    return "prior" if profile.provenance.prior else "assumed"


def deviations_source(profile: SensorProfile) -> str:
    """Return where the deviations of level, delay and noise come from.

    They are of the "recordings", of the "prior", or "assumed" where the recordings are too few.
    """
    if profile.provenance.spread != "prior":
        return "recordings"
    return "prior" if profile.provenance.prior else "assumed"


def drop_hz(profile: SensorProfile, drop_db: float) -> float | None:
    """Return the frequency in Hz above which the response falls `drop_db` below its plateau.

    The plateau is the greatest mean over an octave; the response is smoothed over a third of an
    octave. None where it never falls so far in the band of the recordings.
    """
    smooth_db = _smooth_magnitude_db(profile, 3)
    octaves_db = _smooth_magnitude_db(profile, 1)
    plateau = int(octaves_db[1:].argmax()) + 1
    recorded = profile.transfer_function.frequencies_hz <= profile.recorded_band_hz[1]
    low = (smooth_db < octaves_db[plateau] - drop_db) & recorded
    below = np.flatnonzero(low[plateau:])
    if len(below) == 0:
        return None
    return round(float(profile.transfer_function.frequencies_hz[plateau + below[0]]), 1)


def _smooth_magnitude_db(profile: SensorProfile, fraction: float) -> NDArray[np.float64]:
    """Return the magnitude in dB after averaging its power over 1/`fraction` octave, (F,)."""
    power = torch.from_numpy(np.abs(profile.transfer_function.response) ** 2)
    smooth = fractional_octave_smooth(power, fraction).clamp(min=1e-20)
    return 10 * np.log10(smooth.numpy())


def _standard_error_db(profile: SensorProfile) -> float:
    """Return the median standard error of the magnitude in dB, over the usable band.

    Where there is none, over 100 to 1000 Hz.
    """
    low, high = profile.usable_band_hz if profile.usable_band_hz[1] > 0 else (100.0, 1000.0)
    grid = profile.transfer_function.frequencies_hz
    error = profile.transfer_function.standard_error[(grid >= low) & (grid <= high)]
    return 20 * math.log10(1 + float(np.median(error))) if len(error) else math.inf


def _interval_db(profile: SensorProfile) -> tuple[float, float] | None:
    """Return the 95 % interval of the magnitude, median from 100 to 4000 Hz, or None.

    Only the band of the recordings counts.
    """
    grid = profile.transfer_function.frequencies_hz
    low_hz, high_hz = profile.recorded_band_hz
    counts = (grid >= max(100.0, low_hz)) & (grid <= min(4000.0, high_hz))
    if len(profile.magnitude_interval_db) == 0 or not counts.any():
        return None
    inside = profile.magnitude_interval_db[:, counts]
    low, high = np.median(inside, axis=1)
    return round(float(low), 2), round(float(high), 2)


def _learning_advice(learning: Mapping[str, float]) -> list[str]:
    """Return whether the last doubling of the recordings suggests another; see `Provenance`."""
    found = []
    kinds = {"half the seconds": "seconds of these talkers", "half the talkers": "talkers"}
    for label, what in kinds.items():
        if label not in learning or "all" not in learning:
            continue
        gain_db = learning[label] - learning["all"]
        would = "would help" if gain_db > WORTHWHILE_DB else "would not help"
        found.append(
            f"more {what} {would}: the last doubling took the held-out LSD from "
            f"{learning[label]:.2f} to {learning['all']:.2f} dB"
        )
    return found


def advice(profile: SensorProfile) -> list[str]:
    """Return sentences that say what to record more of; none where all is well."""
    provenance = profile.provenance
    found = []
    high_hz = profile.recorded_band_hz[1]
    if high_hz < profile.sample_rate / 2:
        found.append(
            f"the recordings hold nothing above {high_hz / 1000:.1f} kHz, where the response is "
            f"unknown and taken to fall by {FALL_ABOVE:g} dB an octave: record at "
            f"{profile.sample_rate} Hz, or fit at a lower sample rate"
        )
    if profile.usable_band_hz[1] == 0:
        found.append(
            "coherence exceeds 0.5 nowhere: check that air and bone are of the same speech, "
            "recorded in a quiet room, with the sensor firmly in place"
        )
    error_db = _standard_error_db(profile)
    if error_db > ENOUGH_ERROR_DB:
        # the error falls with the root of the duration
        more = provenance.active_seconds * ((error_db / ENOUGH_ERROR_DB) ** 2 - 1)
        found.append(
            f"the response is known to {error_db:.1f} dB: {max(1, math.ceil(more))} s more speech "
            f"would bring that to {ENOUGH_ERROR_DB:g} dB"
        )
    pauses = ""
    if not profile.noise_psd.any():
        pauses = "no noise floor could be measured, so what is simulated will have none"
    elif provenance.pause_seconds == 0:
        taken = "the prior's" if provenance.prior else "one that such sensors have"
        pauses = f"no pause was long enough for a noise floor, so {taken} is taken"
    elif provenance.pause_seconds < ENOUGH_PAUSES_S:
        pauses = f"{provenance.pause_seconds:.1f} s of pauses are little for a noise floor"
    if pauses:
        found.append(f"{pauses}: leave {ENOUGH_PAUSES_S:g} s of silence around the speech")
    if provenance.num_pairs < ENOUGH_UTTERANCES:
        found.append(
            f"{provenance.num_pairs} utterance(s) say little about the spread: record "
            f"{ENOUGH_UTTERANCES} or more, taking the sensor off in between"
        )
    if provenance.num_talkers < ENOUGH_TALKERS:
        known = f"{provenance.num_talkers} talker(s)" if provenance.num_talkers else "no talker"
        found.append(
            f"{known} named: record {ENOUGH_TALKERS} or more, a folder each, to know how wearers "
            "differ"
        )
    return found + _learning_advice(provenance.learning)
