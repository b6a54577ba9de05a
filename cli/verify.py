"""`bcsim verify`."""

import json
from pathlib import Path

import click

from .decoding import DecodingCommand
from .options import PATH, json_option
from .streams import say

NUM_SHOWN = 20


@click.command("verify", cls=DecodingCommand)
@click.argument("dataset", type=PATH)
@json_option
def command(dataset: Path, as_json: bool) -> int:
    """Check a DATASET: every file, its SHA-256, its length and its row of the manifest.

    Exit code 4 if anything is missing, changed, torn or not listed. `sha256sum -c SHA256SUMS` in
    its folder compares the files without bcsim.
    """
    from bcsim.workflows.verify import verify

    result = verify(dataset)
    if as_json:
        facts = {"num_files": result.num_files, "problems": result.problems}
        click.echo(json.dumps(facts, ensure_ascii=False))
    else:
        for problem in result.problems[:NUM_SHOWN]:
            say(problem)
        if (hidden := len(result.problems) - NUM_SHOWN) > 0:
            say(f"and {hidden} more; --json shows all")
    if result.problems:
        say(f"{dataset}: {len(result.problems)} problems")
        return 4
    if not as_json:
        click.echo(f"{dataset}: {result.num_files} files, all as they were written")
    return 0
