"""The base class of discriminators."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

MAX_SCALES = 16  # of a discriminator that looks at speech at several rates
Features = list[list[Tensor]]  # of every network: its inner features, then its score map


class Discriminator(nn.Module, ABC):
    """A set of networks that each score a different representation of speech.

    Subclasses are registered in `bcsim.discriminators.DISCRIMINATORS` and take plain values in
    their constructor, every one with a default.
    """

    @abstractmethod
    def forward(self, speech: Tensor, bands: Tensor | None = None) -> Features:
        """Return the features and the score map of every network; scores are high for real speech.

        Args:
            speech: (B, 1, T).
            bands: (B, M, F), bands that a multi-band enhancer made the speech from, or None.
                Discriminators of bands take these, or else split the speech themselves.
        """
