"""Options that several commands share, and the numbers that options take."""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import click

from .places import NameOrPlace, Place

PATH, OUT, NAMED = Place(), Place(is_output=True), NameOrPlace()
SEED = click.IntRange(-(2**53), 2**53)  # JSON, which keeps it, is exact up to there
COUNT = click.IntRange(1, 1_000_000)
PROCESSES = click.IntRange(1, 4096)


class Real(click.FloatRange):
    """A range of numbers; "nan", which is neither below nor above any bound, is not in it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


def options(*declared: Callable[..., Any]) -> Callable[..., Any]:
    """Return one decorator that gives a command several options, in this order."""
    return lambda command: functools.reduce(lambda f, option: option(f), declared[::-1], command)


json_option = click.option("--json", "as_json", is_flag=True, help="Everything, for machines.")
overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace what this command did not write, too."
)
device_option = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
new_folder_option = click.option("--out", type=OUT, required=True, help="New or empty folder.")
recipe_options = options(
    click.option(
        "--sensor", type=NAMED, help="NAME.sensor, a bundled sensor, or temporal-transforms."
    ),
    click.option("--recipe", type=PATH, help="YAML file [default: sensor.yaml]."),
    click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        help="Override a key of the recipe, such as effects.sensor_noise.level=2.",
    ),
)
speaker_options = options(
    click.option("--speakers", type=PATH, help="Table: file, speaker [default: the paths tell]."),
    click.option(
        "--speaker-level",
        type=click.IntRange(0, 100),
        metavar="N",
        help="The N-th folder of each path is the speaker; 0 where none is.",
    ),
)
_worker_options = options(
    click.option("--jobs", type=PROCESSES, help="Processes [default: one a core]."),
    click.option(
        "--engine",
        type=click.Choice(["joblib", "loky", "threading", "dask"]),
        default="joblib",
        show_default=True,
        help="Who does the work: processes of joblib (loky), threads, or Dask.",
    ),
    click.option("--scheduler", metavar="ADDRESS", help="Of a Dask cluster [default: a new one]."),
    click.option("--batch", type=COUNT, help="Clips handed to a worker at once."),
    click.option(
        "--item-timeout",
        metavar="SECONDS",
        type=Real(0, 1e8, min_open=True),
        help="Longest time for one file [default: 60 s, and more for large files].",
    ),
    click.option(
        "--item-memory",
        metavar="GIB",
        type=Real(0, 1e6, min_open=True),
        default=4.0,
        show_default=True,
        help="Most memory for one file.",
    ),
)


def worker_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options of a pool of workers, and the `workers` that they ask for."""

    @_worker_options
    @functools.wraps(command)
    def with_workers(
        jobs: int | None,
        engine: Literal["joblib", "loky", "threading", "dask"],
        scheduler: str | None,
        batch: int | None,
        item_timeout: float | None,
        item_memory: float,
        **others: Any,
    ) -> int:
        if scheduler is not None and engine != "dask":
            raise click.UsageError(f"--scheduler {scheduler} wants --engine dask")
        from bcsim.workers.pool import Workers, num_cores

        chosen = "loky" if engine == "joblib" else engine
        jobs = jobs or num_cores()
        workers = Workers(jobs, chosen, scheduler, batch, item_timeout, item_memory)
        return command(workers=workers, **others)

    return with_workers
