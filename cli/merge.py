"""`bcsim merge`."""

from pathlib import Path

import click

from .findings import RecordingsCommand
from .options import OUT, PATH
from .streams import say, say_turned_down


@click.command("merge", cls=RecordingsCommand)
@click.argument("out", type=OUT)
@click.argument("shards", nargs=-1, required=True, type=PATH)
@click.option("--copy", is_flag=True, help="Copy the files; by default they get a second name.")
@click.option("--overwrite", is_flag=True, help="Throw an earlier dataset in OUT away.")
def command(out: Path, shards: tuple[Path, ...], copy: bool, overwrite: bool) -> int:
    """Join the shards of a dataset, each from `synthesize --shard`, into OUT.

    The result is what one run without shards would have written, byte for byte. Before OUT is
    touched, every file is read and compared with the SHA256SUMS of its shard.
    """
    from bcsim.workflows.merge import merge

    result = merge(out, shards, copy, overwrite)
    click.echo(f"{result.num_pairs} pairs, {result.seconds / 60:.1f} min, in {out}")
    say_turned_down(result)
    for remark in result.remarks:
        say(remark)
    if result.failures:
        say(f"{len(result.failures)} files were skipped; see {out}/failures.jsonl")
        return 3
    return 0
