"""A sensor's facts and the results of `bcsim evaluate`, as lines of text."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from bcsim.metrics import METRICS
from bcsim.metrics.scores import coupling_metrics, headline_metrics, simulation_metrics

# Scores of a corpus, which are no metric of one utterance.
OF_CORPUS = {
    "dynamics_ratio_mean": ("dynamics ratio, mean", "of the mean sensor, which moves less"),
    "c2st": ("C2ST", "0.5: cannot be told from real; residual drawn"),
    "c2st_null": ("C2ST real/real", "halves of the same real recordings"),
    "c2st_null_std": ("C2ST real/real, sd", "over random splits into halves"),
}
LABELS = {
    name: (METRICS[name].heading, METRICS[name].remark) for name in simulation_metrics()
} | OF_CORPUS
COLUMNS = {name: METRICS[name].headline for name in headline_metrics()} | {"c2st": "C2ST"}
MAX_WIDTH, NAME_WIDTH = 100, 22  # columns of characters
# After a spread: where it does not come from the recordings themselves.
NOT_MEASURED = {
    "recordings": "",
    "prior": " (the prior's: too few recordings)",
    "assumed": " (assumed: too few recordings)",
}
Facts = Mapping[str, Any]


def sensor_lines(facts: Facts) -> list[str]:
    """Return the facts of `bcsim.fitting.summary.sensor_summary`, one a line."""
    low, high = facts["usable_band_hz"]
    lead = "bone leads" if facts["delay_ms"] < 0 else "bone lags"
    drops = ", ".join(
        f"{drop} at {hz:.0f} Hz" if hz is not None else f"{drop} nowhere"
        for drop, hz in facts["drops_hz"].items()
    )
    lowpass = facts["lowpass"]
    interval = ""
    if facts["magnitude_interval_db"] is not None:
        below, above = facts["magnitude_interval_db"]
        interval = f"; 95 % interval {below:+.1f}...{above:+.1f} dB"
    talkers = f", {facts['num_talkers']} talkers" if facts["num_talkers"] else ""
    rows = {
        "sensor": f"{facts['name']} ({facts['estimator']}, {facts['sample_rate']} Hz)",
        "pairs used": f"{facts['num_pairs']}{talkers}, {facts['seconds']:.1f} s, "
        f"{facts['active_seconds']:.1f} s of it speech, {facts['pause_seconds']:.1f} s pauses",
        "delay": f"{facts['delay_ms']:+.3f} ms ({lead})",
        "polarity": "inverted" if facts["polarity"] < 0 else "upright",
        "level": f"{facts['level_db']:+.1f} dB re air, spread {facts['level_std_db']:.1f} dB"
        + NOT_MEASURED[facts["deviations_from"]],
        "recorded": _recorded_band(facts),
        "usable band": f"{low:.0f}-{high:.0f} Hz (coherence above 0.5)" if high else "none",
        "response": drops,
        "known to": f"{facts['magnitude_error_db']:.2f} dB (median standard error){interval}",
        "speech part": facts["speech"] or "",
        "prior": facts["prior"],
        "noise floor": _noise_floor(facts),
        "low-pass like": f"{lowpass['cutoff_hz']:.0f} Hz, Q {lowpass['q']:.2f}, "
        f"{lowpass['gain_db']:+.1f} dB",
        "noticed": findings_text(facts["findings"]),
        "source": facts["source"],
        "licence": facts["licence"],
    }
    couplings = coupling_metrics()
    scores = facts["scores"]
    rows["held-out"] = ", ".join(f"{n} {v:.2f}" for n, v in scores.items() if n not in couplings)
    rows["coupling"] = _coupling_text({n: scores[n] for n in couplings if n in scores})
    rows["chosen"] = facts.get("choice", "")
    lines = [f"{label:<14}{text}" for label, text in rows.items() if text]
    return lines + [f"{'advice':<14}{sentence}" for sentence in facts["advice"]]


def _coupling_text(scores: Mapping[str, float]) -> str:
    """Return by how much the simulation follows air more closely than the sensor does."""
    found = [f"{METRICS[name].label.split()[0]} {value:+.2f}" for name, value in scores.items()]
    return f"{', '.join(found)} (bone with air, simulated - real, held-out)" if found else ""


def findings_text(findings: Mapping[str, int]) -> str:
    """Return what was noticed about pairs, such as "dc 3, lossy 12"; "" where nothing was."""
    return ", ".join(f"{kind} {count}" for kind, count in findings.items())


def _recorded_band(facts: Facts) -> str:
    """Return the band that the recordings held, where it is not the whole; else nothing."""
    low_hz, high_hz = facts["recorded_band_hz"]
    if low_hz == 0 and high_hz >= facts["sample_rate"] / 2:
        return ""
    return f"{low_hz:.0f}-{high_hz:.0f} Hz; beyond, the response is unknown and taken to fall"


def _noise_floor(facts: Facts) -> str:
    level = f"{facts['noise_to_speech_db']:.1f} dB re speech"
    std_db = facts["noise_level_std_db"]
    spread = f"spread {std_db:.1f} dB" if std_db else "spread unknown"
    if facts["deviations_from"] != "recordings":
        spread += NOT_MEASURED[facts["deviations_from"]]
    return {
        "": "unknown: no pauses, nothing quiet; simulated without noise",
        "assumed": f"{level} (assumed: no pauses to measure it in), {spread}",
        "prior": f"{level} (the prior's: no pauses to measure it in), {spread}",
        "pauses": f"{level}, {spread}",
    }[facts["noise_from"]]


def evaluation_lines(facts: Facts) -> list[str]:
    """Return one sensor's scores with intervals, by talker and by band, within 100 columns.

    Args:
        facts: JSON object that `bcsim evaluate` prints for one sensor.
    """
    lines = [
        f"{facts['sensor']}, {_material(facts)}; lower is better unless said",
        f"{'':<{NAME_WIDTH}}{'mean':>8}{'95 % interval':>18}",
    ]
    for name, value in facts["scores"].items():
        label, note = LABELS.get(name, (name, ""))
        count = facts["num_scored"].get(name, facts["num_pairs"])
        if count < facts["num_pairs"]:
            note = "; ".join(text for text in (note, f"of {count} pairs") if text)
        row = f"{label:<{NAME_WIDTH}}{_number(value):>8}{_interval(facts, name):>18}"
        lines.append(f"{row}  {note}".rstrip())
    if facts["talkers_known"]:
        first = next(iter(facts["talkers"].values()))
        headings = [heading for name, heading in COLUMNS.items() if name in first]
        rows = []
        for talker, scores in facts["talkers"].items():
            cells = [_number(scores[name]) for name in COLUMNS if name in scores]
            rows.append((talker, [*cells, str(scores["num_pairs"])]))
        lines += ["", *table_lines("talker", [*headings, "pairs"], rows)]
    lines += ["", _band_heading(facts, "third-octave, kHz")]
    for name, label in (("bias_db", "simulated - real, dB"), ("rms_db", "rms error, dB")):
        lines.append(_band_row(label, [band[name] for band in facts["bands"]], name == "bias_db"))
    return [*lines, "", *_coupling_lines(facts["coupling"])]


def _coupling_lines(coupling: Facts) -> list[str]:
    """Return how closely real and simulated signals follow air, with the envelopes by band."""
    names = [METRICS[name].label.split()[0] for name in coupling["real"]]
    bands = coupling["bands"]
    kilohertz = [f"{band['centre_hz'] / 1000:.2g}" for band in bands]
    kinds = ("real", "simulated")
    values = [(kind, [_number(value) for value in coupling[kind].values()]) for kind in kinds]
    rows = [(kind, [_number(band[kind]) for band in bands]) for kind in kinds]
    return [
        *table_lines("bone with air", names, values),
        "",
        *table_lines("envelopes, kHz", kilohertz, rows, 7),
    ]


def comparison_lines(evaluations: Sequence[Facts]) -> list[str]:
    """Return the means, intervals and bias by band of several sensors, within 100 columns.

    Args:
        evaluations: facts as in `evaluation_lines`, all of the same recordings.
    """
    first = evaluations[0]
    best = {"higher": "higher", "one": "1", "zero": "0"}
    other = [
        f"{COLUMNS[name]} {best[METRICS[name].better]}"
        for name in headline_metrics()
        if METRICS[name].better in best
    ]
    heading = f"{_material(first)}; lower is better, but {', '.join(other)}, C2ST 0.5"
    rows = [
        (facts["sensor"], [_number(facts["scores"][name]) for name in COLUMNS])
        for facts in evaluations
    ]
    lines = [
        *textwrap.wrap(heading, MAX_WIDTH),
        *table_lines("sensor", list(COLUMNS.values()), rows),
    ]
    null, deviation = (_number(first["scores"][f"c2st_null{part}"]) for part in ("", "_std"))
    lines.append(f"C2ST of real against real: {null}, sd {deviation} over random splits")
    measured = [name for name in COLUMNS if name in first["intervals"]]
    rows = [
        (facts["sensor"], [_interval(facts, name) for name in measured]) for facts in evaluations
    ]
    lines += ["", *table_lines("95 % intervals", [COLUMNS[name] for name in measured], rows, 12)]
    lines += ["", "simulated - real level, dB", _band_heading(first, "third-octave, kHz")]
    for facts in evaluations:
        bias = [band["bias_db"] for band in facts["bands"]]
        lines.append(_band_row(facts["sensor"], bias, signed=True))
    return lines


def _material(facts: Facts) -> str:
    talkers = f" of {len(facts['talkers'])} talkers" if facts["talkers_known"] else ""
    return f"{facts['num_pairs']} pairs{talkers}"


def table_lines(
    title: str, headings: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], width: int = 10
) -> list[str]:
    """Return rows of a name and cells under headings; columns beyond the width follow below.

    Args:
        title: heading of the names.
        headings: headings of the cells.
        rows: name and cells of each row.
        width: width of a column in characters.
    """
    at_once = (MAX_WIDTH - NAME_WIDTH) // width
    lines = []
    for start in range(0, len(headings), at_once):
        part = slice(start, start + at_once)
        lines.append(_row(title, headings[part], width))
        lines += [_row(name, cells[part], width) for name, cells in rows]
    return lines


def _row(name: str, cells: Sequence[str], width: int) -> str:
    return _fitted(name) + "".join(f"{cell:>{width}}" for cell in cells)


def _band_heading(facts: Facts, label: str) -> str:
    kilohertz = [round(band["centre_hz"] / 1000, 2) for band in facts["bands"]]
    centres = [f"{centre:.2g}".removeprefix("0") for centre in kilohertz]
    return _fitted(label) + "".join(f"{centre:>4}" for centre in centres)


def _band_row(label: str, values: Sequence[float | None], signed: bool) -> str:
    cells = ["-" if v is None else f"{v:{'+' if signed else ''}.0f}" for v in values]
    return _fitted(label) + "".join(f"{cell:>4}" for cell in cells)


def _fitted(name: str) -> str:
    return f"{name[: NAME_WIDTH - 1]:<{NAME_WIDTH}}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _interval(facts: Facts, name: str) -> str:
    interval = facts["intervals"].get(name)
    if interval is None:
        return ""
    return "..".join(f"{end:.2f}" if abs(end) < 10 else f"{end:.1f}" for end in interval)
