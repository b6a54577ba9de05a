"""The report of `bcsim fit-response`: the fitted sensor, its accuracy, and how it sounds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bcsim.fitting.cross_validation import BASELINE
from bcsim.fitting.fit import FitResult
from bcsim.fitting.pairs import AlignedPair
from bcsim.fitting.summary import advice, deviations_source, noise_source
from bcsim.fitting.uncertainty import MIN_RECORDINGS
from bcsim.metrics import METRICS
from bcsim.metrics.coupling import BAND_CENTRES_HZ
from bcsim.reports import plots, sensor_plots
from bcsim.reports.html import Cell, Figure, Page, Section, Table, listening, signed
from bcsim.reports.speech_kinds import speech_kinds
from bcsim.reports.text import findings_text
from bcsim.sensors.profile import SensorProfile

CLIP_S = 5.0  # length of each sound: keeps a page under some MB
NUM_PLAYED = 3
MAX_ROWS = 200  # of a table
LEAD = (
    "What bcsim learned about a body-conduction sensor from recordings of the same speech at the "
    "sensor (bone) and at a microphone (air)."
)


@dataclass(frozen=True, eq=False)
class Example:
    """One pair and its simulation, aligned in time.

    Args:
        name: name of the pair.
        air: (T,).
        bone: (T,), as recorded.
        simulated: (T,), simulated from `air`, with the active level of `bone`.
    """

    name: str
    air: NDArray[np.floating]
    bone: NDArray[np.floating]
    simulated: NDArray[np.floating]


def fit_page(result: FitResult, examples: Sequence[Example]) -> Page:
    """Return the report of a fit.

    Args:
        result: fit of a sensor.
        examples: pairs and simulations, by the held-out fits where the result has predictions.
            The first three are played; the long-term spectra are the mean over all.
    """
    sections = [
        _response(result.profile),
        _speech(result.profile, examples),
        _scores(result, examples),
        _coupling(result),
        _listening(result, examples),
        _pairs(result),
        _advice(result),
        _skipped(result),
        _provenance(result.profile),
    ]
    return Page(
        title=f"Sensor {result.profile.name}",
        lead=LEAD,
        facts=_facts(result),
        sections=[section for section in sections if section is not None],
    )


def _facts(result: FitResult) -> dict[str, str]:
    profile, provenance = result.profile, result.profile.provenance
    low, high = profile.usable_band_hz
    facts = {
        "fitted by": provenance.estimator,
        "recordings": f"{provenance.num_pairs} pairs, {provenance.seconds:.0f} s",
    }
    if "lsd" in provenance.scores:
        facts["held-out LSD"] = f"{provenance.scores['lsd']:.1f} dB"
    if "lsd" in result.candidates.get(BASELINE, {}):
        facts["of the low-pass baseline"] = f"{result.candidates[BASELINE]['lsd']:.1f} dB"
    return facts | {
        "usable band": f"{low:.0f}\N{EN DASH}{high:.0f} Hz" if high else "none",
        "bone leads by" if profile.delay_s < 0 else "bone lags by": (
            f"{1000 * abs(profile.delay_s):.2f} ms"
        ),
        "polarity": "inverted" if profile.polarity < 0 else "upright",
    }


PALER = {
    "talkers": "Paler, how the shapes of wearers differ from it.",
    "utterances": "Paler, how the shapes of single recordings differ from it.",
    "prior": "Paler, how wearers are expected to differ: the recordings are too few to say.",
}


def _response(profile: SensorProfile) -> Section:
    usable = profile.usable_band_hz[1] > 0
    many = profile.provenance.num_pairs >= MIN_RECORDINGS
    drawn = "talkers and utterances" if many else "parts of the recordings"
    known = (
        f"Darker, how far it is known: the 95 % bootstrap interval over {drawn}. "
        + PALER.get(profile.provenance.spread, "")
        if len(profile.magnitude_interval_db)
        else "The band is how recordings differ; they are too few to say how far it is known."
    )
    return Section(
        "Response",
        "The response from air to bone, with delay and polarity taken out."
        + _unrecorded(profile)
        + (" The grey range is the usable band, where coherence exceeds 0.5." if usable else "")
        + ("" if profile.noise_psd.any() else " No pause was long enough to measure the noise."),
        figures=[
            Figure(sensor_plots.magnitude(profile), f"Magnitude. {known}"),
            Figure(
                sensor_plots.coherence(profile),
                "Coherence within recordings, and the ceiling that the noise of both channels "
                "alone would leave. The gap between them is what no fixed filter can explain: "
                "the response depends on the speech sound.",
            ),
            Figure(
                sensor_plots.group_delay(profile),
                "Group delay over third-octaves, without the overall delay. Where the coherence "
                "is low it is that of the minimum phase.",
            ),
            *_noise(profile),
        ],
    )


def _unrecorded(profile: SensorProfile) -> str:
    low_hz, high_hz = profile.recorded_band_hz
    if low_hz == 0 and high_hz >= profile.sample_rate / 2:
        return ""
    return (
        f" The recordings hold {low_hz:.0f} to {high_hz:.0f} Hz; in the hatched range beyond, "
        "nothing is known, and the response is taken to fall."
    )


def _noise(profile: SensorProfile) -> list[Figure]:
    figures = []
    if profile.noise_psd.any():
        level_db = signed(profile.noise_to_speech_db(), 0)
        source = {
            "pauses": "from the pauses",
            "prior": "that of the prior, for there were no pauses to measure it in",
            "assumed": "as assumed, for there were no pauses to measure it in",
        }[noise_source(profile)]
        caption = f"The sensor's own noise, {source}; {level_db} dB re speech in all."
        figures.append(Figure(plots.noise_floor(profile), caption))
    if profile.leakage_db is not None:
        picture = sensor_plots.leakage(
            profile.transfer_function.frequencies_hz, profile.leakage_db, profile.sample_rate
        )
        figures.append(Figure(picture, "Ambient noise that leaks into the sensor, re air."))
    return figures


def _speech(profile: SensorProfile, examples: Sequence[Example]) -> Section | None:
    if profile.speech is None or not examples:
        return None
    kinds = speech_kinds(profile.speech, [example.air for example in examples])
    if not kinds:
        return None
    named = {f"{kind.centroid_hz:.0f} Hz ({100 * kind.share:.0f} %)": kind for kind in kinds}
    return Section(
        "By speech sound",
        "What the sensor does to a sound beyond its fixed response, predicted from the air signal. "
        "Frames of the recordings were sorted into kinds by the shape of their spectrum; each is "
        "named by its centroid and the share of frames. The lowest are nasals and close vowels, "
        "the highest fricatives.",
        figures=[
            Figure(
                sensor_plots.speech_gains(
                    profile.speech.bank.centres_hz.numpy(),
                    {name: kind.gains_db for name, kind in named.items()},
                    {name: kind.air_db for name, kind in named.items()},
                ),
                "Above, the kinds of sounds as the air microphone picks them up; below, the mean "
                "gain that each gets relative to the fixed response.",
            )
        ],
    )


def _scores(result: FitResult, examples: Sequence[Example]) -> Section | None:
    if not result.candidates:
        return None
    columns = list(next(iter(result.candidates.values())))
    chosen = result.profile.provenance.estimator
    labels = {chosen: f"{chosen} (chosen)"}
    rows = [
        [labels.get(method, method), *(scores.get(name) for name in columns)]
        for method, scores in result.candidates.items()
    ]
    spectra = {
        "real bone": [example.bone for example in examples],
        "simulated bone": [example.simulated for example in examples],
    }
    rate = result.profile.sample_rate
    picture = plots.long_term_spectra(spectra, rate, "active speech") if examples else None
    caption = f"Long-term spectra of {len(examples)} recordings, equal in level."
    return Section(
        "Held-out accuracy",
        f"{result.choice}.\n\nEach recording was simulated by a fit to others and compared with "
        "the real one: log-spectral, mel-spectral and mel-cepstral distances over active frames, "
        "and the error of the long-term spectrum. Lower is better, but for STOI and ESTOI. Two "
        "independent noises of equal spectrum have an LSD of 7.9 dB. "
        f"{BASELINE} is the low-pass baseline, which is fitted to nothing.",
        figures=[] if picture is None else [Figure(picture, caption)],
        tables=[Table(["method", *(METRICS[name].heading for name in columns)], rows)],
    )


def _coupling(result: FitResult) -> Section | None:
    found = result.coupling
    if found is None:
        return None
    rows: list[list[Cell]] = [
        [
            METRICS[name].label.removesuffix(" coupling"),
            f"{real:.2f}",
            f"{found.simulated[name]:.2f}",
        ]
        for name, real in found.real.items()
        if name in found.scores
    ]
    picture = sensor_plots.coupling(BAND_CENTRES_HZ, found.real_bands, found.simulated_bands)
    caption = "Correlation of the envelope with that of air in 20 mel bands, over active frames."
    return Section(
        "Coupling",
        "How closely the sensor follows air, in held-out recordings and in their simulations with "
        "the residual drawn. A simulation that follows air more closely than the sensor does makes "
        "an easier task of enhancement than the real one: scores on simulated pairs are then too "
        "good.",
        figures=[] if not found.scores else [Figure(picture, caption)],
        tables=[Table(["bone with air", "real", "simulated"], rows)],
    )


def _listening(result: FitResult, examples: Sequence[Example]) -> Section | None:
    if not examples:
        return None
    rate = result.profile.sample_rate
    players = []
    for example in examples[:NUM_PLAYED]:
        kept = _loudest_segment(example.bone, round(CLIP_S * rate))
        signals = {
            f"{example.name}: air": example.air[kept],
            f"{example.name}: real bone": example.bone[kept],
            f"{example.name}: simulated bone": example.simulated[kept],
        }
        peak = max(float(np.abs(signal).max(initial=0.0)) for signal in signals.values())
        gain = 0.9 / peak if peak > 0 else 1.0
        scaled = {name: gain * signal for name, signal in signals.items()}
        players += listening(scaled, rate)
    how = (
        "The simulations are those of a fit without these recordings."
        if result.predictions
        else "The sensor was fitted to these recordings, too: others will sound less alike."
    )
    return Section(
        "Listen",
        f"Air, the sensor, and the sensor simulated from air, equal in level. {how}",
        players=players,
    )


def _pairs(result: FitResult) -> Section:
    drifts_ppm = [pair.drift_ppm for pair in result.pairs]
    rows: list[dict[str, Cell]] = [
        {
            "pair": pair.name,
            "talker": pair.talker or "",
            "s": pair.seconds,
            "speech, s": pair.active_seconds,
            "delay, ms": 1000 * pair.delay_s,
            "drift, ppm": pair.drift_ppm,
            "level, dB": pair.level_db,
            "noise, dB": pair.noise_db if pair.noise.from_pauses else None,
            "coherence": pair.coherence,
            "remarks": _remarks(pair),
        }
        for pair in result.pairs
    ]
    columns = [name for name in rows[0] if name != "remarks" or any(row[name] for row in rows)]
    cells = [[row[name] for name in columns] for row in rows[:MAX_ROWS]]
    left = len(rows) - MAX_ROWS
    names = [pair.name for pair in result.pairs]
    delays_ms = [1000 * pair.delay_s for pair in result.pairs]
    middle_ms = 1000 * result.profile.delay_s
    return Section(
        "Pairs",
        "Delay and level are those of bone re air, noise is re bone speech. The dashed line is "
        "the sensor's delay." + (f" {left} more pairs are not listed." if left > 0 else ""),
        figures=[
            Figure(
                sensor_plots.dots(names, delays_ms, "delay of bone, ms", middle_ms),
                "Delay of each pair.",
            ),
            Figure(
                sensor_plots.dots(names, drifts_ppm, "drift, ppm", 0.0),
                "Drift between the clocks of the two recorders, as far as it is beyond chance.",
            ),
        ],
        tables=[Table(columns, cells)],
    )


def _remarks(pair: AlignedPair) -> str:
    remarks = ["polarity opposite to the others'"] if pair.inverted else []
    remarks += [f"delay jumps by {jump}" for jump in pair.jumps]
    return "; ".join(remarks)


def _advice(result: FitResult) -> Section:
    sentences = [f"{text[:1].upper()}{text[1:]}".rstrip(".") for text in advice(result.profile)]
    text = "\n\n".join(f"{sentence}." for sentence in sentences)
    points = result.learning_curve
    figures, tables = [], []
    if len(points) > 1:
        labels, errors_db = [point.label for point in points], [point.lsd for point in points]
        picture = sensor_plots.dots(labels, errors_db, "LSD on held-out recordings, dB")
        caption = (
            "What the fit was given, and the error that it left on some of the held-out "
            "recordings: to be compared with each other, not with the table above."
        )
        figures.append(Figure(picture, caption))
        rows = [[point.label, point.seconds, point.talkers, point.lsd] for point in points]
        tables.append(Table(["given", "pairs, s", "talkers", "held-out LSD, dB"], rows))
    return Section(
        "Would more recordings help?",
        text or "Nothing that was measured asks for more recordings.",
        figures=figures,
        tables=tables,
    )


def _skipped(result: FitResult) -> Section | None:
    if not result.skipped:
        return None
    rows = [[skipped.name, skipped.reason] for skipped in result.skipped[:MAX_ROWS]]
    return Section("Pairs that were left out", tables=[Table(["pair", "reason"], rows)])


def _provenance(profile: SensorProfile) -> Section:
    provenance = profile.provenance
    rows = {
        "source": provenance.source or "not stated",
        "licence": provenance.licence or "not stated",
        "pairs": str(provenance.num_pairs),
        "talkers": str(provenance.num_talkers) if provenance.num_talkers else "not named",
        "duration": f"{provenance.seconds:.1f} s, {provenance.active_seconds:.1f} s of it speech, "
        f"{provenance.pause_seconds:.1f} s pauses",
        "noticed (pairs)": findings_text(provenance.findings),
        "estimator": provenance.estimator,
        "prior": provenance.prior,
        "spread": {
            "recordings": f"measured between {provenance.spread}",
            "prior": "that of the prior: the recordings are too few to show one",
            "assumed": "assumed: the recordings are too few to show one",
        }[deviations_source(profile)],
        "sample rate": f"{profile.sample_rate} Hz",
        "fitted with": f"bcsim {provenance.bcsim_version}",
    }
    table = Table(["fact", "value"], [[name, value] for name, value in rows.items() if value])
    return Section("Provenance", tables=[table])


def _loudest_segment(samples: NDArray[np.floating], size: int) -> slice:
    """Return the segment of `size` samples that holds the most energy."""
    if len(samples) <= size:
        return slice(None)
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    start = int(np.argmax(energy[size:] - energy[:-size]))
    return slice(start, start + size)
