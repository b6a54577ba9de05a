"""The adversarial part of training: the discriminator, its optimizer and its losses."""

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
from bcsim.training.optimization import make_optimizer

FEATURE_MATCHING = "feature_matching"


class AdversarialObjective:
    """A discriminator on the accelerator's device, with its optimizer and criteria."""

    def __init__(self, config: AdversarialConfig, seed: int, accelerator: Any) -> None:
        self.config = config
        self.accelerator = accelerator
        discriminator = build_discriminator(config.discriminator, seed)
        self.discriminator = discriminator.to(accelerator.device)
        self.criterion = build(CRITERIA, config.criterion)
        self.feature_matching = (
            FeatureMatching(config.feature_matching) if config.feature_matching else None
        )
        self.optimizer = make_optimizer(self.discriminator, config.optimizer)  # may freeze some
        self.network: nn.Module = accelerator.prepare_model(_RealAndFake(self.discriminator))

    def learns_at(self, step: int) -> bool:
        """Tell whether the discriminator takes a step of its optimizer at `step`, from 0."""
        begun = step - self.config.discriminator_start_step
        return begun >= 0 and begun % self.config.enhancer_steps == 0

    def enhancer_learns_at(self, step: int) -> bool:
        """Tell whether the enhancer takes a step of its optimizer at `step`, counted from 0."""
        begun = step - self.config.start_step
        return begun < 0 or begun % self.config.discriminator_steps == 0

    def rate_ratio_at(self, step: int) -> float:
        """Return the enhancer's learning rate at `step`, from 0, over that of its schedule."""
        return self.config.enhancer_rate_ratio if self.is_active(step) else 1.0

    def is_active(self, step: int) -> bool:
        """Tell whether the adversarial loss is active at `step`, counted from 0."""
        return step >= self.config.start_step

    def generator_terms(self, real: Features, fake: Features) -> dict[str, Tensor]:
        """Return the generator's adversarial losses by name, without weights."""
        terms = {ADVERSARIAL: self.criterion.generator_loss(fake)}
        if self.feature_matching is not None:
            terms[FEATURE_MATCHING] = self.feature_matching(real, fake)
        return terms

    @property
    def weights(self) -> dict[str, float]:
        """Weights of `generator_terms` among the generator's losses."""
        return {
            ADVERSARIAL: self.config.weight,
            FEATURE_MATCHING: self.config.feature_matching_weight,
        }

    def backward(self, real: Features, fake: Features, share: float) -> Tensor:
        """Add `share` times the gradient of the discriminator's loss; return the loss.

        No gradient flows to the generated speech itself.
        """
        loss = self.criterion.discriminator_loss(real, fake)
        weights = [w for w in self.discriminator.parameters() if w.requires_grad]
        # Of the weights alone: the gradient at the generator's output is not needed.
        self.accelerator.backward(share * loss, inputs=weights)
        return loss.detach()


class _RealAndFake(nn.Module):
    """Features of real and fake speech in one call, so that processes exchange gradients once."""

    def __init__(self, discriminator: Discriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(
        self, real: Tensor, fake: Tensor, bands: Tensor | None
    ) -> tuple[Features, Features]:
        # Two passes rather than one of twice the batch: the generator's gradients flow through the
        # second alone. Weights under a weight norm are computed once for both.
        with cached():
            return self.discriminator(real), self.discriminator(fake, bands)
