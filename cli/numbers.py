"""Numbers on the command line: what is none, or of no use to anybody, is refused at once."""

import math
from typing import Any

import click

SEED = click.IntRange(-(2**53), 2**53)  # JSON, which keeps it, is exact up to there
COUNT = click.IntRange(1, 1_000_000)
PROCESSES = click.IntRange(1, 4096)


class Real(click.FloatRange):
    """A range that "nan", which is neither below nor above any bound, is not in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number
