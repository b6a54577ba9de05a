"""One step's gradients, for generator and discriminator, from one forward pass of every network.

The losses are computed from a detached copy of the enhancer's output: the gradient of each loss is
taken at that copy, from which its gradient at the last layer follows; the weighted sum of these
gradients goes back through the enhancer once. The discriminator's features of real and generated
speech serve the losses of both networks.
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
    """Computes the gradients of a batch; without a balancer, losses have fixed weights."""

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
        """Add the gradients of a batch, or of a part of one, to enhancer and discriminator.

        A network that does not learn at this step gets none.

        Args:
            signals: input of the enhancer, (B, C, T), T a valid length.
            target: clean speech, (B, 1, T).
            step: number of the step, from 0.
            share: fraction of the whole batch that this part is.

        Returns:
            Losses by name, scalars without weights; `loss`, their weighted sum; and the weights as
            `balancing_NAME`, where they are not fixed. The last two only where the enhancer learns.
        """
        enhancer_learns = self.adversarial is None or self.adversarial.enhancer_learns_at(step)
        with nullcontext() if enhancer_learns else torch.no_grad():
            outputs = [output for output in self.network(signals) if output is not None]
        detached = [output.detach().requires_grad_() for output in outputs]
        terms, weights = self.objectives(detached[0], target)
        adversarial, features = self.adversarial, None
        learns = adversarial is not None and adversarial.learns_at(step)
        if adversarial is not None and (learns or adversarial.is_active(step)):
            # Without a backward pass to come, processes must not prepare for one.
            with self.accelerator.no_sync(adversarial.network) if not learns else nullcontext():
                bands = detached[1] if len(detached) > 1 else None
                features = adversarial.network(target, detached[0], bands)
            if adversarial.is_active(step):
                terms |= adversarial.generator_terms(*features)
                weights |= adversarial.weights
        values: dict[str, Tensor] = {}
        if enhancer_learns:
            values, gradient = self._at_output(
                terms, weights, outputs, detached, share, keep=learns
            )
            torch.autograd.backward(outputs, [share * part for part in gradient])
        values |= {name: term.detach() for name, term in terms.items()}
        if learns:
            assert adversarial is not None
            assert features is not None
            values["discriminator"] = adversarial.backward(features[0], features[1], share)
        return values

    def _at_output(
        self,
        terms: dict[str, Tensor],
        weights: dict[str, float],
        outputs: Sequence[Tensor],
        detached: Sequence[Tensor],
        share: float,
        keep: bool,
    ) -> tuple[dict[str, Tensor], Gradient]:
        """Return the weighted sum of the terms, as `loss`, and its gradient at the outputs.

        The graph of the terms is freed, unless `keep` is set because the discriminator needs it.
        """
        if self.balancer is None:
            total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
            return {"loss": total.detach()}, _gradient(total, detached, keep)

        def at_last_layer(gradient: Gradient) -> Tensor:
            (found,) = torch.autograd.grad(
                outputs, [self.model.last_layer], list(gradient), retain_graph=True
            )
            return self.accelerator.reduce(found, reduction="mean")

        def item_norm(gradient: Gradient) -> Tensor:
            squares = torch.stack([part.square().flatten(1).sum(1) for part in gradient])
            norm = self.accelerator.reduce(squares.sum(0).sqrt().mean(), reduction="mean")
            # The loss is a mean over the whole batch, of which this is one part of several.
            return norm * share / self.accelerator.num_processes

        last = next(reversed(terms))
        gradients = {n: _gradient(term, detached, keep or n != last) for n, term in terms.items()}
        used = {name: weights[name] for name in terms}
        factors = self.balancer.factors(Terms(used, gradients, at_last_layer, item_norm, share))
        total = torch.stack([factors[name] * term.detach() for name, term in terms.items()]).sum()
        summed = [torch.zeros_like(part) for part in detached]
        for name, gradient in gradients.items():
            for part, added in zip(summed, gradient, strict=True):
                part.addcmul_(factors[name], added)
        return {"loss": total, **{f"balancing_{n}": f for n, f in factors.items()}}, summed


class _Outputs(nn.Module):
    """The enhancer, called so that it returns the bands of its output too."""

    def __init__(self, model: Enhancer) -> None:
        super().__init__()
        self.model = model

    def forward(self, signals: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.model.forward_with_bands(signals)


def _gradient(value: Tensor, detached: Sequence[Tensor], keep: bool) -> list[Tensor]:
    """Return the gradient of a scalar at the outputs, zero where it does not depend on one."""
    return list(
        torch.autograd.grad(
            value, list(detached), retain_graph=keep, allow_unused=True, materialize_grads=True
        )
    )
