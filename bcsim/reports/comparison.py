"""The results of `bcsim compare`: a page, a table of values, and lines of text."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bcsim.datasets.pairs import Pair
from bcsim.metrics import METRICS
from bcsim.reports.html import Page, Section, Table, listening, signed
from bcsim.reports.model_text import count_text, look_ahead_text
from bcsim.reports.text import MAX_WIDTH, table_lines

Facts = Mapping[str, Any]

DASH = "\N{EN DASH}"
_COSTS = ("num_parameters", "multiply_adds_per_s", "look_ahead_ms", "causal", "real_time_factor")


@dataclass(frozen=True, eq=False)
class Sounds:
    """Outputs of a network for the first recordings.

    Args:
        outputs: (T,) of each recording.
        items: recordings that they were made of.
    """

    outputs: Sequence[NDArray[np.floating]]
    items: Sequence[Pair]


def comparison_page(facts: Facts, sounds: Mapping[str, Sounds]) -> Page:
    """Return the page.

    Args:
        facts: content of `results.json`.
        sounds: outputs by name of the run.
    """
    models = [row for row in facts["rows"] if "gains" in row]
    failed = [row for row in facts["rows"] if "failure" in row]
    sections = [
        Section("Scores", _scored(facts), tables=[means_table(facts), gains_table(models, facts)]),
        Section("Costs", _COSTS_TEXT, tables=[_costs(models)]),
        *listening_sections(sounds),
    ]
    if failed:
        rows = [[row["name"], row["failure"]] for row in failed]
        told = "These recipes have no scores."
        sections.insert(1, Section("Failed", told, tables=[Table(["recipe", "reason"], rows)]))
    beaten = [row["name"] for row in models if (row["gains"].get("stoi") or 0) <= 0]
    lead = f"{len(models)} recipes, each trained {_budget(facts)}."
    if beaten:
        lead += f" No better than unprocessed in STOI: {', '.join(beaten)}."
    dead = [f"{r['name']} ({r['num_dead']})" for r in models if r["num_dead"]]
    if dead:
        lead += f" Recordings of which the output is silent or not finite: {', '.join(dead)}."
    return Page("Comparison of enhancers", lead, sections, _headline(models, facts))


def comparison_csv(facts: Facts) -> str:
    """Return one line a row of the comparison, values separated by commas."""
    names = facts["metrics"]
    columns = ["name", "recipe", "failure", "channels", *_COSTS, "num_steps", "num_dead"]
    ends = [f"{name}{end}" for name in names for end in ("", "_low", "_high", "_gain")]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*columns, *ends])
    for row in facts["rows"]:
        cells = [row.get(column) for column in columns]
        cells[3] = "+".join(row.get("channels", ()))
        for name in names:
            low, high = row.get("intervals", {}).get(name) or (None, None)
            mean, gain = (row.get(kind, {}).get(name) for kind in ("scores", "gains"))
            cells += [mean, low, high, gain]
        writer.writerow(["" if cell is None else cell for cell in cells])
    return file.getvalue()


def comparison_text(facts: Facts) -> list[str]:
    """Return the scores and costs as lines within 100 columns."""
    names = facts["metrics"]
    headings = [METRICS[name].heading for name in names]
    rows = [
        (row["name"], [_number(row["scores"].get(name)) for name in names])
        for row in facts["rows"]
        if "scores" in row
    ]
    models = [row for row in facts["rows"] if "gains" in row]
    costs = [
        (
            row["name"],
            [
                f"{row['num_parameters']:,}",
                count_text(row["multiply_adds_per_s"]),
                look_ahead_text(row["look_ahead_ms"]).removesuffix(" recording"),
                f"{row['real_time_factor']:.3g}",
                str(row["num_steps"]),
            ],
        )
        for row in models
    ]
    lines = [f"means over {_material(facts)}; each trained {_budget(facts)}"]
    lines += table_lines("", headings, rows, 12)
    lines += [
        "",
        *table_lines("", ["parameters", "mult-adds/s", "look-ahead", "RTF", "steps"], costs, 14),
    ]
    for row in facts["rows"]:
        if "failure" in row:
            lines.append(f"failed: {row['name']}: {row['failure']}"[:MAX_WIDTH])
    return lines


def _scored(facts: Facts) -> str:
    silent = facts["num_silent"]
    left_out = f" {silent} more are left out, for their clean side is silent." if silent else ""
    return (
        f"Means over {_material(facts)}, the first 30 s of each; in brackets the 95 % interval "
        f"of a bootstrap over talkers and recordings.{left_out} Unprocessed is the sensor's "
        "signal, inverse response that signal after a filter which undoes the fixed response in "
        "the sensor's profile, clean the target itself. The weights are those of the last step, "
        "so nothing was chosen by these recordings.\n\n"
        "A gain is the difference to unprocessed, recording by recording. It is a gain or a loss "
        "where its interval leaves 0 out; marked with ? where it does not."
    )


_COSTS_TEXT = (
    "Multiply-adds are those of convolutions, matrix products and recurrent layers for one second "
    "of input. The real-time factor is the time on one core of the machine that made this page "
    "over the length of the input: below 1 a network keeps up. The look-ahead is how far behind an "
    "output sample the last input lies that it depends on."
)


def means_table(facts: Facts) -> Table:
    """Return the means of all rows with their intervals."""
    names = facts["metrics"]
    rows = [
        [row["name"], *(_with_interval(row, name) for name in names)]
        for row in facts["rows"]
        if "scores" in row
    ]
    return Table(["model", *(_heading(name) for name in names)], rows, "Means")


def gains_table(models: Sequence[Facts], facts: Facts) -> Table:
    """Return the gains over unprocessed of some rows, with ? where it may be none."""
    names = facts["metrics"]
    rows = [[row["name"], *(_gain(row, name) for name in names)] for row in models]
    return Table(["model", *(_heading(name) for name in names)], rows, "Gains over unprocessed")


def _costs(models: Sequence[Facts]) -> Table:
    columns = [
        "model", "channels", "parameters", "multiply-adds/s", "look-ahead", "causal",
        "real-time factor", "steps",
    ]  # fmt: skip
    rows = [
        [
            row["name"],
            ", ".join(row["channels"]),
            f"{row['num_parameters']:,}",
            count_text(row["multiply_adds_per_s"]),
            look_ahead_text(row["look_ahead_ms"]),
            "yes" if row["causal"] else "no",
            row["real_time_factor"],
            f"{row['num_steps']:,}",
        ]
        for row in models
    ]
    return Table(columns, rows)


def listening_sections(sounds: Mapping[str, Sounds]) -> list[Section]:
    """Return a section for each recording and sample rate, with all networks side by side."""
    found: dict[tuple[str, int], dict[str, NDArray[np.floating]]] = {}
    targets: dict[tuple[str, int], NDArray[np.floating]] = {}
    for name, own in sounds.items():
        for item, output in zip(own.items, own.outputs, strict=True):
            key = (item.id, item.sample_rate)
            signals = found.setdefault(key, {"unprocessed (sensor)": item.bone.numpy()})
            signals[name] = output
            targets[key] = item.air.numpy()
    return [
        Section(
            f"Listen: {name}",
            f"At {sample_rate} Hz; the spectrograms have one scale.",
            players=listening({**signals, "clean": targets[name, sample_rate]}, sample_rate),
        )
        for (name, sample_rate), signals in found.items()
    ]


def _headline(models: Sequence[Facts], facts: Facts) -> dict[str, str]:
    shown = {"recordings": str(facts["num_recordings"]), "training": _budget(facts)}
    if models and models[0]["gains"].get("stoi") is not None:
        best = models[0]
        shown["best STOI"] = best["name"]
        shown["its gain"] = signed(best["gains"]["stoi"], 3)
    return shown


def _budget(facts: Facts) -> str:
    if facts["budget_s"] is None:
        return f"{facts['num_steps']:,} steps"
    return f"{facts['budget_s']:.4g} s"


def _material(facts: Facts) -> str:
    talkers = f" of {facts['num_talkers']} talkers" if facts["num_talkers"] else ""
    return f"{facts['num_recordings']} recordings{talkers}"


def _heading(name: str) -> str:
    metric = METRICS[name]
    return f"{metric.heading} (lower is better)" if metric.better == "lower" else metric.heading


def _with_interval(row: Facts, name: str) -> str:
    interval = row["intervals"].get(name)
    mean = _number(row["scores"].get(name))
    return (
        mean if interval is None else f"{mean} ({_number(interval[0])} to {_number(interval[1])})"
    )


def _gain(row: Facts, name: str) -> str:
    gain = row["gains"].get(name)
    if gain is None:
        return DASH
    decimals = 3 if abs(gain) < 1 else 2
    return signed(gain, decimals) + ("" if row["better"][name] is not None else " ?")


def _number(value: float | None) -> str:
    if value is None:
        return DASH
    return f"{value:.{3 if abs(value) < 1 else 2}f}".replace("-", "\N{MINUS SIGN}")
