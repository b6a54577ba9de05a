"""`bcsim preview`."""

from pathlib import Path
from typing import Any

import click

from .findings import RecordingsCommand
from .options import OUT, PATH, SEED, Real, overwrite_option, recipe_options
from .streams import say


@click.command("preview", cls=RecordingsCommand)
@click.option(
    "--in",
    "inputs",
    type=PATH,
    required=True,
    multiple=True,
    help="Air-conducted speech: a file or a folder; again for more.",
)
@click.option("--out", type=OUT, required=True, help="NAME.html, one page with all.")
@recipe_options
@click.option(
    "--seed",
    type=SEED,
    default=0,
    show_default=True,
    help="Of the first draw; the next has one more.",
)
@click.option(
    "--draws",
    "num_draws",
    type=click.IntRange(1, 20),
    default=4,
    show_default=True,
    help="Of each recording.",
)
@click.option(
    "--seconds",
    type=Real(0.1, 600),
    default=10.0,
    show_default=True,
    help="Kept of a longer recording.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 50),
    default=2,
    show_default=True,
    help="Only the first N files of a folder.",
)
@overwrite_option
def command(inputs: tuple[Path, ...], out: Path, num_draws: int, **options: Any) -> int:
    """Write one page on which a sensor or recipe can be heard and seen, before a corpus is made.

    Draw 1 is what `bcsim synthesize` draws with the same --seed.
    """
    from bcsim.workflows.preview import preview

    clips, failures = preview(inputs, out, num_draws=num_draws, **options)
    for reason in failures.values():
        say(f"skipped: {reason}")
    click.echo(f"{len(clips)} recordings, {num_draws} draws each, in {out}")
    return 3 if failures else 0
