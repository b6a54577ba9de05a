"""How much every term of an objective counts, judged by the gradients that they send.

A balancer is shown each term's gradient at the enhancer's output, which costs one way through
what the term is computed by, and never a way through the enhancer. Where a convention looks at the
enhancer's last layer, that layer's gradient follows from the one at the output.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bcsim.training.config import BalancingConfig

ADVERSARIAL = "adversarial"  # the term whose weight balances generator and discriminator
EPSILON, MAX_WEIGHT = 1e-4, 1e4

Gradient = Sequence[Tensor]  # with respect to the enhancer's outputs: speech, and bands if any


@dataclass(frozen=True)
class Terms:
    """The terms of a step's objective.

    Args:
        weights: of every term by name, as the recipe gives them.
        gradients: of every term, unweighted, at the enhancer's outputs.
        at_last_layer: what a gradient at the outputs makes at the enhancer's last layer, over the
            batches of all processes.
        item_norm: the norm of a gradient at the outputs for one item, averaged over all of them.
        share: what part of a step's batch this is; averages move by as much of a step.
    """

    weights: Mapping[str, float]
    gradients: Mapping[str, Gradient]
    at_last_layer: Callable[[Gradient], Tensor]
    item_norm: Callable[[Gradient], Tensor]
    share: float = 1.0

    def summed(self, names: Sequence[str]) -> Gradient:
        """Return the gradient of the weighted sum of some terms."""
        weighted = [[self.weights[name] * part for part in self.gradients[name]] for name in names]
        return [torch.stack(parts).sum(0) for parts in zip(*weighted, strict=True)]


class Balancer(ABC):
    """How terms are weighed against each other.

    Attributes:
        averages: what is remembered from step to step, by name, as scalars.
        needs_last_layer: whether the gradients there are looked at.
    """

    needs_last_layer: ClassVar[bool] = True

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.averages: dict[str, Tensor] = {}

    @abstractmethod
    def factors(self, terms: Terms) -> dict[str, Tensor]:
        """Return what every term's gradient is multiplied by, its weight included; scalars."""

    def remember(self, name: str, value: Tensor, share: float) -> Tensor:
        """Return the moving average of a number, this one included; it begins with the first."""
        decay = self.decay**share
        before = self.averages.get(name, value)
        self.averages[name] = decay * before + (1 - decay) * value
        return self.averages[name]


class GradientNorms(Balancer):
    r"""Every term pulls equally hard at the last layer, as in Vibravox.

    .. math:: \lambda_i = w_i \min(10^4, 1 / (\mathrm{EMA}\,\lVert g_i \rVert + 10^{-4}))
    """

    def factors(self, terms: Terms) -> dict[str, Tensor]:
        factors = {}
        for name, gradient in terms.gradients.items():
            norm = self.remember(name, terms.at_last_layer(gradient).norm(), terms.share)
            factors[name] = terms.weights[name] * (1 / (norm + EPSILON)).clamp(max=MAX_WEIGHT)
        return factors


class LastLayerRatio(Balancer):
    r"""The adversarial term is brought level with all others, as in VQGAN (arXiv 2012.09841).

    .. math:: \lambda = \min(10^4, \lVert g_{rec} \rVert / (\lVert g_{adv} \rVert + 10^{-4}))

    multiplies the adversarial term, and its weight on top; the others, each with its weight, make
    up :math:`g_{rec}`. No average is taken.

    Args:
        decay: of the moving average of the factor.
        inverse: whether, the other way round, the others are brought level with the adversarial
            term: :math:`\lVert g_{adv} \rVert / (\lVert g_{rec} \rVert + 10^{-4})` multiplies
            them, averaged from step to step, and the adversarial one keeps its weight. So did
            EBEN's first version.
    """

    def __init__(self, decay: float, inverse: bool) -> None:
        super().__init__(decay)
        self.inverse = inverse

    def factors(self, terms: Terms) -> dict[str, Tensor]:
        names = list(terms.gradients)
        others = [name for name in names if name != ADVERSARIAL]
        some = terms.gradients[names[0]][0]
        factors = {name: some.new_full((), terms.weights[name]) for name in names}
        if ADVERSARIAL not in names or not others:
            return factors  # before the adversarial part begins
        adversarial, rest = (
            terms.at_last_layer(gradient).norm()
            for gradient in (terms.gradients[ADVERSARIAL], terms.summed(others))
        )
        above, below = (adversarial, rest) if self.inverse else (rest, adversarial)
        ratio = (above / (below + EPSILON)).clamp(max=MAX_WEIGHT)
        if self.inverse:
            ratio = self.remember("ratio", ratio, terms.share).clamp(max=MAX_WEIGHT)
        for name in others if self.inverse else [ADVERSARIAL]:
            factors[name] = factors[name] * ratio
        return factors


class OutputNorms(Balancer):
    r"""Every term has its share of the gradient at the output, as in EnCodec (arXiv 2210.13438).

    .. math:: \lambda_i = \frac{w_i}{\sum_j w_j}\;
        \frac{1}{\mathrm{EMA}\,\overline{\lVert g_i \rVert_2} + 10^{-12}}

    with the norm of each item's gradient, averaged over the batch. The average is the debiased one
    of EnCodec: the mean of all values so far, older ones counting less.
    """

    needs_last_layer: ClassVar[bool] = False

    def factors(self, terms: Terms) -> dict[str, Tensor]:
        total = sum(terms.weights[name] for name in terms.gradients)
        factors = {}
        for name, gradient in terms.gradients.items():
            norm = self.remember(name, terms.item_norm(gradient), terms.share)
            factors[name] = terms.weights[name] / total / (norm + 1e-12)
        return factors

    def remember(self, name: str, value: Tensor, share: float) -> Tensor:
        decay = self.decay**share
        zero = torch.zeros_like(value)
        for key, new in ((f"{name}.sum", value), (f"{name}.count", torch.ones_like(value))):
            self.averages[key] = decay * self.averages.get(key, zero) + new
        return self.averages[f"{name}.sum"] / self.averages[f"{name}.count"]


def make_balancer(config: BalancingConfig) -> Balancer | None:
    """Return the balancer of a recipe, or None where the weights stay as they are given."""
    decay = config.decay
    match config.name:
        case "fixed":
            return None
        case "gradient_norms":
            return GradientNorms(decay)
        case "last_layer_ratio":
            return LastLayerRatio(decay, inverse=False)
        case "inverse_last_layer_ratio":
            return LastLayerRatio(decay, inverse=True)
        case "output_norms":
            return OutputNorms(decay)
