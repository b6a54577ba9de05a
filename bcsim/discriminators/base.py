"""What a discriminator is."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Discriminator(nn.Module, ABC):
    """A set of networks, each of which looks at speech in its own way and scores it.

    Subclasses are registered in `bcsim.discriminators.DISCRIMINATORS`. None is here yet; the
    contract is, because the objectives are shaped by it.
    """

    @abstractmethod
    def forward(self, speech: Tensor) -> list[list[Tensor]]:
        """Look at speech.

        Args:
            speech: (B, 1, T).

        Returns:
            For every network its inner features, first to last, and then its score map, which is
            high where the speech passes for air-conducted.
        """
