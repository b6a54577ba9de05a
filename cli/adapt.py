"""`bcsim adapt`."""

import json
from pathlib import Path
from typing import Any

import click

from .compare import Duration
from .findings import RecordingsCommand
from .options import NAMED, OUT, PATH, PROCESSES, json_option
from .recordings import recordings_options
from .streams import say


@click.command("adapt", cls=RecordingsCommand)
@recordings_options
@click.option("--air-corpus", type=PATH, help="Air speech of many talkers, to simulate pairs from.")
@click.option("--sensor", type=NAMED, help="Sensor to simulate [default: one fitted to the pairs].")
@click.option(
    "--init-from",
    type=NAMED,
    help="Run, or bundled model, whose weights to begin with [default: one for the recipe, where "
    "there is no --air-corpus].",
)
@click.option("--out", type=OUT, required=True, help="Folder of the model.")
@click.option("--budget", "budget_s", type=Duration(), help="Time of all trainings, such as 15min.")
@click.option("--causal", is_flag=True, help="A network that looks no further than its window.")
@click.option(
    "--recipe",
    type=NAMED,
    default="envelope_mapper-small",
    show_default=True,
    help="YAML file, or a bundled one.",
)
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a key of the recipe."
)
@click.option(
    "--jobs", type=PROCESSES, help="Fits and trainings at a time [default: 2, or one a core]."
)
@json_option
def command(
    out: Path, causal: bool, settings: tuple[str, ...], as_json: bool, **options: Any
) -> int:
    """Train an enhancer for a sensor from minutes of pairs, and say whether it is any better.

    Fits the sensor, trains on air speech rendered through it, then on the pairs; pairs of some
    talkers are held out of all of it in turn, and tell what each part gained. OUT is then a model
    for enhance; look at its report.html. The same command goes on with what was stopped.
    """
    from bcsim.files.paths import printable
    from bcsim.reports.adaptation import adaptation_text
    from bcsim.workflows.adapt import adapt

    if causal:
        settings += ("model.causal=true",)
    result = adapt(out=out, settings=settings, **options)
    if as_json:
        click.echo(json.dumps(result.facts, indent=2, allow_nan=False))
    else:
        click.echo("\n".join(map(printable, adaptation_text(result.facts))))
        click.echo(f"look at {out}/report.html")
    if result.failures:
        say(f"{len(result.failures)} recordings or pairs left out; see {out}/failures.jsonl")
        return 3
    return 0
