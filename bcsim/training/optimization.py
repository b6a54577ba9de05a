"""Objectives, optimizer and learning rate, made from their settings."""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from bcsim.errors import UsageError
from bcsim.losses import LOSSES
from bcsim.losses.base import Objective
from bcsim.training.config import OptimizerConfig, ScheduleConfig


class WeightedObjectives(nn.Module):
    """The losses of a run and their fixed weights.

    Args:
        specs: `{name: ..., weight: ..., parameter: value, ...}` each; a weight is 1 by default.
        sample_rate: given to losses that take one and are not told another.

    Raises:
        UsageError: for an unknown name or parameter, a weight that is not positive, or a loss
            that is listed twice.
    """

    def __init__(self, specs: Sequence[Mapping[str, Any]], sample_rate: int) -> None:
        super().__init__()
        self.objectives = nn.ModuleList()
        self.weights: list[float] = []
        names: list[str] = []
        for spec in specs:
            name, weight, objective = _build_objective(spec, sample_rate)
            if name in names:
                raise UsageError(f"losses: {name!r} is listed twice; give its weight once")
            names.append(name)
            self.weights.append(weight)
            self.objectives.append(objective)

    def forward(self, estimate: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum, and the terms before weighting.

        Args:
            estimate: (B, 1, T).
            target: (B, 1, T).
        """
        total = estimate.new_zeros(())
        terms: dict[str, Tensor] = {}
        for weight, objective in zip(self.weights, self.objectives, strict=True):
            assert isinstance(objective, Objective)
            found = objective.terms(estimate, target)
            total = total + weight * torch.stack(list(found.values())).sum()
            terms.update(found)
        return total, terms


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Return an optimizer of all weights that are not frozen."""
    optimizer_class = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.name]
    return optimizer_class(
        [weights for weights in model.parameters() if weights.requires_grad],
        lr=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
    )


def make_scheduler(
    optimizer: torch.optim.Optimizer, config: ScheduleConfig, num_steps: int
) -> LambdaLR:
    """Return a schedule that is to be advanced after every step."""
    return LambdaLR(optimizer, lambda step: learning_rate_ratio(config, step, num_steps))


def learning_rate_ratio(config: ScheduleConfig, step: int, num_steps: int) -> float:
    """Return the learning rate of a step over its peak.

    Args:
        config: the schedule.
        step: counted from 0.
        num_steps: of the run.

    Example:
        >>> cosine = ScheduleConfig(name="cosine", warmup_steps=2, final_ratio=0.0)
        >>> [round(learning_rate_ratio(cosine, step, 6), 3) for step in range(7)]
        [0.5, 1.0, 1.0, 0.854, 0.5, 0.146, 0.0]
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.name == "constant":
        return 1.0
    progress = (step - config.warmup_steps) / max(1, num_steps - config.warmup_steps)
    fall = (1 - math.cos(math.pi * min(1.0, progress))) / 2
    return 1 - (1 - config.final_ratio) * fall


def _build_objective(spec: Mapping[str, Any], sample_rate: int) -> tuple[str, float, Objective]:
    parameters = dict(spec)
    name, weight = parameters.pop("name", None), parameters.pop("weight", 1.0)
    if not isinstance(name, str):
        raise UsageError(f"losses: a loss is a mapping with a name, not {dict(spec)!r}")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight > 0:
        raise UsageError(f"loss {name!r}: weight is {weight!r}; it wants a number above 0")
    objective_class = LOSSES[name]
    if "sample_rate" in inspect.signature(objective_class).parameters:
        parameters.setdefault("sample_rate", sample_rate)
    try:
        return name, float(weight), objective_class(**parameters)
    except UsageError:
        raise
    except (TypeError, ValueError) as error:
        raise UsageError(f"loss {name!r}: {error}") from error
