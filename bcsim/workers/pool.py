"""Many workers, and every item done once, or again if its worker is lost.

Nothing here knows what is being done. What an item gives must not depend on which worker does it,
beside what, or how often: then it does not matter that a worker is lost on the way.
"""

import contextlib
import itertools
import logging
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from bcsim.errors import EnvironmentFault
from bcsim.extras import optional_import
from bcsim.workers.limits import Limits, OutOfMemoryError, contain, end_with, sweep_semaphores

__all__ = ["Workers", "end_with", "num_cores", "run_parallel", "sweep_semaphores"]

T = TypeVar("T")
R = TypeVar("R")

MAX_KILLS = 2  # of workers that had nothing but one item, until that item is given up
MAX_SECONDS = 1e8  # three years
MAX_DEATHS_IN_A_ROW = 20  # without a finished item: then the machine is asked, by a trivial task
BATCH_S = 0.5  # what a batch should take: dispatching is cheap beside it, and little is lost in it
MAX_BATCH = 256
NO_WORKERS_S = 60.0
IDLE_S = 300
END_S = 1.0  # for a worker or a thread to end
STUCK_S = 5.0  # without a result, until it is asked whether loky still notices lost workers
# One thread a process; and a crash in C is told in one line by us, not in thirty by faulthandler.
_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    "PYTHONFAULTHANDLER": "",
}
# Ctrl-C reaches every process at the terminal; the parent ends the others.
_IGNORE_SIGINT = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workers:
    """Who does the work.

    Args:
        jobs: processes or threads; a scheduler has workers of its own. None means this process,
            which dies of what an item does to it.
        engine: "loky" (processes), "threading", or "dask".
        scheduler: address of a running Dask scheduler; None makes a cluster on this machine.
        batch: items that are handed over at once; None takes as many as last about half a second.
        item_timeout_s: that one item may take; None leaves it to the caller of `run_parallel`.
        item_memory_gib: that a worker may take beside what it starts with.

    The limits hold in processes of "loky"; threads share this process, and the peers of a cluster
    have limits of their own.
    """

    jobs: int | None = None
    engine: Literal["loky", "threading", "dask"] = "loky"
    scheduler: str | None = None
    batch: int | None = None
    item_timeout_s: float | None = None
    item_memory_gib: float = 4.0


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


Batch = Callable[[Sequence[T]], Sequence[R]]


def run_parallel(
    function: Batch[T, R],
    items: Sequence[T],
    workers: Workers,
    give_up: Callable[[T, str], R],
    limit_s: Callable[[T], float] | None = None,
) -> Iterator[tuple[T, R]]:
    """Yield every item with its result, in the order in which they come.

    One thread a process: results must not depend on how many there are. Only few items are under
    way at a time, so memory does not grow with their number.

    Args:
        function: what to do to a batch of items; it and they have to be picklable.
        items: to do it to.
        workers: who does it.
        give_up: makes the result of an item that was lost with a worker, and then cost one with
            nothing else under way; it is told how, such as "took longer than 60 s".
        limit_s: the time that an item may take, unless the workers say otherwise. A batch that
            lasts half a second has the time of the item that may take longest.

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
        with CREWS[workers.engine](workers) as crew:
            limits = _limits(workers, limit_s)
            yield from _share_out(function, items, crew, sizes, give_up, limits)


def _limits(
    workers: Workers, limit_s: Callable[[T], float] | None
) -> Callable[[Sequence[T]], Limits | None]:
    """Return the limits of a batch as a function of it."""
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
        losses: what a future raises whose worker died, or would not do it.
        look_after: called now and then while nothing is done.
    """

    submit: Callable[..., Future[Any]]
    count: Callable[[], int]
    losses: tuple[type[Exception], ...] = ()
    look_after: Callable[[], object] = lambda: None


def _share_out(
    function: Batch[T, R],
    items: Sequence[T],
    crew: _Crew,
    sizes: _Sizes,
    give_up: Callable[[T, str], R],
    limits: Callable[[Sequence[T]], Limits | None],
) -> Iterator[tuple[T, R]]:
    """Keep every worker busy; what was under way when one died is done again, one by one.

    Whatever else was under way then may be innocent. So suspects run one by one, with nothing
    beside them, and one whose worker is lost again is given up; unless the worker was killed, which
    somebody else may have done: that has to happen twice.
    """
    waiting = sizes.cut(iter(items))
    suspects: deque[tuple[T, int]] = deque()
    under_way: dict[Future[Any], tuple[list[T], int | None]] = {}
    deaths_in_a_row = 0

    def submit(batch: list[T], deaths: int | None) -> None:
        under_way[crew.submit(_in_worker, function, batch, limits(batch))] = batch, deaths

    while True:
        if suspects and not under_way:
            item, deaths = suspects.popleft()
            submit([item], deaths)
        elif not suspects and all(deaths is None for _, deaths in under_way.values()):
            for batch in itertools.islice(waiting, max(0, 2 * crew.count() - len(under_way))):
                submit(batch, None)
        if not under_way:
            return
        done = wait(under_way, timeout=STUCK_S, return_when=FIRST_COMPLETED).done
        if not done:
            crew.look_after()
        for future in done:
            batch, deaths = under_way.pop(future)
            try:
                seconds, results = future.result()
            except crew.losses as error:
                if deaths is None:
                    log.warning("a worker was lost; %d items are done again", len(batch))
                    suspects.extend((item, 0) for item in batch)
                    continue
                deaths_in_a_row += 1
                if deaths_in_a_row == MAX_DEATHS_IN_A_ROW:
                    _suspect_the_machine(crew, deaths_in_a_row)
                    deaths_in_a_row = 0
                deaths += 1 + getattr(error, "allowed_failures", 0)  # Dask tried so often already
                if deaths < MAX_KILLS and not Limits.surely_broken(error):
                    suspects.appendleft((batch[0], deaths))
                else:
                    kept = limits(batch)
                    reason = kept.broken_by(error) if kept else "took its worker down twice"
                    yield batch[0], give_up(batch[0], reason)
            else:
                deaths_in_a_row = 0
                sizes.learn(len(batch), seconds)
                yield from zip(batch, results, strict=True)


def _suspect_the_machine(crew: _Crew, deaths: int) -> None:
    """Blame the machine for lost workers if one is lost over nothing at all, else the items."""
    try:
        crew.submit(os.getpid).result()
    except crew.losses:
        raise EnvironmentFault(
            f"workers were lost {deaths} times in a row, and once more over nothing at all; is "
            "there memory enough? The same command again goes on"
        ) from None


def _in_worker(
    function: Batch[T, R], batch: list[T], limits: Limits | None
) -> tuple[float, Sequence[R]]:
    torch = sys.modules.get("torch")  # whoever brought the function here imported what it needs
    if torch is not None:
        torch.set_num_threads(1)  # for good: another thread may be at work as well
    with limits.kept() if limits else contextlib.nullcontext():
        return _timed(function, batch)


def _timed(function: Batch[T, R], batch: list[T]) -> tuple[float, Sequence[R]]:
    started = time.perf_counter()
    results = function(batch)
    return time.perf_counter() - started, results


@contextlib.contextmanager
def _threads(workers: Workers) -> Iterator[_Crew]:
    jobs = workers.jobs or num_cores()
    pool = ThreadPoolExecutor(jobs)
    try:
        yield _Crew(pool.submit, lambda: jobs)
    finally:
        # Waits for the batches that are being done: a process that ends beneath them aborts.
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _processes(workers: Workers) -> Iterator[_Crew]:
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import BrokenProcessPool

    jobs = workers.jobs or num_cores()

    pool: Any = None
    lost: list[Any] = []  # workers that were seen to be dead

    def submit(*task: Any) -> Future[Any]:
        nonlocal pool
        while True:
            # Suppressed: a worker may have died just now. Deaf: this may start processes, which
            # would answer Ctrl-C with a traceback each before `contain` is reached.
            with contextlib.suppress(BrokenProcessPool), _deaf():
                pool = get_reusable_executor(  # a new one, if a worker of the last one died
                    jobs,
                    timeout=IDLE_S,
                    initializer=contain,
                    initargs=(os.getpid(),),
                    env=_ENVIRONMENT,
                )
                return pool.submit(*task)

    def terminate() -> None:
        """Let loky clear away its workers, and what was under way, as if they had died.

        Told to kill them (kill_workers=True), its own thread stumbles over the work under way. And
        of a worker that dies while it hands over a result, it would wait for the rest for ever: all
        write into one pipe, which ends when nobody holds it any more.
        """
        dying = [*(pool._processes or {}).values()]
        for worker in dying:
            worker.terminate()
        for worker in dying:
            worker.join(END_S)
        if pool._result_queue is not None:
            pool._result_queue._writer.close()

    def look_after() -> None:
        dead = [w for w in [*(pool._processes or {}).values()] if not w.is_alive()]
        if any(worker in lost for worker in dead):  # for a while, and still not noticed
            terminate()
        lost[:] = dead

    try:
        yield _Crew(submit, lambda: jobs, (BrokenProcessPool, OutOfMemoryError), look_after)
    except BaseException:
        if pool is not None:
            terminate()
        raise
    finally:
        if pool is not None:
            # Or joblib would take it for one of its own. loky leaves the threads that hand out work
            # to themselves: one that lets go of a semaphore while the interpreter shuts down stops
            # half way, and loky's resource tracker complains of what is left.
            feeders = [t for t in threading.enumerate() if t.name == "QueueFeederThread"]
            pool.shutdown()
            for thread in feeders:
                thread.join(END_S)


@contextlib.contextmanager
def _cluster(workers: Workers) -> Iterator[_Crew]:
    """Use Dask's futures: joblib's Dask backend waits for ever for a task that Dask gave up."""
    distributed = optional_import("distributed", extra="dask")
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
