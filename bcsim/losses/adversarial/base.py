"""What a criterion of an adversarial training is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

# Of every network of a discriminator: its inner features, then its score map.
Features = Sequence[Sequence[Tensor]]


class Criterion(ABC):
    """What scores should be: high for air-conducted speech, low for an enhancer's.

    Subclasses are registered in `bcsim.losses.adversarial.CRITERIA`, take plain values in their
    constructor, every one with a default, and say what one score map costs. Maps count by their
    mean, and networks by the mean over them, so neither length nor number of networks weighs.
    """

    @abstractmethod
    def as_real(self, scores: Tensor) -> Tensor:
        """Return the discriminator's cost, elementwise, of scores of air-conducted speech."""

    @abstractmethod
    def as_fake(self, scores: Tensor) -> Tensor:
        """Return the discriminator's cost, elementwise, of scores of enhanced speech."""

    @abstractmethod
    def as_wished(self, scores: Tensor) -> Tensor:
        """Return the enhancer's cost, elementwise, of scores of enhanced speech."""

    def discriminator_loss(self, real: Features, fake: Features) -> Tensor:
        """Return what the discriminator makes small, a scalar."""
        costs = [
            self.as_real(ours[-1]).mean() + self.as_fake(theirs[-1]).mean()
            for ours, theirs in zip(real, fake, strict=True)
        ]
        return torch.stack(costs).mean()

    def enhancer_loss(self, fake: Features) -> Tensor:
        """Return what the enhancer makes small, a scalar."""
        return torch.stack([self.as_wished(network[-1]).mean() for network in fake]).mean()
