"""The three engines that run work elsewhere: processes, threads and Dask clusters."""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from bcsim.errors import EnvironmentFault
from bcsim.extras import optional_import
from bcsim.workers.limits import OutOfMemoryError, prepare_worker, shared_memory_faults

NO_WORKERS_S = 60.0
IDLE_S = 300
END_S = 1.0  # for a worker or a thread to end
# One thread a process; a crash in C is reported in one line by bcsim, not by faulthandler. A worker
# may be lost with a recording, so it decodes itself (`audio/contained.py`).
_ENVIRONMENT = {
    "BCSIM_DECODES_ITSELF": "1",
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    "PYTHONFAULTHANDLER": "",
}
# Ctrl-C reaches every process of the terminal; the parent ends the workers.
_IGNORE_SIGINT = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"


@dataclass(frozen=True)
class Workers:
    """Which workers do the work, and their limits.

    The limits hold in processes of "loky" alone: threads share this process, and the workers of a
    cluster have limits of their own.

    Args:
        jobs: number of processes or threads; a scheduler has workers of its own. None means this
            process, which a crash in an item ends.
        engine: "loky" (the processes of joblib), "threading" or "dask".
        scheduler: address of a running Dask scheduler; None makes a cluster on this machine.
        batch: items that are handed over at once; None takes as many as last about half a second.
        item_timeout_s: longest time for one item in seconds; None leaves it to `run_parallel`.
        item_memory_gib: most memory of a worker beside what it starts with, in GiB.
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


@dataclass(frozen=True)
class Engine:
    """Workers that are running.

    Args:
        submit: hands a worker a function and its arguments.
        count: returns how many workers there are now; on a cluster they come and go.
        losses: exceptions of a future whose worker was lost.
        look_after: called every few seconds in which no batch is finished.
    """

    submit: Callable[..., Future[Any]]
    count: Callable[[], int]
    losses: tuple[type[Exception], ...] = ()
    look_after: Callable[[], object] = lambda: None


@contextlib.contextmanager
def threads(workers: Workers) -> Iterator[Engine]:
    """Start threads of this process."""
    jobs = workers.jobs or num_cores()
    pool = ThreadPoolExecutor(jobs)
    try:
        yield Engine(pool.submit, lambda: jobs)
    finally:
        # Waits for the batches that are being done: a process that ends beneath them aborts.
        pool.shutdown(cancel_futures=True)


class _Processes:
    """Worker processes of loky, which are started anew where one has died."""

    def __init__(self, jobs: int) -> None:
        from joblib.externals.loky import get_reusable_executor, process_executor

        self.jobs = jobs
        self.broken = process_executor.BrokenProcessPool
        self._executor = get_reusable_executor
        self._pool: Any = None
        self._dead: list[Any] = []  # workers that were seen to be dead

    def submit(self, *task: Any) -> Future[Any]:
        while True:
            # Suppressed: a worker may have died just now. SIGINT: this may start processes, which
            # would answer Ctrl-C with a traceback each before `prepare_worker` is reached.
            with contextlib.suppress(self.broken), shared_memory_faults(), _sigint_blocked():
                self._pool = self._executor(  # a new one, if a worker of the last one died
                    self.jobs,
                    timeout=IDLE_S,
                    initializer=prepare_worker,
                    initargs=(os.getpid(),),
                    env=_ENVIRONMENT,
                )
                return self._pool.submit(*task)

    def look_after(self) -> None:
        """Clear the workers away where loky has not noticed for a while that one is dead."""
        dead = [w for w in [*(self._pool._processes or {}).values()] if not w.is_alive()]
        if any(worker in self._dead for worker in dead):
            self.terminate()
        self._dead = dead

    def terminate(self) -> None:
        """End all workers, for loky to clear them and their work away as if they had died.

        Told to kill them (kill_workers=True), its own thread stumbles over the work under way. And
        of a worker that dies while it hands over a result, it would wait for the rest for ever: all
        write into one pipe, which ends when nobody holds it any more.
        """
        if self._pool is None:
            return
        ending = [*(self._pool._processes or {}).values()]
        for worker in ending:
            worker.terminate()
        for worker in ending:
            worker.join(END_S)
        if self._pool._result_queue is not None:
            self._pool._result_queue._writer.close()

    def close(self) -> None:
        """Shut the pool down, which joblib would else take for one of its own.

        loky does not wait for the threads that hand out work: one that lets go of a semaphore while
        the interpreter shuts down stops half way, and loky's resource tracker complains of what is
        left.
        """
        if self._pool is None:
            return
        feeders = [t for t in threading.enumerate() if t.name == "QueueFeederThread"]
        self._pool.shutdown()
        for thread in feeders:
            thread.join(END_S)


@contextlib.contextmanager
def processes(workers: Workers) -> Iterator[Engine]:
    """Start processes that keep to the limits of a batch."""
    own = _Processes(workers.jobs or num_cores())
    try:
        losses = (own.broken, OutOfMemoryError)
        yield Engine(own.submit, lambda: own.jobs, losses, own.look_after)
    except BaseException:
        own.terminate()
        raise
    finally:
        own.close()


@contextlib.contextmanager
def cluster(workers: Workers) -> Iterator[Engine]:
    """Use Dask's futures: joblib's Dask backend waits for ever for a task that Dask gave up."""
    distributed = optional_import("distributed", extra="dask")
    gone = EnvironmentFault(
        f"scheduler {workers.scheduler}: is gone; start it again, then the same command goes on"
    )
    with _client(distributed, workers) as client:
        # Without `pure=False` Dask names a task by a hash of its arguments.
        pool = client.get_executor(pure=False)

        def count() -> int:
            try:
                return max(1, sum(client.nthreads().values()))
            except OSError:
                raise gone from None

        try:
            yield Engine(pool.submit, count, (distributed.KilledWorker,))
        except CancelledError:  # nobody here cancels anything
            raise gone from None
        finally:
            if client.status == "running":
                pool.shutdown(wait=False)


@contextlib.contextmanager
def _client(distributed: Any, workers: Workers) -> Iterator[Any]:
    """Connect to the scheduler, or make a cluster of processes for as long as it takes."""
    for name in ("distributed", "distributed.client"):  # each has a level of its own
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they log tracebacks
    if workers.scheduler is None:
        with (
            distributed.LocalCluster(
                n_workers=workers.jobs,
                threads_per_worker=1,
                memory_limit=0,
                scheduler_kwargs={"allowed_failures": 0},  # `run_parallel` counts them
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
            f"scheduler {workers.scheduler}: nobody answers there ({error}); "
            "start one with: dask scheduler"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=NO_WORKERS_S)
        except TimeoutError:
            raise EnvironmentFault(
                f"scheduler {workers.scheduler}: has no workers after {NO_WORKERS_S:.0f} s; "
                f"start some with: dask worker {workers.scheduler}"
            ) from None
        yield client


@contextlib.contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Block SIGINT; a process that is started meanwhile ignores it for good."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


ENGINES: dict[str, Callable[[Workers], contextlib.AbstractContextManager[Engine]]] = {
    "loky": processes,
    "threading": threads,
    "dask": cluster,
}
