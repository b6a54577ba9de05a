"""`bcsim enhance`."""

from pathlib import Path

import click

from .findings import RecordingsCommand
from .options import NAMED, OUT, PATH, device_option, overwrite_option
from .streams import say


@click.command("enhance", cls=RecordingsCommand)
@click.option(
    "--model",
    type=NAMED,
    required=True,
    help="Folder of a trained run, name of a bundled enhancer (bcsim show models), or "
    "inverse:NAME.sensor, the inverse of a sensor's response.",
)
@click.option("--in", "source", type=PATH, required=True, help="Recording, or folder.")
@click.option(
    "--air",
    type=PATH,
    help="The same of the air microphone, if the model takes it.",
)
@click.option("--out", type=OUT, required=True, help="File, or folder.")
@device_option
@overwrite_option
def command(
    model: str, source: Path, air: Path | None, out: Path, device: str, overwrite: bool
) -> int:
    """Enhance recordings of the sensor: any length, any rate.

    The output has the rate, the depth and the channels of the input, of which each is enhanced by
    itself. A folder that was begun is finished by the same command; what has changed is made anew.
    """
    from bcsim.workflows.enhance import enhance

    result = enhance(model, source, out, device, air, overwrite)
    kept = f", {len(result.kept)} there already" if result.kept else ""
    (place,) = [out] if out.is_dir() else [*result.written, *result.kept]  # it has got an ending
    click.echo(f"{len(result.written)} enhanced{kept}, in {place}")
    if result.failures:
        say(f"{len(result.failures)} skipped; see {out}/failures.jsonl")
        return 3
    return 0
