"""Commands that decode recordings."""

from typing import Any

import click

ELSEWHERE = ("merge", "synthesize")  # take recordings, and decode none, or do it in their workers


class DecodingCommand(click.Command):
    """A command that decodes recordings: the process for that starts while the rest is imported."""

    def invoke(self, ctx: click.Context) -> Any:
        if self.name not in ELSEWHERE:
            from bcsim.audio.contained import start_decoder

            start_decoder()
        return super().invoke(ctx)
