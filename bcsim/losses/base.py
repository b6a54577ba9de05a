"""What an objective is."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Objective(nn.Module, ABC):
    """Something about an estimate that training makes small.

    Subclasses are registered in `bcsim.losses.LOSSES` and take plain values in their constructor,
    every one with a default. They are modules so that windows and filters move with them.
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
