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
    from bcsim.workflows.train_classifier import is_for_classifier

    if is_for_classifier(recipe):
        channels = {"air_channel": air_channel, "bone_channel": bone_channel}
        processes = None if nproc == 1 else nproc
        options |= {"out": out, "direction": direction, "nproc": processes, **channels}
        return _classifier(recipe, settings, options)
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


def _classifier(recipe: str, settings: tuple[str, ...], options: dict[str, Any]) -> int:
    """Train the classifier of the deep feature loss."""
    from bcsim.workflows.train_classifier import make_classifier

    taken = ("out", "air", "sensor", "resume", "speakers", "speaker_level")
    values = {name: options.pop(name) for name in taken}
    given = sorted(name for name, value in options.items() if value is not None)
    if given or values["air"] is None or values["sensor"] is None:
        wrong = f"not {given[0].replace('_', '-')}" if given else "it wants both"
        raise click.UsageError(f"a classifier is trained with --air and --sensor; {wrong}")
    result = make_classifier(recipe, settings=settings, **values)
    click.echo("\n".join(result.lines()))
    if result.failures:
        say(f"{len(result.failures)} recordings left out; see {result.out}/failures.jsonl")
        return 3
    return 0
