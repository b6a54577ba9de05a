"""One step's gradients, for both players, from one run of every network.

The public form of EBEN's step runs the discriminator four times, and goes back through it and the
enhancer once for every loss whose gradient it wants to see. Here the enhancer's output is cut off
from what made it: each loss is followed back to the cut, which also tells what it would do to the
last layer; the weighted sum of what arrives there goes through the enhancer once. What the
discriminator made of either side serves both players, since neither has moved yet.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from bcsim.models.base import Enhancer
from bcsim.training.adversarial import AdversarialObjective
from bcsim.training.balancing import Balancer, Gradient, Terms
from bcsim.training.optimization import WeightedObjectives


class Gradients:
    """Computes the gradients of a batch.

    Args:
        model: the enhancer, on its device.
        objectives: its losses apart from the adversarial ones.
        adversarial: the other player, or None.
        balancer: how the losses are weighed, or None for fixed weights.
        accelerator: the process's.
    """

    def __init__(
        self,
        model: Enhancer,
        objectives: WeightedObjectives,
        adversarial: AdversarialObjective | None,
        balancer: Balancer | None,
        accelerator: Any,
    ) -> None:
        self.model = model
        self.network: nn.Module = accelerator.prepare_model(_Outputs(model))
        self.objectives = objectives
        self.adversarial = adversarial
        self.balancer = balancer
        self.accelerator = accelerator

    def add(
        self, signals: Tensor, target: Tensor, step: int, share: float = 1.0
    ) -> dict[str, Tensor]:
        """Add the gradients of a batch, or of a part of one, to the weights of both players.

        Args:
            signals: (B, C, T), the enhancer's input, T a valid length.
            target: (B, 1, T).
            step: counted from 0.
            share: what part of the batch this is.

        Returns:
            The losses by name, without weights, scalars; `loss`, which is their weighted sum; and
            those weights as `balancing_NAME`, where they are not fixed.
        """
        outputs = [output for output in self.network(signals) if output is not None]
        cut = [output.detach().requires_grad_() for output in outputs]
        terms, weights = self.objectives(cut[0], target)
        adversarial, sides = self.adversarial, None
        learns = adversarial is not None and adversarial.learns_at(step)
        if adversarial is not None and (learns or adversarial.is_heard_at(step)):
            # Without a backward pass to come, processes must not prepare for one.
            with self.accelerator.no_sync(adversarial.network) if not learns else nullcontext():
                sides = adversarial.features(target, cut[0], cut[1] if len(cut) > 1 else None)
            if adversarial.is_heard_at(step):
                terms |= adversarial.enhancer_terms(*sides)
                weights |= adversarial.weights
        values, gradient = self._at_output(terms, weights, outputs, cut, share, keep=learns)
        torch.autograd.backward(outputs, [share * part for part in gradient])
        values |= {name: term.detach() for name, term in terms.items()}
        if learns:
            assert adversarial is not None
            assert sides is not None
            values["discriminator"] = adversarial.backward(*sides, share)
        return values

    def _at_output(
        self,
        terms: dict[str, Tensor],
        weights: dict[str, float],
        outputs: Sequence[Tensor],
        cut: Sequence[Tensor],
        share: float,
        keep: bool,
    ) -> tuple[dict[str, Tensor], Gradient]:
        """Return the weighted sum of the terms, as `loss`, and its gradient at the cut.

        What the terms were computed by is freed, unless the discriminator is to keep it.
        """
        if self.balancer is None:
            total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
            return {"loss": total.detach()}, _gradient(total, cut, keep)

        def at_last_layer(gradient: Gradient) -> Tensor:
            (found,) = torch.autograd.grad(
                outputs, [self.model.last_layer], list(gradient), retain_graph=True
            )
            return self.accelerator.reduce(found, reduction="mean")

        def item_norm(gradient: Gradient) -> Tensor:
            squares = torch.stack([part.square().flatten(1).sum(1) for part in gradient])
            norm = self.accelerator.reduce(squares.sum(0).sqrt().mean(), reduction="mean")
            # An item's part in a mean over the whole batch's items is that much smaller.
            return norm * share / self.accelerator.num_processes

        last = next(reversed(terms))
        gradients = {n: _gradient(term, cut, keep or n != last) for n, term in terms.items()}
        used = {name: weights[name] for name in terms}
        factors = self.balancer.factors(Terms(used, gradients, at_last_layer, item_norm, share))
        total = torch.stack([factors[name] * term.detach() for name, term in terms.items()]).sum()
        summed = [torch.zeros_like(part) for part in cut]
        for name, gradient in gradients.items():
            for part, added in zip(summed, gradient, strict=True):
                part.addcmul_(factors[name], added)
        return {"loss": total, **{f"balancing_{n}": f for n, f in factors.items()}}, summed


class _Outputs(nn.Module):
    """The enhancer, called so that it tells the bands of what it returns."""

    def __init__(self, model: Enhancer) -> None:
        super().__init__()
        self.model = model

    def forward(self, signals: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.model.forward_with_bands(signals)


def _gradient(value: Tensor, cut: Sequence[Tensor], keep: bool) -> list[Tensor]:
    """Return the gradient of a scalar, zero where it does not depend on a part."""
    return list(
        torch.autograd.grad(
            value, list(cut), retain_graph=keep, allow_unused=True, materialize_grads=True
        )
    )
