"""What `bcsim evaluate` found, as lines of at most 100 columns."""

from collections.abc import Mapping, Sequence
from typing import Any

from bcsim.metrics import METRICS
from bcsim.metrics.scores import headline_metrics, simulation_metrics

# What is no metric of one utterance.
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
NAME_WIDTH = 22
Facts = Mapping[str, Any]


def evaluation_lines(facts: Facts) -> list[str]:
    """Return one sensor's scores with their intervals, by talker and by band.

    Args:
        facts: as `bcsim evaluate --json` prints them for one sensor.
    """
    lines = [
        f"{facts['sensor']}, {_material(facts)}; lower is better unless said",
        f"{'':<{NAME_WIDTH}}{'mean':>8}{'95 % interval':>18}",
    ]
    for name, value in facts["scores"].items():
        label, note = LABELS.get(name, (name, ""))
        row = f"{label:<{NAME_WIDTH}}{_number(value):>8}{_interval(facts, name):>18}"
        lines.append(f"{row}  {note}".rstrip())
    if facts["talkers_known"]:
        lines += ["", _row("talker", [*_headings(facts["talkers"]), "pairs"])]
        for talker, scores in facts["talkers"].items():
            cells = [_number(scores[name]) for name in COLUMNS if name in scores]
            lines.append(_row(talker, [*cells, str(scores["num_pairs"])]))
    lines += ["", _band_heading(facts, "third-octave, kHz")]
    for name, label in (("bias_db", "simulated - real, dB"), ("rms_db", "rms error, dB")):
        lines.append(_band_row(label, [band[name] for band in facts["bands"]], name == "bias_db"))
    return lines


def comparison_lines(evaluations: Sequence[Facts]) -> list[str]:
    """Return several sensors beside each other: means, intervals, and the bias by band.

    Args:
        evaluations: of the same recordings, each as `evaluation_lines` takes it.
    """
    first = evaluations[0]
    headings = list(COLUMNS.values())
    best = {"higher": "higher", "one": "1"}
    other = [
        f"{COLUMNS[name]} {best[METRICS[name].better]}"
        for name in headline_metrics()
        if METRICS[name].better in best
    ]
    lines = [f"{_material(first)}; lower is better, but {', '.join(other)}, C2ST 0.5"]
    lines.append(_row("sensor", headings))
    for facts in evaluations:
        cells = [_number(facts["scores"][name]) for name in COLUMNS]
        lines.append(_row(facts["sensor"], cells))
    null, deviation = (_number(first["scores"][f"c2st_null{part}"]) for part in ("", "_std"))
    lines.append(f"C2ST of real against real: {null}, sd {deviation} over random splits")
    measured = [name for name in COLUMNS if name in first["intervals"]]
    lines += ["", _row("95 % intervals", [COLUMNS[name] for name in measured], 12)]
    for facts in evaluations:
        lines.append(_row(facts["sensor"], [_interval(facts, name) for name in measured], 12))
    lines += ["", "simulated - real level, dB", _band_heading(first, "third-octave, kHz")]
    for facts in evaluations:
        bias = [band["bias_db"] for band in facts["bands"]]
        lines.append(_band_row(facts["sensor"], bias, signed=True))
    return lines


def _material(facts: Facts) -> str:
    talkers = f" of {len(facts['talkers'])} talkers" if facts["talkers_known"] else ""
    return f"{facts['num_pairs']} pairs{talkers}"


def _headings(talkers: Facts) -> list[str]:
    first = next(iter(talkers.values()))
    return [heading for name, heading in COLUMNS.items() if name in first]


def _row(name: str, cells: Sequence[str], width: int = 10) -> str:
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
