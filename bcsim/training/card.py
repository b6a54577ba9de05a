"""The model card of an exported run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bcsim.files.atomic import write_text
from bcsim.models.storage import AIR_TO_BONE
from bcsim.training.run_folder import CARD_FILE
from bcsim.training.validation import REAL, SYNTHETIC

_KINDS = ("unprocessed", "enhanced", "clean")  # of scores


def write_card(out: Path, config: Mapping[str, Any]) -> None:
    """Write the model card, from what `config.json` says of the exported model."""
    facts = config["facts"]
    latency_ms = 1000 * config["latency_samples"] / config["sample_rate"]
    simulates = config["direction"] == AIR_TO_BONE
    purpose = (
        "Turns speech into the signal of a body-conduction sensor."
        if simulates
        else "Turns the signal of a body-conduction sensor into speech as a microphone would have "
        "heard it."
    )
    discriminator = facts["discriminator"]
    against = f", and against the discriminator {discriminator}" if discriminator else ""
    lines = [
        f"# {config['model']['name']}, trained with bcsim {config['bcsim_version']}",
        "",
        purpose,
        "",
        f"- Input: {', '.join(config['channels'])}, {config['sample_rate']} Hz. Output: one "
        "channel of the same length.",
        f"- {config['num_parameters']:,} parameters; looks {latency_ms:.1f} ms ahead.",
        f"- Trained on {facts['num_items']['training']} pairs for {facts['steps_total']} steps of "
        f"{facts['batch_size']} crops of {facts['crop_s']} s; these weights are from step "
        f"{facts['step']}.",
        f"- Losses: {', '.join(facts['losses']) or 'none'}{against}. Seed {facts['seed']}.",
        "",
    ]
    if not simulates:
        second = " --air noisy_air.wav" if "air" in config["channels"] else ""
        lines += [f"Use: `bcsim enhance --model . --in bone.wav{second} --out speech.wav`", ""]
    for split, label in ((SYNTHETIC, "validation"), (REAL, "real validation")):
        scores = facts["scores"].get(split)
        if scores:
            lines += [f"Means over {facts['num_scored'][split]} fixed {label} items:", ""]
            lines += [f"| | {' | '.join(_KINDS)} |", "|---|---|---|---|"]
            for name in scores["enhanced"]:
                cells = (_number(scores[kind].get(name)) for kind in _KINDS)
                lines.append(f"| {name} | {' | '.join(cells)} |")
            lines.append("")
    lines += [
        "Whether it works for a sensor, a language or a noise that the pairs did not have is to "
        "be measured before it is relied on. What the training data allow has to be looked up "
        "where they come from.",
        "",
    ]
    write_text(out / CARD_FILE, "\n".join(lines))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
