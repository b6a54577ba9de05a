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
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Future,
    ThreadPoolExecutor,
    wait,
)
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from bcsim.errors import EnvironmentFault
from bcsim.extras import require

T = TypeVar("T")
R = TypeVar("R")

MAX_DEATHS = 2  # of workers that had nothing but one item, until that item is given up
MAX_DEATHS_IN_A_ROW = 20  # without a finished item: then it is the machine, not the items
BATCH_S = 0.5  # what a batch should take: dispatching is cheap beside it, and little is lost in it
MAX_BATCH = 256
NO_WORKERS_S = 60.0
IDLE_S = 300
_NUM_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_PR_SET_PDEATHSIG = 1
# Ctrl-C reaches every process at the terminal; the parent ends the others.
_IGNORE_SIGINT = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"

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
    function: Batch[T, R], items: Sequence[T], workers: Workers, give_up: Callable[[T], R]
) -> Iterator[tuple[T, R]]:
    """Yield every item with its result, in the order in which they come.

    One thread a process: results must not depend on how many there are. Only few items are under
    way at a time, so memory does not grow with their number. One job means this process, and it
    dies with what kills it.

    Args:
        function: what to do to a batch of items; it and they have to be picklable.
        items: to do it to.
        workers: who does it.
        give_up: makes the result of an item that took its worker down twice, with nothing else
            under way.

    Raises:
        EnvironmentFault: if workers die and nothing gets done, or a scheduler or its workers
            cannot be reached.
    """
    if not items:
        return
    sizes = _Sizes(workers)
    with _one_thread():
        if workers.engine != "dask" and workers.jobs == 1:
            for batch in sizes.cut(iter(items)):
                seconds, results = _timed(function, batch)
                sizes.learn(len(batch), seconds)
                yield from zip(batch, results, strict=True)
            return
        with CREWS[workers.engine](workers) as crew:
            yield from _share_out(function, items, crew, sizes, give_up)


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


@dataclass(frozen=True)
class _Crew:
    """Workers at hand.

    Args:
        submit: hands one of them a function and its arguments.
        count: how many they are now; on a cluster they come and go.
        losses: what a future raises whose worker died.
    """

    submit: Callable[..., Future[Any]]
    count: Callable[[], int]
    losses: tuple[type[Exception], ...] = ()


def _share_out(
    function: Batch[T, R],
    items: Sequence[T],
    crew: _Crew,
    sizes: _Sizes,
    give_up: Callable[[T], R],
) -> Iterator[tuple[T, R]]:
    """Keep every worker busy; what was under way when one died is done again, one by one.

    Whatever else was under way then may be innocent. So suspects run with nothing beside them: a
    batch first, its items when it dies again, and an item is given up when that happens to it.
    """
    waiting = sizes.cut(iter(items))
    suspects: deque[tuple[list[T], int]] = deque()
    under_way: dict[Future[Any], tuple[list[T], int | None]] = {}
    deaths_in_a_row = 0

    def submit(batch: list[T], deaths: int | None) -> None:
        under_way[crew.submit(_in_worker, function, batch)] = batch, deaths

    while True:
        if suspects and not under_way:
            submit(*suspects.popleft())
        elif not suspects and all(deaths is None for _, deaths in under_way.values()):
            for batch in itertools.islice(waiting, max(0, 2 * crew.count() - len(under_way))):
                submit(batch, None)
        if not under_way:
            return
        for future in wait(under_way, return_when=FIRST_COMPLETED).done:
            batch, deaths = under_way.pop(future)
            try:
                seconds, results = future.result()
            except crew.losses as error:
                if deaths is None:
                    log.warning("a worker died; %d items are done again", len(batch))
                    suspects.append((batch, 0))
                    continue
                deaths_in_a_row += 1
                if deaths_in_a_row == MAX_DEATHS_IN_A_ROW:
                    raise EnvironmentFault(
                        f"workers were lost {deaths_in_a_row} times in a row; is there memory "
                        "enough? The same command again goes on"
                    ) from None
                deaths += 1 + getattr(error, "allowed_failures", 0)  # Dask tried so often already
                if len(batch) > 1:
                    suspects.extendleft(([item], 0) for item in batch)
                elif deaths < MAX_DEATHS:
                    suspects.appendleft((batch, deaths))
                else:
                    yield batch[0], give_up(batch[0])
            else:
                deaths_in_a_row = 0
                sizes.learn(len(batch), seconds)
                yield from zip(batch, results, strict=True)


def _in_worker(function: Batch[T, R], batch: list[T]) -> tuple[float, Sequence[R]]:
    import torch

    torch.set_num_threads(1)  # for good: another thread of this worker may be at work as well
    return _timed(function, batch)


def _timed(function: Batch[T, R], batch: list[T]) -> tuple[float, Sequence[R]]:
    started = time.perf_counter()
    results = function(batch)
    return time.perf_counter() - started, results


@contextlib.contextmanager
def _threads(workers: Workers) -> Iterator[_Crew]:
    pool = ThreadPoolExecutor(workers.jobs)
    try:
        yield _Crew(pool.submit, lambda: workers.jobs)
    finally:
        # Waits for the batches that are being done: a process that ends beneath them aborts.
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _processes(workers: Workers) -> Iterator[_Crew]:
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    def pool() -> Any:  # a new one, if a worker of the last one died
        return get_reusable_executor(
            workers.jobs,
            timeout=IDLE_S,
            initializer=_tie_to,
            initargs=(os.getpid(),),
            env=dict.fromkeys(_NUM_THREADS, "1"),
        )

    def submit(*task: Any) -> Future[Any]:
        while True:
            # Suppressed: a worker may have died just now. Deaf: this may start processes, which
            # would answer Ctrl-C with a traceback each before `_tie_to` is reached.
            with contextlib.suppress(TerminatedWorkerError), _deaf():
                return pool().submit(*task)

    try:
        yield _Crew(submit, lambda: workers.jobs, (TerminatedWorkerError,))
    except BaseException:
        # loky's own thread may stumble over the work that is taken from it, and would say so.
        hook, threading.excepthook = threading.excepthook, lambda _: None
        try:
            pool().shutdown(kill_workers=True)
        finally:
            threading.excepthook = hook
        raise
    pool().shutdown()  # joblib itself would otherwise take it for one of its own


@contextlib.contextmanager
def _cluster(workers: Workers) -> Iterator[_Crew]:
    """Use Dask's futures: joblib's Dask backend waits for ever for a task that Dask gave up."""
    distributed = require("distributed", extra="dask")
    gone = EnvironmentFault(
        f"--scheduler {workers.scheduler}: is gone; start it again, then the same command goes on"
    )
    with _client(distributed, workers) as client:
        # Without `pure=False` Dask would name a task by a hash of its arguments.
        pool = client.get_executor(pure=False)

        def count() -> int:
            try:
                return max(1, sum(client.nthreads().values()))
            except OSError:
                raise gone from None

        try:
            yield _Crew(pool.submit, count, (distributed.KilledWorker,))
        except CancelledError:  # nobody here cancels anything
            raise gone from None
        finally:
            if client.status == "running":
                pool.shutdown(wait=False)


CREWS: dict[str, Callable[[Workers], contextlib.AbstractContextManager[_Crew]]] = {
    "loky": _processes,
    "threading": _threads,
    "dask": _cluster,
}


@contextlib.contextmanager
def _client(distributed: Any, workers: Workers) -> Iterator[Any]:
    """Connect to the scheduler, or make a cluster of processes for as long as it takes."""
    for name in ("distributed", "distributed.client"):  # each has a level of its own
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they show tracebacks
    if workers.scheduler is None:
        with (
            distributed.LocalCluster(
                n_workers=workers.jobs,
                threads_per_worker=1,
                memory_limit=0,
                scheduler_kwargs={"allowed_failures": 0},  # we count them
                preload=[_IGNORE_SIGINT],
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


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Put SIGINT off for a moment; a process that is started meanwhile never hears of it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _tie_to(parent: int) -> None:
    """Let the kernel end this process with its parent; loky's workers outlive it otherwise."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends us
    end_with(parent)


def end_with(parent: int) -> None:
    """Let the kernel kill this process when its parent, whose number this is, has ended."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)  # Linux has it
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # the parent died before the line above could see to it
