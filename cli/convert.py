"""`bcsim convert`."""

from pathlib import Path

import click

from .options import COUNT, PATH, new_folder_option
from .registered import registered_names


@click.command("convert")
@click.argument("dataset", type=PATH)
@click.option(
    "--format",
    required=True,
    metavar="NAME",
    help=", ".join(registered_names("bcsim.datasets.exporters")),
)
@new_folder_option
@click.option("--shard-size", type=COUNT, help="Pairs a shard [default: 1000].")
def command(dataset: Path, format: str, out: Path, shard_size: int | None) -> None:
    """Write a DATASET of pairs in the format of another library.

    webdataset and audiofolder hold the audio; lhotse, speechbrain and kaldi are lists that point
    to the dataset, which has to stay where it is.
    """
    from bcsim.datasets.exporters import export

    num_pairs = export(dataset, format, out, shard_size)
    splits = ", ".join(f"{count} {split}" for split, count in num_pairs.items())
    click.echo(f"{sum(num_pairs.values())} pairs ({splits}) as {format}, in {out}")
