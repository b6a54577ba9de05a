"""The report of a training run: scores, curves and sounds."""

import json
import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bcsim.audio.read import read_audio
from bcsim.errors import InputError
from bcsim.files.atomic import write_bytes
from bcsim.metrics import METRICS
from bcsim.models.storage import AIR_TO_BONE
from bcsim.reports.html import Figure, Page, Section, Table, listening, paragraphs, write_page
from bcsim.reports.plots import read_metrics, series, spectrogram_row, training_curves

SPLITS = {"validation": "synthetic pairs", "validation_real": "real pairs"}
KINDS = ("unprocessed_", "", "clean_")
ROLES: Sequence[str] = ("bone", "enhanced", "air")
REVERSE: Sequence[str] = ("air", "simulated bone", "real bone")  # the network makes bone
SAMPLE = re.compile(r"((?:([a-z_]+)_)?\d{2,}_.*)\.enhanced\.step_(\d+)\.flac")
MAX_ITEMS = 4  # items of a set of pairs to listen to in the report
MAX_PANELS = 5  # panels of a figure
RECENT = 20  # newest rows of pace.jsonl, whose median is the speed

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Sample:
    """The audio of a validation item.

    Args:
        name: name of the item's files, without role and suffix.
        split: set of pairs that holds the item.
        step: training step of the network that made the output.
        signals: label to samples (T,) of the network's input, its output, and the target.
        sample_rate: sample rate in Hz.
    """

    name: str
    split: str
    step: int
    signals: Mapping[str, NDArray[np.float64]]
    sample_rate: int


def write_run_report(run: Path) -> Path:
    """Write `report.html` from what a run has written so far, and pictures of its newest samples.

    The pictures, spectrograms of bone, enhanced and air side by side, are written beside the
    audio; those of older samples are deleted.

    Args:
        run: folder of the run, which may be unfinished or empty.

    Returns:
        Path of the report.

    Raises:
        InputError: if the folder is missing or one of its files is damaged.
        UsageError: if matplotlib or jinja2 is not installed.
    """
    if not run.is_dir():
        raise InputError(f"{run}: no such folder of a run")
    config = _config(run / "config.json")
    samples = _newest_samples(run / "samples", config.get("direction") == AIR_TO_BONE)
    pictures = set()
    for sample in samples:
        path = run / "samples" / f"{sample.name}.enhanced.step_{sample.step:08d}.png"
        pictures.add(path)
        if not path.exists():
            write_bytes(path, spectrogram_row(sample.signals, sample.sample_rate).data)
    for path in (run / "samples").glob("*.enhanced.step_*.png"):
        if path not in pictures:
            path.unlink()
    rows, throughput = (read_metrics(run / name) for name in ("metrics.jsonl", "pace.jsonl"))
    path = run / "report.html"
    verdict = _config(run / "verdict.json")  # there once the run is finished
    page = run_page(run.resolve().name, config, rows, throughput, samples, verdict)
    write_page(path, page)
    return path


def run_page(
    name: str,
    config: Mapping[str, Any],
    rows: Sequence[Row],
    throughput: Sequence[Row],
    samples: Sequence[Sample],
    verdict: Mapping[str, Any] = MappingProxyType({}),
) -> Page:
    """Return the page.

    Args:
        name: name of the run.
        config: content of `config.json`, which describes the best weights so far; may be empty.
        rows: rows of `metrics.jsonl`.
        throughput: rows of `pace.jsonl`.
        samples: validation items to listen to.
        verdict: content of `verdict.json`; empty while the run goes on.
    """
    facts = config.get("facts", {})
    metric = facts.get("metric", "stoi")
    best = _best_scores(rows, facts.get("step"))
    keys = list(dict.fromkeys(key for row in rows for key in row if _is_curve(key)))
    train = [key for key in keys if key.startswith("train/")]
    rates = [key for key in train if "learning_rate" in key]
    gradients = [key for key in train if "gradient_norm" in key or "balanc" in key]
    losses = [key for key in train if key not in (*rates, *gradients)]
    validation = [[key for key in keys if key.startswith(f"{split}/")] for split in SPLITS]
    speed = dict.fromkeys(k for row in throughput for k, value in row.items() if value)
    listen = [
        Section(
            f"Listen: {SPLITS.get(sample.split, sample.split)}, step {sample.step:,}",
            sample.name,
            players=listening(sample.signals, sample.sample_rate),
        )
        for sample in samples
    ]
    why = [*verdict.get("reasons", ()), *verdict.get("advice", ())]
    told = [Section("Why, and what next", paragraphs(why))] if why else []
    sections = [
        Section("Scores", _scored(facts), tables=list(_tables(best))),
        _curves("Validation", rows, *validation),
        *listen,
        _curves("Losses", rows, losses),
        _curves("Gradients and balancing", rows, gradients),
        _curves("Learning rates", rows, rates),
        _curves("Speed", throughput, [key for key in speed if key != "step"]),
    ]
    return Page(
        title=f"Training run {name}",
        lead=" ".join([verdict.get("headline", ""), _lead(config, rows)]).strip(),
        facts=_headline(facts, metric, best, throughput),
        sections=[
            *told,
            *(part for part in sections if part.figures or part.tables or part.players),
        ],
        light=verdict.get("light", ""),
    )


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}  # nothing has been exported yet
    try:
        config = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON; resume the run, which writes it again") from error
    return config if isinstance(config, dict) else {}


def _newest_samples(folder: Path, reverse: bool) -> list[Sample]:
    """Return the first few items of each set of pairs, at the newest step of that set."""
    found: dict[str, dict[int, list[str]]] = {}
    for path in sorted(folder.glob("*.enhanced.step_*.flac")):
        match = SAMPLE.fullmatch(path.name)
        if match:
            steps = found.setdefault(match[2] or "validation", {})
            steps.setdefault(int(match[3]), []).append(match[1])
    given, wanted = ("air", "bone") if reverse else ("bone", "air")
    labels = REVERSE if reverse else ROLES
    samples = []
    for split, steps in found.items():
        step = max(steps)
        for name in steps[step][:MAX_ITEMS]:
            ends = (given, f"enhanced.step_{step:08d}", wanted)
            paths = [folder / f"{name}.{end}.flac" for end in ends]
            audio = [read_audio(path, is_recording=False) for path in paths]
            signals = dict(zip(labels, (signal for signal, _ in audio), strict=True))
            samples.append(Sample(name, split, step, signals, audio[0][1]))
    return samples


def _is_curve(key: str) -> bool:
    return "/" in key and not key.partition("/")[2].startswith(("unprocessed_", "clean_"))


def _best_scores(rows: Sequence[Row], step: int | None) -> dict[str, Any]:
    """Return the numbers of the validation at `step`, or of the newest."""
    validations = [row for row in rows if any(f"{key}/" in "\n".join(row) for key in SPLITS)]
    at_step = [row for row in validations if row["step"] == step]
    return dict((at_step or validations or [{}])[-1])


def _lead(config: Mapping[str, Any], rows: Sequence[Row]) -> str:
    facts = config.get("facts", {})
    if not rows:
        return "The run has only just begun: nothing has been measured yet."
    step, total = rows[-1]["step"], facts.get("steps_total")
    model = config.get("model", {}).get("name", "A network")
    sentences = [f"{model}, after {step:,} of {total:,} steps." if total else f"{step:,} steps."]
    if "num_items" in facts:
        num_pairs = facts["num_items"].get("training")
        sentences.append(f"Learnt from {num_pairs:,} pairs, {facts['batch_size']} crops a step.")
    for row in rows:
        lost = [key for key, value in row.items() if key.startswith("train/") and value is None]
        if lost:
            sentences.append(f"It diverged: {lost[0]} is no number at step {row['step']:,}.")
            break
    return " ".join(sentences)


def _scored(facts: Mapping[str, Any]) -> str:
    if "step" not in facts or not facts.get("num_scored"):
        return "Means over the newest validation's items."
    split = "validation_real" if "validation_real" in facts["num_scored"] else "validation"
    counts = " and ".join(f"{number} {SPLITS[s]}" for s, number in facts["num_scored"].items())
    return (
        f"The best weights so far, which are in model.safetensors, are those of step "
        f"{facts['step']:,}: the best {_label(facts.get('metric', 'stoi'))} on {SPLITS[split]}. "
        f"Means over {counts}, the same at every step. Unprocessed is the floor, clean speech the "
        "ceiling; LSD is a distance, and better where it is lower."
    )


def _tables(best: Mapping[str, Any]) -> Iterable[Table]:
    for split, title in SPLITS.items():
        names = [key.partition("/")[2] for key in best if key.startswith(f"{split}/")]
        rows = [
            [_label(name), *(_number(best.get(f"{split}/{kind}{name}")) for kind in KINDS)]
            for name in names
            if _is_curve(f"{split}/{name}")
        ]
        if rows:
            heading = f"{title.capitalize()}, step {best['step']:,}"
            yield Table(["metric", "unprocessed", "enhanced", "clean"], rows, heading)


def _headline(
    facts: Mapping[str, Any], metric: str, best: Mapping[str, Any], throughput: Sequence[Row]
) -> dict[str, str]:
    shown = {}
    if "step" in facts:
        shown["best step"] = f"{facts['step']:,} of {facts['steps_total']:,}"
    for split, title in SPLITS.items():
        before, after = (best.get(f"{split}/{kind}{metric}") for kind in KINDS[:2])
        if after is not None:
            shown[f"{_label(metric)}, {title}"] = f"{_number(before)} to {_number(after)}"
    for key, label, form in (
        ("speed/steps_per_s", "speed", "{:.3g} steps/s"),
        ("speed/waiting_for_data", "waiting for data", "{:.0%} of the time"),
    ):
        values = [row[key] for row in throughput[-RECENT:] if isinstance(row.get(key), int | float)]
        if values:
            shown[label] = form.format(statistics.median(values))
    return shown


def _curves(heading: str, rows: Sequence[Row], *groups: Sequence[str]) -> Section:
    """Return a section of curves: a few to a figure, the groups in separate figures.

    What has been measured once is no curve yet: it stands in a table, as scores do anyway.
    """
    figures, single = [], []
    for group in groups:
        points = {key: series(rows, key) for key in group}
        keys = [key for key, (steps, _) in points.items() if len(steps) > 1]
        for key in group:
            steps, values = points[key]
            if len(steps) == 1 and key.partition("/")[0] not in SPLITS:
                single.append([key.partition("/")[2], f"{steps[0]:,}", f"{values[0]:.4g}"])
        num_figures = math.ceil(len(keys) / MAX_PANELS)
        for part in np.array_split(np.asarray(keys, dtype=object), max(1, num_figures)):
            if len(part):
                names = ", ".join(key.partition("/")[2] for key in part)
                split = SPLITS.get(part[0].partition("/")[0], "")
                caption = f"{names} on {split}." if split else f"{names}."
                figures.append(Figure(training_curves(rows, list(part)), caption))
    tables = [Table(["", "step", "value"], single)] if single else []
    return Section(heading, figures=figures, tables=tables)


def _label(metric: str) -> str:
    return METRICS[metric].heading if metric in METRICS else metric


def _number(value: float | None) -> str:
    return "\N{EN DASH}" if value is None else f"{value:.3f}".replace("-", "\N{MINUS SIGN}")
