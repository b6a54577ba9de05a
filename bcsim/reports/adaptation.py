"""The report of `bcsim adapt`: a verdict with a light, what each part brought, and players."""

from collections.abc import Mapping
from typing import Any

from bcsim.metrics import METRICS
from bcsim.reports.comparison import Sounds, gains_table, listening_sections, means_table
from bcsim.reports.html import Figure, Page, Section, paragraphs
from bcsim.reports.model_text import look_ahead_text
from bcsim.reports.plots import gains_by_part
from bcsim.reports.text import table_lines
from bcsim.reports.verdict import verdict_lines

Facts = Mapping[str, Any]

PARTS = {
    "unprocessed": "the sensor's signal as it is",
    "inverse": "a filter that undoes the fitted response, without a network",
    "start": "the model that training began from",
    "simulation": "a network trained on simulated pairs alone",
    "real": "a network trained on the recorded pairs alone, augmented",
    "both": "the simulated pairs first, then the recorded ones, augmented",
    "clean": "the air microphone itself",
}


def adaptation_page(facts: Facts, sounds: Mapping[str, Sounds]) -> Page:
    """Return the page.

    Args:
        facts: content of `result.json`.
        sounds: outputs for the first recordings of each fold, by part.
    """
    verdict = facts["verdict"]
    models = [row for row in facts["rows"] if "gains" in row]
    told = [f"{PARTS[row['name']]}: {row['name']}" for row in facts["rows"]]
    text = f"{_held_out(facts)} {'; '.join(told)}."
    gains = {
        row["name"]: [own.get("stoi") for own in _gains_of(row, facts["rows"][0])] for row in models
    }
    figure = Figure(
        gains_by_part(gains, METRICS["stoi"].label),
        "Gain in STOI over the sensor's signal, a dot for each held-out recording; the bar is the "
        "mean.",
    )
    sections = [
        Section("Why, and what next", paragraphs([*verdict["reasons"], *verdict["advice"]])),
        Section("Parts", text, [figure], [means_table(facts), gains_table(models, facts)]),
        Section("Recordings", paragraphs(facts["findings"] or ["nothing is wrong with them"])),
        *listening_sections(sounds),
    ]
    return Page(
        "Adapted enhancer", verdict["headline"], sections, _headline(facts), verdict["light"]
    )


def adaptation_text(facts: Facts) -> list[str]:
    """Return the verdict and the means of all parts as lines, the verdict first."""
    verdict, names = facts["verdict"], facts["metrics"]
    rows = [
        (row["name"], [_number(row["scores"].get(name)) for name in names]) for row in facts["rows"]
    ]
    return [
        *verdict_lines(verdict),
        *table_lines("", [METRICS[name].heading for name in names], rows, 12),
    ]


def how_made(facts: Facts) -> str:
    """Return how the model that is kept was trained, in one sentence."""
    parts = {
        "simulation": "simulated pairs alone",
        "real": "recorded pairs alone",
        "both": "recorded pairs, beside simulated ones"
        if facts["has_corpus"]
        else "recorded pairs, from the weights of a given model",
    }
    steps = [f"{facts['steps'][part]} steps on {parts[part]}" for part in _trained(facts)]
    return f"Made by bcsim adapt: {', then '.join(steps)}."


def _held_out(facts: Facts) -> str:
    talkers = f" of {facts['num_talkers']} talkers" if facts["num_talkers"] else ""
    what = {
        "talker": "no part has seen the talker of a recording that it is scored on",
        "recording": "no part has seen a recording that it is scored on, but perhaps its talker: "
        "other talkers may gain less",
    }[facts["held_out_by"]]
    given = facts["given_sensor"]
    told = (
        ""
        if given is None
        else (
            f" The sensor {given} was given: if it was fitted to these recordings, the inverse, "
            "simulation and both are scored too well."
        )
    )
    if facts["start"] is not None:
        told += (
            f" Training began from the model {facts['start']}: if that has seen these talkers, "
            "what began from it is scored too well."
        )
    return (
        f"Means over {facts['num_recordings']} recordings{talkers} in {facts['num_folds']} folds: "
        f"{what}. In brackets are 95 % intervals of a bootstrap over talkers and recordings. The "
        f"model that is kept is trained like {facts['part']}, on all recordings.{told}\n\n"
    )


def _gains_of(row: Facts, unprocessed: Facts) -> list[dict[str, float | None]]:
    return [
        {
            name: None if value is None or before[name] is None else value - before[name]
            for name, value in own.items()
        }
        for own, before in zip(
            row["recordings"].values(), unprocessed["recordings"].values(), strict=True
        )
    ]


def _headline(facts: Facts) -> dict[str, str]:
    model = facts["model"]
    return {
        "held-out recordings": str(facts["num_recordings"]),
        "held out by": facts["held_out_by"],
        "parameters": f"{model['num_parameters']:,}",
        "look-ahead": look_ahead_text(model["look_ahead_ms"]),
        "steps": " + ".join(f"{facts['steps'][part]}" for part in _trained(facts)),
    }


def _trained(facts: Facts) -> list[str]:
    if facts["part"] != "both":
        return [facts["part"]]
    return ["simulation", "both"] if facts["has_corpus"] else ["both"]


def _number(value: float | None) -> str:
    return "\N{EN DASH}" if value is None else f"{value:.3f}"
