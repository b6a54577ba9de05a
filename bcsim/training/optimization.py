"""Objectives, optimizers and learning rates, made from their settings."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from bcsim.errors import UsageError, did_you_mean
from bcsim.losses import LOSSES
from bcsim.losses.base import Objective
from bcsim.registry import build
from bcsim.training.config import OptimizerConfig, ScheduleConfig


class WeightedObjectives(nn.Module):
    """The losses of a run and their weights, of which each is 1 unless its spec gives one.

    Raises:
        UsageError: for an unknown name or parameter, a weight that is not positive, or a loss
            that is listed twice.
    """

    def __init__(self, specs: Sequence[Mapping[str, Any]], sample_rate: int) -> None:
        super().__init__()
        self.objectives = nn.ModuleList()
        self.objective_weights: list[float] = []
        names: list[str] = []
        for spec in specs:
            parameters = dict(spec)
            name, weight = parameters.get("name"), parameters.pop("weight", 1.0)
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight > 0:
                raise UsageError(f"loss {name!r}: weight is {weight!r}; it wants a number above 0")
            objective = build(LOSSES, parameters, "losses", sample_rate=sample_rate)
            if name in names:
                raise UsageError(f"losses: {name!r} is listed twice; give its weight once")
            names.append(str(name))
            self.objective_weights.append(float(weight))
            self.objectives.append(objective)

    def forward(
        self, estimate: Tensor, target: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Return the unweighted terms and their weights by name, for two signals (B, 1, T)."""
        terms, weights = {}, {}
        for weight, objective in zip(self.objective_weights, self.objectives, strict=True):
            assert isinstance(objective, Objective)
            found = objective.terms(estimate, target)
            terms |= found
            weights |= dict.fromkeys(found, weight)
        return terms, weights


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Return an optimizer of all weights but those that `config.layers` freezes (rate 0).

    Raises:
        UsageError: if a name in `layers` is the start of no weight's, or nothing is left to learn.
    """
    by_ratio: dict[float, list[nn.Parameter]] = {}
    used = set()
    for name, weights in model.named_parameters():
        starts = [start for start in config.layers if f"{name}.".startswith(f"{start}.")]
        used.update(starts)
        ratio = config.layers[max(starts, key=len)] if starts else 1.0
        if ratio == 0:
            weights.requires_grad_(False)
        if weights.requires_grad:
            by_ratio.setdefault(ratio, []).append(weights)
    unused = [start for start in config.layers if start not in used]
    if unused:
        known = sorted({name.split(".")[0] for name, _ in model.named_parameters()})
        raise UsageError(
            f"optimizer.layers: no weight is called {unused[0]!r}{did_you_mean(unused[0], known)}"
        )
    if not by_ratio:
        raise UsageError("optimizer.layers freezes every weight; leave something to learn")
    optimizer_class = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.name]
    rate = config.learning_rate
    return optimizer_class(
        [{"params": weights, "initial_lr": r * rate} for r, weights in by_ratio.items()],
        lr=rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
        fused=True,  # one pass over the weights instead of a dozen
    )


def clip_gradients(module: nn.Module, max_norm: float | None) -> Tensor:
    """Return the norm of the gradient over all weights, and scale it down to `max_norm`."""
    weights = [w for w in module.parameters() if w.grad is not None]
    norm = get_total_norm([w.grad for w in weights if w.grad is not None])
    if max_norm is not None:
        clip_grads_with_norm_(weights, max_norm, norm)
    return norm


def set_learning_rate(
    optimizer: torch.optim.Optimizer,
    config: ScheduleConfig,
    step: int,
    num_steps: int,
    time_fraction: float = 0.0,
    *,
    ratio: float = 1.0,
) -> None:
    """Give an optimizer the learning rates of a step.

    Args:
        optimizer: optimizer whose groups know their `initial_lr`.
        config: learning rate over the steps.
        step: number of the step, from 0.
        num_steps: number of steps of the run.
        time_fraction: part of the run's limit of time that is used up, 0 to 1.
        ratio: learning rate of this step relative to the schedule's.

    Not torch's LambdaLR, which counts the optimizer's own steps: a discriminator may start late,
    and take fewer.
    """
    for group in optimizer.param_groups:
        scheduled = group["initial_lr"] * _learning_rate_ratio(
            config, step, num_steps, time_fraction
        )
        group["lr"] = ratio * scheduled


def _learning_rate_ratio(
    config: ScheduleConfig, step: int, num_steps: int, time_fraction: float = 0.0
) -> float:
    """Return the learning rate of a step, counted from 0, over its peak.

    Example:
        >>> cosine = ScheduleConfig(name="cosine", warmup_steps=2, final_ratio=0.0)
        >>> [round(_learning_rate_ratio(cosine, step, 6), 3) for step in range(7)]
        [0.5, 1.0, 1.0, 0.854, 0.5, 0.146, 0.0]
        >>> round(_learning_rate_ratio(cosine, 3, 6, time_fraction=0.75), 3)
        0.146
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.name == "constant":
        return 1.0
    progress = (step - config.warmup_steps) / max(1, num_steps - config.warmup_steps)
    fall = (1 - math.cos(math.pi * min(1.0, max(progress, time_fraction)))) / 2
    return 1 - (1 - config.final_ratio) * fall
