"""Many workers, and every item done once, or again if its worker is lost.

Nothing here knows what is being done. The result of an item must not depend on which worker makes
it, beside which others, or how often it is tried: then a lost worker changes nothing.
"""

import contextlib
import itertools
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, TypeVar

from bcsim.errors import EnvironmentFault
from bcsim.workers.engines import ENGINES, Engine, Workers, num_cores
from bcsim.workers.limits import Limits, end_with, sweep_semaphores

__all__ = ["Workers", "end_with", "num_cores", "run_parallel", "sweep_semaphores"]

T = TypeVar("T")
R = TypeVar("R")

MAX_KILLS = 2  # of workers that had nothing but one item, until that item is given up
MAX_SECONDS = 1e8  # three years
# Without a finished item; then, and at the first one of a run, a trivial task asks the machine.
MAX_DEATHS_IN_A_ROW = 20
BATCH_S = 0.5  # what a batch should take: dispatching is cheap beside it, and little is lost in it
MAX_BATCH = 256
STUCK_S = 5.0  # without a result, until the engine is asked to look after its workers

log = logging.getLogger(__name__)

Batch = Callable[[Sequence[T]], Sequence[R]]


def run_parallel(
    function: Batch[T, R],
    items: Sequence[T],
    workers: Workers,
    give_up: Callable[[T, str], R],
    limit_s: Callable[[T], float] | None = None,
) -> Iterator[tuple[T, R]]:
    """Yield every item with its result, in the order in which they come.

    Every process uses one thread of torch: results must not depend on how many there are. Only a
    few items are under way at a time, so memory does not grow with their number.

    Args:
        function: turns a batch of items into their results; it and they have to be picklable.
        items: items to process.
        workers: workers that process them.
        give_up: makes the result of an item whose worker was lost twice, the second time with
            nothing else under way. It gets the item and a reason ("took longer than 60 s").
        limit_s: returns the longest time for an item in seconds, where `workers` sets none. A batch
            whose size is not fixed lasts about half a second, and may take as long as the item
            that may take longest.

    Raises:
        EnvironmentFault: if workers die whatever they do, or a scheduler or its workers cannot be
            reached.
    """
    if not items:
        return
    sizes = _Sizes(workers)
    with _one_thread():
        if workers.engine != "dask" and workers.jobs is None:
            for batch in sizes.cut(iter(items)):
                seconds, results = _timed(function, batch)
                sizes.learn(len(batch), seconds)
                yield from zip(batch, results, strict=True)
            return
        with ENGINES[workers.engine](workers) as engine:
            limits = _limits(workers, limit_s)
            yield from _share_out(function, items, engine, sizes, give_up, limits)


def _limits(
    workers: Workers, limit_s: Callable[[T], float] | None
) -> Callable[[Sequence[T]], Limits | None]:
    """Return a function from a batch to its limits."""
    together = max if workers.batch is None else sum

    def limits(batch: Sequence[T]) -> Limits | None:
        if workers.engine != "loky":
            return None
        seconds = MAX_SECONDS
        if workers.item_timeout_s is not None:
            seconds = together(workers.item_timeout_s for _ in batch)
        elif limit_s is not None:
            seconds = together(map(limit_s, batch))
        return Limits(min(seconds, MAX_SECONDS), workers.item_memory_gib)

    return limits


class _Sizes:
    """The size of batches, learnt so that one lasts about half a second."""

    def __init__(self, workers: Workers) -> None:
        self.fixed = workers.batch is not None
        self.size = workers.batch or 1

    def cut(self, items: Iterator[T]) -> Iterator[list[T]]:
        """Yield batches of the size that is known when each is asked for."""
        while batch := [*itertools.islice(items, self.size)]:
            yield batch

    def learn(self, count: int, seconds: float) -> None:
        """Adapt the size to the time that a batch of `count` items took."""
        if not self.fixed:
            self.size = min(MAX_BATCH, max(1, round(BATCH_S * count / max(seconds, 1e-9))))


def _share_out(
    function: Batch[T, R],
    items: Sequence[T],
    engine: Engine,
    sizes: _Sizes,
    give_up: Callable[[T, str], R],
    limits: Callable[[Sequence[T]], Limits | None],
) -> Iterator[tuple[T, R]]:
    """Keep every worker busy; the items under way when one died are done again, one by one.

    Any of them may have been the cause. So each runs again with no other beside it, and one whose
    worker is lost once more is given up. Where that worker was killed, which another program may
    have done, it has to happen twice.
    """
    waiting = sizes.cut(iter(items))
    suspects: deque[tuple[T, int]] = deque()
    under_way: dict[Future[Any], tuple[list[T], int | None]] = {}
    deaths_in_a_row, is_tried = 0, False

    def submit(batch: list[T], deaths: int | None) -> None:
        under_way[engine.submit(_in_worker, function, batch, limits(batch))] = batch, deaths

    while True:
        if suspects and not under_way:
            item, deaths = suspects.popleft()
            submit([item], deaths)
        elif not suspects and all(deaths is None for _, deaths in under_way.values()):
            for batch in itertools.islice(waiting, max(0, 2 * engine.count() - len(under_way))):
                submit(batch, None)
        if not under_way:
            return
        done = wait(under_way, timeout=STUCK_S, return_when=FIRST_COMPLETED).done
        if not done:
            engine.look_after()
        for future in done:
            batch, deaths = under_way.pop(future)
            try:
                seconds, results = future.result()
            except engine.losses as error:
                if deaths is None:
                    log.warning("a worker was lost; %d items are done again", len(batch))
                    suspects.extend((item, 0) for item in batch)
                    continue
                deaths_in_a_row += 1
                if deaths_in_a_row == MAX_DEATHS_IN_A_ROW or not is_tried:
                    _check_machine(engine, deaths_in_a_row)
                    deaths_in_a_row, is_tried = deaths_in_a_row % MAX_DEATHS_IN_A_ROW, True
                deaths += 1 + getattr(error, "allowed_failures", 0)  # Dask tried so often already
                if deaths < MAX_KILLS and not Limits.is_fault_of_item(error):
                    suspects.appendleft((batch[0], deaths))
                else:
                    kept = limits(batch)
                    reason = kept.reason_of(error) if kept else "took its worker down twice"
                    yield batch[0], give_up(batch[0], reason)
            else:
                deaths_in_a_row, is_tried = 0, True
                sizes.learn(len(batch), seconds)
                yield from zip(batch, results, strict=True)


def _check_machine(engine: Engine, deaths: int) -> None:
    """Raise an error of the machine if a worker is lost over a task that does nothing."""
    try:
        engine.submit(os.getpid).result()
    except engine.losses:
        raise EnvironmentFault(
            f"workers were lost ({deaths} in a row), and one more over nothing at all; is there "
            "memory enough? The same command again goes on"
        ) from None


def _in_worker(
    function: Batch[T, R], batch: list[T], limits: Limits | None
) -> tuple[float, Sequence[R]]:
    torch = sys.modules.get("torch")  # the function has imported what it needs
    if torch is not None:
        torch.set_num_threads(1)  # for good: another thread may be at work as well
    with limits.enforced() if limits else contextlib.nullcontext():
        return _timed(function, batch)


def _timed(function: Batch[T, R], batch: list[T]) -> tuple[float, Sequence[R]]:
    started = time.perf_counter()
    results = function(batch)
    return time.perf_counter() - started, results


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
