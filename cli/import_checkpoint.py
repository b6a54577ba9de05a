"""`bcsim import-checkpoint`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import NAMED, OUT
from .streams import say

if TYPE_CHECKING:
    from bcsim.models.storage import Direction


@click.command("import-checkpoint")
@click.argument("source", type=NAMED)
@click.option("--out", type=OUT, required=True, help="Folder of the run; new or empty.")
@click.option(
    "--discriminator", type=NAMED, metavar="SOURCE", help="The same for the discriminator."
)
@click.option(
    "--direction",
    type=click.Choice(["bone-to-air", "air-to-bone"]),
    help="Of the generator [default: bone-to-air, unless 'reverse' is in the name].",
)
def command(
    source: str, out: Path, discriminator: str | None, direction: "Direction | None"
) -> None:
    """Make a run of a published EBEN, for enhance, neural_response and train --init-from.

    Asteroid's DCCRN is read, too, where its weights were saved as safetensors.

    SOURCE is a folder that holds model.safetensors, or Owner/Name on the hub.
    """
    from bcsim.workflows.import_checkpoint import import_checkpoint

    result = import_checkpoint(source, out, discriminator, direction)
    config = result.enhancer.config
    kind, keys = ("EBEN generator", "mnp") if "m" in config else ("DCCRN", ("widths", "units"))
    sizes = ", ".join(f"{key} {config[key]}" for key in keys)
    extra = "" if result.discriminator is None else ", with its discriminator"
    click.echo(
        f"{kind} ({sizes}; {result.enhancer.num_parameters:,} parameters), "
        f"{result.direction}{extra}: {out}"
    )
    say("what its licence allows has to be looked up at the source")
