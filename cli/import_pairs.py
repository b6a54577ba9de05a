"""`bcsim import`."""

from pathlib import Path

import click

from .findings import RecordingsCommand
from .options import PATH, new_folder_option
from .registered import registered_names
from .streams import say


@click.command("import", cls=RecordingsCommand)
@click.argument("source", type=PATH)
@new_folder_option
@click.option(
    "--from",
    "format",
    metavar="NAME",
    help=f"{', '.join(registered_names('bcsim.datasets.importers'))} "
    "[default: told from the files].",
)
@click.option("--air", help="What SOURCE calls the air microphone (column, field, folder, ending).")
@click.option("--bone", help="What it calls the sensor, such as throat_microphone.")
@click.option("--channels", help="Roles of the channels of each file, such as air,bone or bone,-.")
@click.option(
    "--talkers",
    type=PATH,
    help="Table (CSV or JSON lines) of who speaks: columns file and talker.",
)
@click.option(
    "--sample-rate",
    type=click.IntRange(4000, 192_000),
    help="Resample all recordings to this rate, HZ [default: keep theirs].",
)
@click.option(
    "--root",
    type=PATH,
    help="Where relative paths and {data_root} start [default: beside the manifest].",
)
def command(
    source: Path,
    out: Path,
    format: str | None,
    air: str | None,
    bone: str | None,
    channels: str | None,
    talkers: Path | None,
    sample_rate: int | None,
    root: Path | None,
) -> int:
    """Copy the pairs of another library's format, or of stereo files, into a folder of pairs.

    fit-response and evaluate then read it with --air OUT --bone OUT (or OUT/train, where SOURCE
    has splits; such a folder is also a dataset for train). Nothing in SOURCE is run. An entry that
    cannot be used - a command, a missing file, a line that makes no sense - costs only itself, and
    is named in OUT/failures.jsonl.
    """
    from bcsim.datasets.importers import import_pairs

    names = {role: name for role, name in (("air", air), ("bone", bone)) if name}
    roles = tuple(word.strip() for word in channels.split(",")) if channels else ()
    result = import_pairs(
        source, out, format, names, roles, root, talkers=talkers, sample_rate=sample_rate
    )
    splits = ", ".join(f"{count} {split}" for split, count in result.num_pairs.items() if split)
    total = f"{sum(result.num_pairs.values())} pairs" + (f" ({splits})" if splits else "")
    click.echo(f"{total} from {result.format}, in {out}")
    unknown = f", and {result.num_unknown} pairs of unknown talkers" if result.num_unknown else ""
    say(f"{len(result.speakers)} talkers{unknown}")
    if result.failures:
        say(f"{len(result.failures)} pairs skipped; see {out}/failures.jsonl")
        return 3
    return 0
