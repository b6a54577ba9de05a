"""Which items a step is fed with, and the loading ahead of them."""

import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bcsim.data.pairs import Pair, Pairs
from bcsim.errors import BcsimError
from bcsim.rng import stream
from bcsim.training.config import DataConfig


class Batch(NamedTuple):
    """What one step sees.

    Args:
        ids: of the B pairs.
        signals: (B, C, T), the enhancer's input.
        target: (B, 1, T), the air-conducted speech.
        simulated_s: how long simulating it took, in seconds of one process.
    """

    ids: list[str]
    signals: Tensor
    target: Tensor
    simulated_s: float = 0.0


class Batches:
    """The batch of every step, a function of the seed and the step alone.

    An epoch is a permutation of all items; epochs follow one another without a gap, so every item
    is used equally often whatever the batch size, and a run can be taken up at any step.

    Args:
        pairs: what there is.
        config: how long the crops and how large the batches are.
        seed: of the permutations.
        num_steps: how many batches there are.

    Raises:
        ValueError: if there are no pairs.
    """

    def __init__(self, pairs: Pairs, config: DataConfig, seed: int, num_steps: int) -> None:
        if len(pairs) == 0:
            raise ValueError("there are no pairs to train on")
        self.pairs = pairs
        self.batch_size = config.batch_size
        self.crop_samples = max(1, round(config.crop_s * pairs.sample_rate))
        self.seed = seed
        self.num_steps = num_steps

    def at(self, step: int) -> Batch:
        """Return the batch of a step, counted from 0."""
        picks = []
        for position in range(step * self.batch_size, (step + 1) * self.batch_size):
            epoch, place = divmod(position, len(self.pairs))
            index = int(_permutation(self.seed, epoch, len(self.pairs))[place])
            picks.append((index, epoch))
        before_s = self.pairs.simulated_s
        batch = collate(self.pairs.crops(picks, self.crop_samples))
        return batch._replace(simulated_s=self.pairs.simulated_s - before_s)


def collate(pairs: list[Pair]) -> Batch:
    """Stack pairs of equal length."""
    return Batch(
        ids=[pair.id for pair in pairs],
        signals=torch.stack([pair.bone for pair in pairs])[:, None],
        target=torch.stack([pair.air for pair in pairs])[:, None],
    )


class Loader:
    """Gives the batches from one step to the last, loading ahead in worker processes.

    Attributes:
        waited_s: how long the caller has waited for data so far.
        simulated_s: how long processes have simulated what they loaded so far.
    """

    def __init__(self, batches: Batches, num_workers: int, first_step: int) -> None:
        self.waited_s = 0.0
        self.simulated_s = 0.0
        self._loader: DataLoader[Batch | BcsimError] = DataLoader(
            _Dataset(batches),
            sampler=range(first_step, batches.num_steps),
            batch_size=None,
            collate_fn=_as_is,
            num_workers=num_workers,
            prefetch_factor=4 if num_workers else None,
            generator=torch.Generator(),  # or it would draw from the global one
        )

    def __iter__(self) -> Iterator[Batch]:
        """Pass on the batches.

        Raises:
            BcsimError: what reading a pair raised.
        """
        asked = time.monotonic()
        for batch in self._loader:
            self.waited_s += time.monotonic() - asked
            if isinstance(batch, BcsimError):
                raise batch
            self.simulated_s += batch.simulated_s
            yield batch
            asked = time.monotonic()


class _Dataset(Dataset[Batch | BcsimError]):
    """The batches as torch's loader wants them.

    An error is handed over as a value: raised in a worker process, it would come back with a
    traceback for its message.
    """

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __getitem__(self, step: int) -> Batch | BcsimError:
        try:
            return self.batches.at(step)
        except BcsimError as error:
            return error


def _as_is(batch: Any) -> Any:
    return batch


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, num_items: int) -> NDArray[np.int64]:
    return stream(seed, "batches", epoch).permutation(num_items)
