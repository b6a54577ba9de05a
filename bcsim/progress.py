"""Log lines on stderr that are safe to show, and progress: a bar, or a line every 30 s."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from bcsim.errors import MAX_LINE, fit_line

T = TypeVar("T")

LOG_EVERY_S = 30.0
MAX_TOLD = 2000  # characters of a line that is no warning

log = logging.getLogger(__name__)


class LineFormatter(logging.Formatter):
    """Shows what is logged as one line that is safe to show; see `fit_line`.

    Only warnings and errors are made short: the rest holds no untrusted names.
    """

    def format(self, record: logging.LogRecord) -> str:
        width = MAX_LINE if record.levelno >= logging.WARNING else MAX_TOLD
        return fit_line(record.getMessage(), width)


def log_to_stderr(adapt: logging.Filter | None = None) -> None:
    """Show what bcsim logs, from INFO on, and the warnings of others.

    Args:
        adapt: filter that may change what is shown, or None.
    """
    handler = logging.StreamHandler()
    if adapt is not None:
        handler.addFilter(adapt)
    handler.setFormatter(LineFormatter())
    logging.basicConfig(handlers=[handler])
    logging.getLogger("bcsim").setLevel(logging.INFO)


def track(items: Iterable[T], total: int | None, description: str, done: int = 0) -> Iterator[T]:
    """Pass `items` on, and show on stderr how many are done.

    Args:
        items: items to pass on.
        total: number of all items; None where nobody knows.
        description: what is done to the items ("synthesizing").
        done: number of items that were done before.
    """
    if sys.stderr.isatty():
        yield from _with_bar(items, total, description, done)
    else:
        yield from _with_log(items, total, description, done)


def _with_bar(items: Iterable[T], total: int | None, description: str, done: int) -> Iterator[T]:
    from rich import console, progress

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TaskProgressColumn(show_speed=True),
        progress.TimeRemainingColumn(),
    )
    stderr = console.Console(stderr=True)
    with progress.Progress(*columns, console=stderr, transient=True) as bar:
        task = bar.add_task(description, total=total, completed=done)
        for item in items:
            yield item
            bar.advance(task)


def _with_log(items: Iterable[T], total: int | None, description: str, done: int) -> Iterator[T]:
    started = told = time.monotonic()
    for count, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - told >= LOG_EVERY_S:
            told = now
            rate = count / (now - started)
            if total is None:
                log.info("%s: %d so far, %.1f/s", description, done + count, rate)
                continue
            left_s = (total - done - count) / rate
            log.info(
                "%s: %d of %d, %.1f/s, %.0f s left", description, done + count, total, rate, left_s
            )
