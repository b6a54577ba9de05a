"""Many workers, and every item done once, or again if its worker dies.

Nothing here knows what is being done. What an item gives must not depend on which worker does it,
beside what, or how often: then it does not matter that a worker is lost on the way.
"""

import contextlib
import ctypes
import itertools
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

from bcsim.errors import EnvironmentFault
from bcsim.extras import require

T = TypeVar("T")
R = TypeVar("R")

MAX_ATTEMPTS = 5
BATCH_S = 0.5  # what a batch should take: dispatching is cheap beside it, and little is lost in it
MAX_BATCH = 256
NO_WORKERS_S = 60.0
_PR_SET_PDEATHSIG = 1

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workers:
    """Who does the work.

    Args:
        jobs: processes or threads; a scheduler has workers of its own.
        engine: "loky" (processes), "threading", or "dask".
        scheduler: address of a running Dask scheduler; None makes a cluster on this machine.
        batch: items that are handed over at once; None takes as many as last about half a second.
    """

    jobs: int = 1
    engine: Literal["loky", "threading", "dask"] = "loky"
    scheduler: str | None = None
    batch: int | None = None


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


Batch = Callable[[Sequence[T]], Sequence[R]]


def run_parallel(
    function: Batch[T, R], items: Sequence[T], workers: Workers
) -> Iterator[tuple[T, R]]:
    """Yield every item with its result, in the order in which they come.

    One thread a process: results must not depend on how many there are. Only few items are under
    way at a time, so memory does not grow with their number.

    Args:
        function: what to do to a batch of items; it and they have to be picklable.
        items: to do it to.
        workers: who does it.

    Raises:
        EnvironmentFault: if workers keep dying, or a scheduler or its workers cannot be reached.
    """
    if workers.engine == "dask":
        yield from _on_a_cluster(function, items, workers)
    elif workers.jobs == 1 or len(items) <= 1:
        sizes = _Sizes(workers)
        with _one_thread():
            for batch in sizes.cut(iter(items)):
                seconds, results = _timed(function, batch)
                sizes.learn(len(batch), seconds)
                yield from zip(batch, results, strict=True)
    else:
        with _one_thread():
            yield from _in_a_pool(function, items, workers)


class _Sizes:
    """How many items go into a batch: as many as last about half a second."""

    def __init__(self, workers: Workers) -> None:
        self.fixed = workers.batch is not None
        self.size = workers.batch or 1

    def cut(self, items: Iterator[T]) -> Iterator[list[T]]:
        """Yield batches, each of the size that was learnt until then."""
        while batch := [*itertools.islice(items, self.size)]:
            yield batch

    def learn(self, count: int, seconds: float) -> None:
        """Take note of how long a batch took."""
        if not self.fixed:
            self.size = min(MAX_BATCH, max(1, round(BATCH_S * count / max(seconds, 1e-9))))


def _in_a_pool(
    function: Batch[T, R], items: Sequence[T], workers: Workers
) -> Iterator[tuple[T, R]]:
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    processes = workers.engine == "loky"
    parent = os.getpid() if processes else None
    sizes = _Sizes(workers)
    waiting = sizes.cut(iter(items))
    under_way: dict[int, list[T]] = {}
    numbers = itertools.count()

    def tasks(again: list[T]) -> Iterator[Any]:
        for batch in itertools.chain([[item] for item in again], waiting):
            number = next(numbers)
            under_way[number] = batch
            yield delayed(_in_worker)(function, batch, number, parent)

    for _ in range(MAX_ATTEMPTS):
        options: dict[str, Any] = {"batch_size": 1, "pre_dispatch": 2 * workers.jobs}
        pool = Parallel(
            workers.jobs, backend=workers.engine, return_as="generator_unordered", **options
        )
        left = [item for batch in under_way.values() for item in batch]
        under_way.clear()
        results = cast(Iterator[tuple[int, float, Sequence[R]]], pool(tasks(left)))
        try:
            for number, seconds, found in results:
                batch = under_way.pop(number)
                sizes.learn(len(batch), seconds)
                yield from zip(batch, found, strict=True)
            if not under_way:
                return
        except TerminatedWorkerError:
            # Killed from outside or crashed in a decoder. Each item is one unit, so what was under
            # way is simply done by new workers, one by one.
            log.warning("a worker died; %d batches go to new ones", len(under_way))
        finally:
            if under_way and processes:
                get_reusable_executor().shutdown(wait=False, kill_workers=True)
    raise _dying(MAX_ATTEMPTS)


def _in_worker(
    function: Batch[T, R], batch: list[T], number: int, parent: int | None
) -> tuple[int, float, Sequence[R]]:
    if parent is not None:
        _tie_to(parent)
    return number, *_timed(function, batch)


def _timed(function: Batch[T, R], batch: list[T]) -> tuple[float, Sequence[R]]:
    started = time.perf_counter()
    results = function(batch)
    return time.perf_counter() - started, results


def _on_a_cluster(
    function: Batch[T, R], items: Sequence[T], workers: Workers
) -> Iterator[tuple[T, R]]:
    """Work through the items on Dask workers, a few batches for each of them under way.

    joblib's own Dask backend waits for ever for a task that Dask has given up (joblib 1.6: an item
    whose workers were killed four times), hence Dask's futures themselves.
    """
    distributed = require("distributed", extra="dask")
    with _client(distributed, workers) as client:
        done = distributed.as_completed(loop=client.loop, raise_errors=False, with_results=True)
        killed = distributed.KilledWorker
        under_way: dict[Any, tuple[list[T], int]] = {}
        sizes = _Sizes(workers)
        waiting = sizes.cut(iter(items))

        def submit(batch: list[T], attempt: int) -> None:
            # Without `pure=False` Dask would name a task by a hash of its arguments.
            future = client.submit(_batch_on_cluster, function, batch, pure=False)
            under_way[future] = batch, attempt
            done.add(future)

        def fill() -> None:
            # Asked for each time: workers come and go.
            wanted = 2 * max(1, sum(client.nthreads().values()))
            for batch in itertools.islice(waiting, max(0, wanted - len(under_way))):
                submit(batch, 1)

        try:
            fill()
            for future, outcome in done:
                batch, attempt = under_way.pop(future)
                if future.status == "finished":
                    seconds, results = outcome
                    sizes.learn(len(batch), seconds)
                    yield from zip(batch, results, strict=True)
                elif client.status != "running":
                    raise EnvironmentFault(
                        f"--scheduler {workers.scheduler}: is gone; start it again, then the same "
                        "command goes on"
                    )
                elif future.status == "error" and not isinstance(outcome[1], killed):
                    raise outcome[1]
                elif attempt == 2:
                    raise _dying(attempt)
                else:  # Dask gave it to several workers, and all of them died
                    log.warning("workers died; %d items go to other ones, one by one", len(batch))
                    for item in batch:
                        submit([item], attempt + 1)
                future.release()
                fill()
        finally:
            if under_way and client.status == "running":
                client.cancel(list(under_way))


def _batch_on_cluster(function: Batch[T, R], batch: list[T]) -> tuple[float, Sequence[R]]:
    import torch

    torch.set_num_threads(1)  # for good: another thread of this worker may be at work as well
    return _timed(function, batch)


@contextlib.contextmanager
def _client(distributed: Any, workers: Workers) -> Iterator[Any]:
    """Connect to the scheduler, or make a cluster of processes for as long as it takes."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # it shows tracebacks
    if workers.scheduler is None:
        with (
            distributed.LocalCluster(
                n_workers=workers.jobs,
                threads_per_worker=1,
                memory_limit=0,
                dashboard_address="127.0.0.1:0",  # not the usual port, which may be taken
                silence_logs=logging.CRITICAL,
            ) as cluster,
            distributed.Client(cluster, set_as_default=False) as client,
        ):
            yield client
        return
    try:
        client = distributed.Client(workers.scheduler, set_as_default=False)
    except (OSError, ValueError) as error:
        raise EnvironmentFault(
            f"--scheduler {workers.scheduler}: nobody answers there ({error}); "
            "start one with: dask scheduler"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=NO_WORKERS_S)
        except TimeoutError:
            raise EnvironmentFault(
                f"--scheduler {workers.scheduler}: has no workers after {NO_WORKERS_S:.0f} s; "
                f"start some with: dask worker {workers.scheduler}"
            ) from None
        yield client


def _dying(attempts: int) -> EnvironmentFault:
    return EnvironmentFault(
        f"workers were lost {attempts} times over the same items; is there memory enough for so "
        "many? Use fewer --jobs, then the same command again goes on"
    )


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


def _tie_to(parent: int) -> None:
    """Let the kernel end this process with its parent; loky's workers outlive it otherwise."""
    global _tied
    if _tied:
        return
    import torch

    torch.set_num_threads(1)
    prctl = getattr(ctypes.CDLL(None), "prctl", None)  # Linux has it
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # the parent died before the line above could see to it
    _tied = True


_tied = False
