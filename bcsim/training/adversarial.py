"""The other player: a discriminator, what it wants, and how it learns."""

from typing import Any

from torch import Tensor, nn
from torch.nn.utils.parametrize import cached

from bcsim.discriminators.base import Discriminator, Features
from bcsim.discriminators.storage import build_discriminator
from bcsim.losses.adversarial import CRITERIA
from bcsim.losses.adversarial.feature_matching import FeatureMatching
from bcsim.registry import build
from bcsim.training.balancing import ADVERSARIAL
from bcsim.training.config import AdversarialConfig
from bcsim.training.optimization import clip_gradients, make_optimizer

FEATURE_MATCHING = "feature_matching"


class AdversarialObjective:
    """A discriminator with its optimizer and criteria.

    Args:
        config: the `adversarial` part of a recipe.
        seed: of the run.
        accelerator: the process's, which carries the discriminator to its device.

    Raises:
        UsageError: for an unknown name or parameter.
    """

    def __init__(
        self,
        config: AdversarialConfig,
        seed: int,
        accelerator: Any,
    ) -> None:
        self.config = config
        self.accelerator = accelerator
        discriminator = build_discriminator(config.discriminator, seed)
        self.discriminator = discriminator.to(accelerator.device)
        self.criterion = build(CRITERIA, config.criterion, "adversarial")
        self.feature_matching = (
            FeatureMatching(config.feature_matching) if config.feature_matching else None
        )
        self.optimizer = make_optimizer(self.discriminator, config.optimizer)  # may freeze some
        self.network: nn.Module = accelerator.prepare_model(_BothSides(self.discriminator))

    def learns_at(self, step: int) -> bool:
        """Tell whether the discriminator takes a step, counted from 0."""
        begun = step - self.config.discriminator_start_step
        return begun >= 0 and begun % self.config.enhancer_steps == 0

    def is_heard_at(self, step: int) -> bool:
        """Tell whether the enhancer listens at a step, counted from 0."""
        return step >= self.config.start_step

    def features(
        self, real: Tensor, fake: Tensor, bands: Tensor | None
    ) -> tuple[Features, Features]:
        """Return what the discriminator makes of both sides, for both players' use.

        Args:
            real: (B, 1, T), air-conducted speech.
            fake: (B, 1, T), the enhancer's.
            bands: (B, M, F), what the latter was made from, if it was.
        """
        return self.network(real, fake, bands)

    def enhancer_terms(self, real: Features, fake: Features) -> dict[str, Tensor]:
        """Return what the enhancer is to make small, by name."""
        terms = {ADVERSARIAL: self.criterion.enhancer_loss(fake)}
        if self.feature_matching is not None:
            terms[FEATURE_MATCHING] = self.feature_matching(real, fake)
        return terms

    @property
    def weights(self) -> dict[str, float]:
        """The weights of `enhancer_terms` among the enhancer's losses."""
        return {
            ADVERSARIAL: self.config.weight,
            FEATURE_MATCHING: self.config.feature_matching_weight,
        }

    def backward(self, real: Features, fake: Features, share: float) -> Tensor:
        """Add the gradient of the discriminator's loss to its weights; return the loss.

        Args:
            real: as `features` returned it.
            fake: likewise; the gradient stops at the discriminator's input.
            share: part of the batch that this is.
        """
        loss = self.criterion.discriminator_loss(real, fake)
        weights = [w for w in self.discriminator.parameters() if w.requires_grad]
        # Of the weights alone: what the enhancer's speech would get is not asked for.
        self.accelerator.backward(share * loss, inputs=weights)
        return loss.detach()

    def clip(self) -> Tensor:
        """Return the length of the gradient, and shorten it as the recipe says."""
        return clip_gradients(self.discriminator, self.config.gradient_clip_norm)

    def step(self) -> None:
        """Change the weights by their gradient, at the optimizer's learning rate."""
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


class _BothSides(nn.Module):
    """One call for both sides, so that processes exchange their gradients once."""

    def __init__(self, discriminator: Discriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(
        self, real: Tensor, fake: Tensor, bands: Tensor | None
    ) -> tuple[Features, Features]:
        # Two passes rather than one of twice the batch: the enhancer's gradients go through the
        # second alone. The weights behind a weight norm are worked out once for both.
        with cached():
            return self.discriminator(real), self.discriminator(fake, bands)
