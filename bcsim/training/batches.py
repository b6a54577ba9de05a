"""The batch of every step, and its loading ahead in other processes."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bcsim.datasets.pairs import Pair, Pairs
from bcsim.errors import BcsimError
from bcsim.rng import stream
from bcsim.training.config import DataConfig
from bcsim.workers.limits import shared_memory_faults


class Batch(NamedTuple):
    """Inputs and targets of one step.

    Args:
        ids: names of the B pairs.
        signals: input of the network, (B, C, T).
        target: output that the network should give, (B, 1, T): clean speech for an enhancer.
        simulated_s: time that simulating the batch took, in seconds of one process.
    """

    ids: list[str]
    signals: Tensor
    target: Tensor
    simulated_s: float = 0.0


@dataclass
class Batches:
    """The batch of every step, a function of the seed and the step alone.

    An epoch is a permutation of all items; epochs follow one another without a gap, so every item
    is used equally often whatever the batch size, and a run can be resumed at any step. Several
    processes take the items that one would with a batch as large as all of theirs.

    Args:
        pairs: pairs to learn from.
        config: size of the batches, and the fraction of them that is real.
        crop_samples: length of the crops in samples.
        seed: seed of the permutations.
        num_steps: number of batches.
        real: pairs that `config.real_fraction` of every batch comes from; None takes all from
            `pairs`.
        rank: number of this process among those that train together, from 0.
        world_size: number of processes that train together, each with batches of its own.

    Raises:
        ValueError: if there are no pairs, or the batch is too small to be mixed.
    """

    pairs: Pairs
    config: DataConfig
    _: KW_ONLY
    crop_samples: int
    seed: int
    num_steps: int
    real: Pairs | None = None
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        batch_size, fraction = self.config.batch_size, self.config.real_fraction
        self._sources = [(self.pairs, batch_size)]  # each with its number of items in a batch
        if self.real is not None:
            num_real = round(fraction * batch_size)
            if not 0 < num_real < batch_size:
                raise ValueError(
                    f"data.real_fraction {fraction} of a batch of {batch_size} is {num_real} "
                    "items; it wants some of either kind"
                )
            self._sources = [(self.pairs, batch_size - num_real), (self.real, num_real)]
        if any(len(source) == 0 for source, _ in self._sources):
            raise ValueError("there are no pairs to train on")

    def at(self, step: int) -> Batch:
        """Return the batch of a step, counted from 0."""
        crops: list[Pair] = []
        before_s = self._simulated_s()
        for number, (pairs, count) in enumerate(self._sources):
            start = (step * self.world_size + self.rank) * count
            names = ("batches",) if number == 0 else ("batches", "real")
            picks = picked(range(start, start + count), len(pairs), self.seed, *names)
            crops += pairs.crops(picks, self.crop_samples)
        return Batch(
            ids=[pair.id for pair in crops],
            signals=torch.stack([pair.inputs(self.pairs.channels) for pair in crops]),
            target=torch.stack([pair.air for pair in crops])[:, None],
            simulated_s=self._simulated_s() - before_s,
        )

    def _simulated_s(self) -> float:
        return sum(pairs.simulated_s for pairs, _ in self._sources)


class Loader:
    """Gives the batches from one step to the last, loading ahead in worker processes.

    What reading a pair raised, a BcsimError, is raised on iteration.
    """

    def __init__(self, batches: Batches, num_workers: int, first_step: int) -> None:
        self.waited_s = 0.0  # time that the caller has waited for data so far
        self.simulated_s = 0.0  # time that processes have spent on simulating so far
        self._loader: DataLoader[Batch | BcsimError] = DataLoader(
            _Dataset(batches),
            sampler=range(first_step, batches.num_steps),
            batch_size=None,
            collate_fn=_as_is,
            num_workers=num_workers,
            pin_memory=torch.cuda.is_available(),
            prefetch_factor=4 if num_workers else None,
            generator=torch.Generator(),  # or it would draw from the global one
        )

    def __iter__(self) -> Iterator[Batch]:
        asked = time.monotonic()
        with shared_memory_faults():
            for batch in self._loader:
                self.waited_s += time.monotonic() - asked
                if isinstance(batch, BcsimError):
                    raise batch
                self.simulated_s += batch.simulated_s
                yield batch
                asked = time.monotonic()


class _Dataset(Dataset[Batch | BcsimError]):
    """The batches, and errors as values: raised in a worker, one comes with a traceback as text."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __getitem__(self, step: int) -> Batch | BcsimError:
        try:
            return self.batches.at(step)
        except BcsimError as error:
            return error


def _as_is(batch: Any) -> Any:
    return batch


def picked(
    positions: Iterable[int], num_items: int, seed: int, *names: str
) -> list[tuple[int, int]]:
    """Return the item and the epoch at positions of an endless run through permutations of items.

    Args:
        positions: positions, counted from 0.
        num_items: number of items, each of which every epoch takes once.
        seed: root seed of the permutations.
        names: names of their stream.
    """
    picks = []
    for position in positions:
        epoch, place = divmod(position, num_items)
        picks.append((int(_permutation(seed, names, epoch, num_items)[place]), epoch))
    return picks


@lru_cache(maxsize=4)
def _permutation(
    seed: int, names: tuple[str, ...], epoch: int, num_items: int
) -> NDArray[np.int64]:
    return stream(seed, *names, epoch).permutation(num_items)
