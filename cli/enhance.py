"""`bcsim enhance`."""

from pathlib import Path

import click

from .streams import say


@click.command("enhance")
@click.option(
    "--model", type=click.Path(path_type=Path), required=True, help="Folder of a trained run."
)
@click.option(
    "--in", "source", type=click.Path(path_type=Path), required=True, help="Recording, or folder."
)
@click.option(
    "--air",
    type=click.Path(path_type=Path),
    help="The same of the air microphone, if the model takes it.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File, or folder.")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
def command(model: Path, source: Path, air: Path | None, out: Path, device: str) -> int:
    """Enhance recordings of the sensor: any length, any rate."""
    from bcsim.workflows.enhance import enhance

    result = enhance(model, source, out, device, air)
    click.echo(f"{len(result.written)} enhanced, in {out}")
    if result.failures:
        say(f"{len(result.failures)} skipped; see {out}/failures.jsonl")
        return 3
    return 0
