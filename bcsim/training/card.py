"""The model card of a network that was trained or imported."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bcsim.files.atomic import write_text
from bcsim.models.storage import AIR_TO_BONE
from bcsim.training.validation import REAL, SYNTHETIC

CARD_FILE = "README.md"
_KINDS = ("unprocessed", "enhanced", "clean")  # of scores


def write_card(out: Path, config: Mapping[str, Any]) -> None:
    """Write the model card, from what `config.json` says of the exported model."""
    if config["direction"] == AIR_TO_BONE:
        purpose = "Turns speech into the signal of a body-conduction sensor."
        use = "in a recipe, `{name: neural_response, model: path/to/this/folder}`"
    else:
        purpose = (
            "Turns the signal of a body-conduction sensor into speech as a microphone would have "
            "heard it."
        )
        second = " --air noisy_air.wav" if "air" in config["channels"] else ""
        use = f"`bcsim enhance --model . --in bone.wav{second} --out speech.wav`"
    is_imported = "source" in config["facts"]
    title = (
        f"{config['model']['name'].upper()}, imported from {config['facts']['source']}"
        if is_imported
        else f"{config['model']['name']}, trained with bcsim {config['bcsim_version']}"
    )
    lines = [
        *(f"# {title}", "", purpose, ""),
        f"- Input: {', '.join(config['channels'])}, {config['sample_rate']} Hz. Output: one "
        "channel of the same length.",
        f"- {config['num_parameters']:,} parameters; looks {_look_ahead(config)} ahead.",
        *(_source(config) if is_imported else _training(config["facts"])),
        *("", f"Use: {use}", ""),
        *_verdict(config["facts"]),
        *([] if is_imported else _results(config["facts"])),
    ]
    write_text(out / CARD_FILE, "\n".join(lines))


def _look_ahead(config: Mapping[str, Any]) -> str:
    samples = config["latency_samples"]
    if samples is None:
        return "as far as the recording goes"
    return f"{1000 * samples / config['sample_rate']:.1f} ms"


def _verdict(facts: Mapping[str, Any]) -> list[str]:
    if "verdict" not in facts:
        return []
    return [facts["verdict"]["made"], "", facts["verdict"]["headline"], ""]


def _source(config: Mapping[str, Any]) -> list[str]:
    facts = config["facts"]
    model = config["model"]
    keys = ("m", "n", "p") if model["name"] == "eben" else ("widths", "units")
    sizes = ", ".join(f"{key} {model[key]}" for key in keys)
    revision = f", revision {facts['source_revision']}" if facts["source_revision"] else ""
    return [
        f"- Sizes: {sizes}.",
        f"- Source: {facts['source']}{revision}, SHA-256 of its weights {facts['source_sha256']}.",
        "- Licence, training data and what it is good for: to be looked up at the source.",
    ]


def _training(facts: Mapping[str, Any]) -> list[str]:
    discriminator = facts["discriminator"]
    against = f", and against the discriminator {discriminator}" if discriminator else ""
    num_real = facts["num_items"].get("real", 0)
    real = f" and {num_real} recorded ones" if num_real else ""
    return [
        f"- Trained on {facts['num_items']['training']} pairs{real} for {facts['steps_total']} "
        f"steps of {facts['batch_size']} crops of {facts['crop_s']} s; these weights are from step "
        f"{facts['step']}.",
        f"- Losses: {', '.join(facts['losses']) or 'none'}{against}. Seed {facts['seed']}.",
    ]


def _results(facts: Mapping[str, Any]) -> list[str]:
    lines = []
    for split, label in ((SYNTHETIC, "validation"), (REAL, "real validation")):
        scores = facts["scores"].get(split)
        if scores:
            lines += [f"Means over {facts['num_scored'][split]} fixed {label} items:", ""]
            lines += [f"| | {' | '.join(_KINDS)} |", "|---|---|---|---|"]
            for name in scores["enhanced"]:
                values = (scores[kind].get(name) for kind in _KINDS)
                cells = ("" if value is None else f"{value:.3f}" for value in values)
                lines.append(f"| {name} | {' | '.join(cells)} |")
            lines.append("")
    return [
        *lines,
        "Whether it works for a sensor, a language or a noise that the pairs did not have is to "
        "be measured before it is relied on. What the training data allow has to be looked up "
        "where they come from.",
        "",
    ]
