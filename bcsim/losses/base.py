"""What an objective is, and how one sees the batches of all processes."""

from abc import ABC, abstractmethod

import torch.distributed
from torch import Tensor, nn


class Objective(nn.Module, ABC):
    """Something about an estimate that training makes small.

    Subclasses are registered in `bcsim.losses.LOSSES` and take plain values in their constructor,
    every one with a default. They are modules so that windows and filters move with them.

    Several processes train on the average of their gradients. A mean over items needs nothing for
    that; what is no such mean, a ratio of sums over the batch for one, takes its sums with
    `sum_over_processes`, and is then computed by all processes or by none.
    """

    @abstractmethod
    def terms(self, estimate: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Measure an estimate.

        Args:
            estimate: (B, 1, T), what the enhancer gave.
            target: (B, 1, T), what it should have given; no gradient goes there.

        Returns:
            The parts of the objective by name, scalars that are at least 0 and are 0 where the
            two signals are the same. The trainer adds them up; what is to be balanced apart is a
            term of its own.
        """


def sum_over_processes(value: Tensor) -> Tensor:
    """Add up what the processes of a training hold; a lone one gets its value back.

    Args:
        value: any shape, the same in all processes. All of them have to call, in the same order.

    Returns:
        The sum, the same in all processes and differentiable: after the gradients of a loss of
        sums are averaged over processes, they are those of the loss.
    """
    if _num_processes() == 1:
        return value
    # With R processes and v = v_1 + ... + v_R, process r is to add L'(v) dv_r/dw to the gradient
    # of the weights. all_reduce sums in the backward pass too, as if the loss were the sum of the
    # R equal ones: it hands R L'(v) to v_r, and averaging R L'(v) dv_r/dw over r takes the R away.
    # It is the same R by which a mean over the items of one process outweighs that over all.
    from torch.distributed.nn.functional import all_reduce  # not there in every build of torch

    return all_reduce(value)


def mean_over_processes(value: Tensor) -> Tensor:
    """Average what the processes of a training hold, in the way of `sum_over_processes`."""
    return sum_over_processes(value) / _num_processes()


def _num_processes() -> int:
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return 1
    return distributed.get_world_size()
