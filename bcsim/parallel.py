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
from collections.abc import Callable, Hashable, Iterator, Sequence
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


def run_parallel(
    function: Callable[[T], R], items: Sequence[T], workers: Workers, key: Callable[[T], Hashable]
) -> Iterator[tuple[T, R]]:
    """Yield every item with its result, in the order in which they come.

    One thread a process: results must not depend on how many there are. Only few items are under
    way at a time, so memory does not grow with their number.

    Args:
        function: what to do; it and the items have to be picklable.
        items: to do it to.
        workers: who does it.
        key: identifies an item.

    Raises:
        EnvironmentFault: if workers keep dying, or a scheduler or its workers cannot be reached.
    """
    if workers.engine == "dask":
        yield from _on_a_cluster(function, items, workers)
    elif workers.jobs == 1 or len(items) <= 1:
        with _one_thread():
            for item in items:
                yield item, function(item)
    else:
        with _one_thread():
            yield from _in_a_pool(function, items, workers, key)


def _in_a_pool(
    function: Callable[[T], R], items: Sequence[T], workers: Workers, key: Callable[[T], Hashable]
) -> Iterator[tuple[T, R]]:
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    processes = workers.engine == "loky"
    parent = os.getpid() if processes else None
    options: dict[str, Any] = {
        "batch_size": workers.batch or "auto",
        "pre_dispatch": 2 * workers.jobs * (workers.batch or 1),
    }
    waiting = iter(items)
    under_way: dict[Hashable, T] = {}

    def tasks(again: list[T]) -> Iterator[Any]:
        for item in itertools.chain(again, waiting):
            under_way[key(item)] = item
            yield delayed(_in_worker)(function, item, key(item), parent)

    for _ in range(MAX_ATTEMPTS):
        pool = Parallel(
            workers.jobs, backend=workers.engine, return_as="generator_unordered", **options
        )
        results = pool(tasks(list(under_way.values())))
        try:
            for name, result in cast(Iterator[tuple[Hashable, R]], results):
                yield under_way.pop(name), result
            if not under_way:
                return
        except TerminatedWorkerError:
            # Killed from outside or crashed in a decoder. Each item is one unit, so what was under
            # way is simply done by new workers.
            log.warning("a worker died; %d items go to new ones", len(under_way))
        finally:
            if under_way and processes:
                get_reusable_executor().shutdown(wait=False, kill_workers=True)
    raise _dying(MAX_ATTEMPTS)


def _in_worker(
    function: Callable[[T], R], item: T, name: Hashable, parent: int | None
) -> tuple[Hashable, R]:
    if parent is not None:
        _tie_to(parent)
    return name, function(item)


def _on_a_cluster(
    function: Callable[[T], R], items: Sequence[T], workers: Workers
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
        waiting = iter(items)
        size = workers.batch or 1

        def submit(batch: list[T], attempt: int) -> None:
            # Without `pure=False` Dask would name a task by a hash of its arguments.
            future = client.submit(_batch_on_cluster, function, batch, pure=False)
            under_way[future] = batch, attempt
            done.add(future)

        def fill() -> None:
            # Asked for each time: workers come and go.
            wanted = 2 * max(1, sum(client.nthreads().values()))
            while len(under_way) < wanted and (batch := [*itertools.islice(waiting, size)]):
                submit(batch, 1)

        try:
            fill()
            for future, outcome in done:
                batch, attempt = under_way.pop(future)
                if future.status == "finished":
                    seconds, results = outcome
                    if workers.batch is None:
                        size = min(MAX_BATCH, max(1, round(BATCH_S * len(batch) / seconds)))
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


def _batch_on_cluster(function: Callable[[T], R], batch: list[T]) -> tuple[float, list[R]]:
    import torch

    torch.set_num_threads(1)  # for good: another thread of this worker may be at work as well
    started = time.perf_counter()
    results = [function(item) for item in batch]
    return time.perf_counter() - started, results


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
