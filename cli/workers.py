"""The options of commands whose work is shared out to workers."""

import functools
from collections.abc import Callable
from typing import Any, Literal

import click

from .numbers import COUNT, PROCESSES, Real

OPTIONS = (
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
    """Give a command these options, and itself the `workers` that they ask for."""

    @functools.wraps(command)
    def with_workers(
        jobs: int | None,
        engine: Literal["joblib", "loky", "threading", "dask"],
        scheduler: str | None,
        batch: int | None,
        item_timeout: float | None,
        item_memory: float,
        **options: Any,
    ) -> int:
        if scheduler is not None and engine != "dask":
            raise click.UsageError(f"--scheduler {scheduler} wants --engine dask")
        from bcsim.workers.pool import Workers, num_cores

        chosen = "loky" if engine == "joblib" else engine
        jobs = jobs or num_cores()
        workers = Workers(jobs, chosen, scheduler, batch, item_timeout, item_memory)
        return command(workers=workers, **options)

    return functools.reduce(
        lambda decorated, option: option(decorated), OPTIONS[::-1], with_workers
    )
