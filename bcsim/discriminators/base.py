"""What a discriminator is."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

Features = list[list[Tensor]]  # of every network: its inner features, then its score map


class Discriminator(nn.Module, ABC):
    """A set of networks, each of which looks at speech in its own way and scores it.

    Subclasses are registered in `bcsim.discriminators.DISCRIMINATORS` and take plain values in
    their constructor, every one with a default.
    """

    @abstractmethod
    def forward(self, speech: Tensor, bands: Tensor | None = None) -> Features:
        """Look at speech.

        Args:
            speech: (B, 1, T).
            bands: (B, M, F), what a multi-band enhancer made the speech from. Discriminators of
                bands look at these; without them they split the speech themselves.

        Returns:
            For every network its inner features, first to last, and then its score map, which is
            high where the speech passes for air-conducted.
        """
