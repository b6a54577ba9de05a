"""Factors of the terms of an objective, from the gradient of each term at the enhancer's output.

These gradients cost no backward pass through the enhancer. Where a convention looks at the
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
        weights: weight of every term by name, as the recipe gives it.
        gradients: gradient of every unweighted term at the enhancer's outputs.
        at_last_layer: function from a gradient at the outputs to that of the last layer's weights,
            averaged over processes.
        item_norm: function from a gradient at the outputs to the mean norm of an item's gradient.
        share: fraction of a step's batch that the terms are of; averages move by that much.
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
    """A rule for how terms are weighed against each other."""

    needs_last_layer: ClassVar[bool] = True  # whether it looks at gradients of the last layer

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.averages: dict[str, Tensor] = {}  # moving averages by name, scalars

    @abstractmethod
    def factors(self, terms: Terms) -> dict[str, Tensor]:
        """Return the factor of every term's gradient, its weight included; scalars."""

    def remember(self, name: str, value: Tensor, share: float) -> Tensor:
        """Return the moving average of a number, this one included; it begins with the first."""
        decay = self.decay**share
        before = self.averages.get(name, value)
        self.averages[name] = decay * before + (1 - decay) * value
        return self.averages[name]


class GradientNorms(Balancer):
    r"""Every term has a gradient of equal norm at the last layer, as in Vibravox.

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

    multiplies the weighted adversarial term; :math:`g_{rec}` is the gradient of the weighted sum of
    the others. With `inverse`, as in EBEN's first version, the others are multiplied instead, by
    the moving average of :math:`\lVert g_{adv} \rVert / (\lVert g_{rec} \rVert + 10^{-4})`.
    """

    def __init__(self, decay: float, inverse: bool) -> None:
        super().__init__(decay)
        self.inverse = inverse

    def factors(self, terms: Terms) -> dict[str, Tensor]:
        names = list(terms.gradients)
        others = [name for name in names if name != ADVERSARIAL]
        output = terms.gradients[names[0]][0]
        factors = {name: output.new_full((), terms.weights[name]) for name in names}
        if ADVERSARIAL not in names or not others:
            return factors  # before the adversarial part begins
        adversarial = terms.at_last_layer(terms.gradients[ADVERSARIAL]).norm()
        rest = terms.at_last_layer(terms.summed(others)).norm()
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
    if config.name == "fixed":
        return None
    if config.name.endswith("last_layer_ratio"):
        return LastLayerRatio(config.decay, inverse=config.name.startswith("inverse"))
    return {"gradient_norms": GradientNorms, "output_norms": OutputNorms}[config.name](config.decay)
