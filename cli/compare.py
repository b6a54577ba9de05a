"""`bcsim compare`."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import click

from .findings import RecordingsCommand
from .options import COUNT, NAMED, OUT, PATH, PROCESSES, json_option, speaker_options
from .streams import say

DEFAULT_BUDGET_S = 300.0


class Duration(click.ParamType):
    """A length of time: 90s, 5min, 1.5h, or a number of seconds."""

    name = "duration"
    _UNITS: ClassVar[Mapping[str, float]] = {"": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0}
    _FORM: ClassVar[re.Pattern[str]] = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(s|min|h|)")
    _MOST_S: ClassVar[float] = 1e8

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, float):
            return value
        match = self._FORM.fullmatch(value.strip())
        seconds = float(match[1]) * self._UNITS[match[2]] if match else 0.0
        if not 0 < seconds <= self._MOST_S:
            self.fail(f"{value!r} is no length of time such as 90s, 5min or 1.5h.", param, ctx)
        return seconds


@click.command("compare", cls=RecordingsCommand)
@click.argument("recipes", nargs=-1, required=True, type=NAMED, metavar="RECIPE...")
@click.option("--pairs", type=PATH, help="Folder of synthesize or import, or recordings.")
@click.option("--air", type=PATH, help="Air speech, rendered on the fly through --sensor.")
@click.option(
    "--sensor", type=NAMED, help="With --air: NAME.sensor, a bundled sensor, or a preset."
)
@speaker_options
@click.option(
    "--validation-pairs", type=PATH, required=True, help="Recordings that all are scored on."
)
@click.option("--out", type=OUT, required=True, help="Folder of the comparison.")
@click.option("--budget", type=Duration(), help="Training time of each [default: 5min].")
@click.option("--steps", type=COUNT, help="Steps of each, in place of a time.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a key of every recipe."
)
@click.option(
    "--jobs",
    type=PROCESSES,
    default=1,
    show_default=True,
    help="Recipes trained at a time, each on one thread.",
)
@json_option
def command(
    recipes: tuple[str, ...],
    out: Path,
    validation_pairs: Path,
    budget: float | None,
    steps: int | None,
    settings: tuple[str, ...],
    jobs: int,
    as_json: bool,
    **material: Any,
) -> int:
    """Train several recipes for the same time, and score them on the same recordings.

    Writes report.html, results.csv and results.json, with a run of each recipe in runs/. The same
    command goes on with what was stopped. A recipe that fails is named, and costs itself.
    """
    from bcsim.files.paths import printable
    from bcsim.reports.comparison import comparison_text
    from bcsim.workflows.compare import Material, compare

    if budget is not None and steps is not None:
        raise click.UsageError("give --budget or --steps, not both")
    result = compare(
        recipes,
        out,
        Material(**material),
        validation_pairs,
        budget_s=None if steps else budget or DEFAULT_BUDGET_S,
        num_steps=steps,
        settings=settings,
        jobs=jobs,
    )
    if as_json:
        click.echo(json.dumps(result.facts, indent=2, allow_nan=False))
    else:
        click.echo("\n".join(map(printable, comparison_text(result.facts))))
        click.echo(f"look at {out}/report.html")
    if result.failures:
        count = len(result.failures)
        say(f"{count} recipes or recordings failed or are left out; see {out}/failures.jsonl")
        return 3
    return 0
