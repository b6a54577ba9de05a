"""A pool of processes in which every item is done once, or again if its worker dies."""

import ctypes
import itertools
import logging
import os
import signal
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeVar, cast

T = TypeVar("T")
R = TypeVar("R")

MAX_POOLS = 5
_PR_SET_PDEATHSIG = 1

log = logging.getLogger(__name__)


def run_parallel(
    function: Callable[[T], R], items: Sequence[T], jobs: int, key: Callable[[T], Hashable]
) -> Iterator[tuple[T, R]]:
    """Yield every item with its result, in the order in which they come.

    One thread a process: results must not depend on how many there are.

    Args:
        function: what to do; it and the items have to be picklable.
        items: to do it to.
        jobs: worker processes; 1 does everything in this one.
        key: identifies an item.

    Raises:
        RuntimeError: if workers keep dying.
    """
    if jobs == 1 or len(items) <= 1:
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for item in items:
                yield item, function(item)
        finally:
            torch.set_num_threads(threads)
        return

    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    left = {key(item): item for item in items}
    for attempt in itertools.count(1):
        try:
            pool = Parallel(n_jobs=jobs, return_as="generator_unordered")
            tasks = [delayed(_in_worker)(function, item, os.getpid()) for item in left.values()]
            results = cast(Iterator[tuple[T, R]], pool(tasks))
            for item, result in results:
                del left[key(item)]
                yield item, result
            return
        except TerminatedWorkerError:
            # Killed from outside or crashed in a decoder. Each item is one unit, so what is left
            # is simply done by new workers.
            if attempt == MAX_POOLS:
                raise
            log.warning("a worker died; %d items go to new ones", len(left))
        finally:
            if left:
                get_reusable_executor().shutdown(wait=False, kill_workers=True)


def _in_worker(function: Callable[[T], R], item: T, parent: int) -> tuple[T, R]:
    _tie_to(parent)
    return item, function(item)


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
