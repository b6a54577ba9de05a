"""`bcsim train`."""

import os
import sys
from pathlib import Path
from typing import Any

import click

from .findings import RecordingsCommand
from .options import NAMED, OUT, PATH, PROCESSES, speaker_options
from .recordings import channel_options, named_channels, talkers_option
from .streams import say


@click.command("train", cls=RecordingsCommand)
@click.option(
    "--recipe", type=NAMED, required=True, help="YAML file, or a bundled one: eben, seanet, ..."
)
@click.option("--pairs", type=PATH, help="Folder of synthesize or import, or recordings.")
@click.option("--air", type=PATH, help="Air speech, rendered on the fly; or, with --bone:")
@click.option("--bone", type=PATH, help="Recordings of the sensor: --air and --bone are pairs.")
@click.option(
    "--sensor", type=NAMED, help="With --air: NAME.sensor, a bundled sensor, or a preset."
)
@speaker_options
@click.option(
    "--real-pairs", type=PATH, help="Recordings that data.real_fraction of a batch comes from."
)
@click.option(
    "--validation-pairs", type=PATH, help="Recordings that decide which weights are best."
)
@talkers_option
@channel_options
@click.option("--init-from", type=NAMED, help="Run, or bundled model, whose weights to begin with.")
@click.option(
    "--direction",
    type=click.Choice(["bone-to-air", "air-to-bone"]),
    help="air-to-bone trains a simulator, for the effect neural_response.",
)
@click.option("--out", type=OUT, required=True, help="Folder of the run.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a key of the recipe."
)
@click.option("--resume", is_flag=True, help="Go on with the run in --out, or begin it.")
@click.option(
    "--nproc",
    type=PROCESSES,
    default=1,
    help="Processes on this machine, each with a batch of its own; torchrun does as well.",
)
def command(
    recipe: str,
    out: Path,
    direction: str | None,
    settings: tuple[str, ...],
    nproc: int,
    air_channel: str | None,
    bone_channel: str | None,
    **options: Any,
) -> int:
    """Train an enhancer on pairs from disk, or on air speech rendered through a sensor."""
    from bcsim.reports.verdict import verdict_lines
    from bcsim.training.processes import (
        is_main_process,
        launch,
        processes_of_run,
        tie_to_launcher,
    )
    from bcsim.workflows.train import train

    if nproc > 1 and "RANK" not in os.environ:
        return launch(nproc, sys.argv[1:])
    if nproc not in (1, processes_of_run()[1]):
        raise click.UsageError(
            f"--nproc {nproc}: the environment's WORLD_SIZE is {processes_of_run()[1]}; leave "
            "--nproc out under torchrun"
        )
    tie_to_launcher()
    if direction is not None:
        settings += (f"direction={direction}",)
    channels = named_channels(air_channel, bone_channel)
    result = train(recipe, out, settings=settings, channels=channels, **options)
    if is_main_process():
        click.echo(f"{result.num_steps} steps; weights of step {result.best_step} in {result.out}")
        for split, scores in result.scores.items():
            for name, value in scores["enhanced"].items():
                before = scores["unprocessed"].get(name)
                if value is not None and before is not None:
                    click.echo(f"{split}/{name:<8} {before:8.3f} unprocessed -> {value:8.3f}")
        if result.verdict:
            click.echo("\n".join(verdict_lines(result.verdict)))
        if result.failures:
            say(f"{len(result.failures)} recordings or pairs left out; see {out}/failures.jsonl")
            return 3
    return 0
