"""What an objective is, and how one sees the batches of all processes."""

from abc import ABC, abstractmethod

import torch
import torch.distributed
from torch import Tensor, nn

from bcsim.dsp.signals import check_samples


class Objective(nn.Module, ABC):
    """A loss: called as `loss(estimate, target)`, it returns a scalar.

    Subclasses are registered in `bcsim.losses.LOSSES`, take plain values in their constructor,
    every one with a default, and define `terms`. They are modules so that windows and filters move
    with them.

    Several processes train on the average of their gradients. A mean over items needs nothing for
    that; a loss that is no such mean, such as a ratio of sums over the batch, takes its sums with
    `sum_over_processes`, and is then computed by all processes or by none.
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self, estimate: Tensor, target: Tensor) -> Tensor:
        """Return the loss, the sum of its terms, as a scalar.

        Args:
            estimate: (B, T) or (B, 1, T), output of the enhancer.
            target: wanted signals, of the same shape; no gradient goes there.

        Raises:
            ValueError: for other shapes, or signals that are empty, not finite, or neither float32
                nor float64.
        """
        shape = tuple(estimate.shape)
        if target.shape != estimate.shape or not (len(shape) == 2 or shape[1:-1] == (1,)):
            raise ValueError(
                f"a loss was given estimates {shape} and targets {tuple(target.shape)}; it wants "
                "(B, T) or (B, 1, T), both alike"
            )
        check_samples(estimate, "estimate")
        check_samples(target, "target")
        if estimate.ndim == 2:
            estimate, target = estimate[:, None], target[:, None]
        return torch.stack(list(self.terms(estimate, target).values())).sum()

    @abstractmethod
    def terms(self, estimate: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the parts of the loss of (B, 1, T) as `forward` does their sum.

        Returns:
            The terms by name, scalars that are at least 0 and are 0 where the two signals are the
            same. The trainer weighs and adds them up; parts that are to be balanced against each
            other are terms of their own.
        """


def sum_over_processes(value: Tensor) -> Tensor:
    """Add up the values of all processes of a training; a single process gets its value back.

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
    """Average the values of all processes of a training; see `sum_over_processes`."""
    return sum_over_processes(value) / _num_processes()


def _num_processes() -> int:
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return 1
    return distributed.get_world_size()
