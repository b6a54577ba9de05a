"""The base class of adversarial criteria."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

# For every network of a discriminator: its inner features, then its score map.
Features = Sequence[Sequence[Tensor]]


class Criterion(ABC):
    """A loss of a discriminator's scores: high for real speech, low for generated speech.

    Subclasses are registered in `bcsim.losses.adversarial.CRITERIA`, take plain values in their
    constructor, every one with a default, and give the elementwise loss of one score map. Both
    losses are means over the score maps, then over the networks of the discriminator, so they do
    not depend on the length of the speech or the number of networks.
    """

    @abstractmethod
    def real_loss(self, scores: Tensor) -> Tensor:
        """Return the discriminator's elementwise loss of the scores of real speech."""

    @abstractmethod
    def fake_loss(self, scores: Tensor) -> Tensor:
        """Return the discriminator's elementwise loss of the scores of generated speech."""

    @abstractmethod
    def generated_loss(self, scores: Tensor) -> Tensor:
        """Return the generator's elementwise loss of the scores of its speech."""

    def discriminator_loss(self, real: Features, fake: Features) -> Tensor:
        """Return the loss of the discriminator, a scalar."""
        losses = [
            self.real_loss(real_network[-1]).mean() + self.fake_loss(fake_network[-1]).mean()
            for real_network, fake_network in zip(real, fake, strict=True)
        ]
        return torch.stack(losses).mean()

    def generator_loss(self, fake: Features) -> Tensor:
        """Return the adversarial loss of the generator, a scalar."""
        return torch.stack([self.generated_loss(network[-1]).mean() for network in fake]).mean()
