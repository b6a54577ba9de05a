"""Commands that take recordings: what is noticed about these is said at the end, and written."""

from pathlib import Path
from typing import Any

import click

from bcsim.files.atomic import sweep_beside
from bcsim.files.findings import FINDINGS_NAME, FoundInRecordings, collecting

from .decoding import DecodingCommand
from .streams import say

# They say it themselves: doctor pair by pair, and those that make a dataset from its rows, so that
# a run that was continued says the same.
TELL_THEMSELVES = ("doctor", "synthesize", "merge")


class RecordingsCommand(DecodingCommand):
    """A command that takes recordings: a line for each kind of finding, all of them in a file.

    The file is `findings.jsonl`, in the output where that is a folder, and else beside it.
    """

    def invoke(self, ctx: click.Context) -> Any:
        if self.name in TELL_THEMSELVES:
            return super().invoke(ctx)
        with collecting() as found:
            code = super().invoke(ctx)
        out = ctx.params.get("out")
        if isinstance(out, Path):
            _write(found, out, str(self.name))
        for line in found.lines():
            say(line)
        return code


def _write(found: FoundInRecordings, out: Path, command: str) -> None:
    folder, run = (out, command) if out.is_dir() else (out.parent, f"{command} {out.name}")
    if folder.is_dir():
        sweep_beside(folder / FINDINGS_NAME)
        found.write(folder / FINDINGS_NAME, run)
