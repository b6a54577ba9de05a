"""The state of a run as checkpoints hold it; what comes from a file is checked."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from torch import Tensor, nn

from bcsim.errors import InputError
from bcsim.files.safetensors_file import check_shapes, check_values, shapes_of
from bcsim.files.text import shown
from bcsim.training.balancing import Balancer
from bcsim.training.checkpoint import (
    optimizer_tensors,
    restore_optimizer,
    with_prefix,
    without_prefix,
)

BALANCER = "balancer"
AtLeastOne = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_STRICT = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True)
class Best:
    """The step that the best weights so far are from, and their mean scores."""

    step: AtLeastOne
    value: float | None  # value of the deciding metric
    scores: dict[str, dict[str, dict[str, float | None]]]  # by split, kind and metric

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT


@dataclass(frozen=True)
class RunFacts:
    """What a checkpoint says of a run beside its tensors."""

    settings: dict[str, Any]  # those that the run was begun with
    sums: dict[str, tuple[float, AtLeastOne]]  # sum and number, by name
    best: Best | None
    metrics_sha256: str  # of the lines of `metrics.jsonl` up to this step
    torch_version: str
    trained_s: Seconds = 0.0  # counted where the run has a limit of time

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    @classmethod
    def from_json(cls, facts: Mapping[str, Any], where: Path) -> "RunFacts":
        """Return a checkpoint's facts, or raise an InputError naming the first that is wrong."""
        try:
            return _FACTS.validate_json(json.dumps(facts))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = shown(".".join(str(part) for part in first["loc"]))
            raise InputError(f"{where}: {key}: {first['msg']}; not the state of a run") from error


_FACTS = TypeAdapter(RunFacts)


@dataclass(frozen=True)
class RunState:
    """All tensors that change from step to step, by the names that a checkpoint has for them."""

    networks: Mapping[str, nn.Module]
    optimizers: Mapping[str, torch.optim.Optimizer]  # Adam or AdamW
    balancer: Balancer | None

    def weights(self) -> dict[str, Tensor]:
        """Return the weights of all networks, which share memory with them."""
        return {
            key: value
            for name, network in self.networks.items()
            for key, value in with_prefix(name, network.state_dict()).items()
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that a checkpoint holds."""
        named = self.weights()
        for name, optimizer in self.optimizers.items():
            named |= with_prefix(name, optimizer_tensors(optimizer))
        if self.balancer is not None:
            named |= with_prefix(BALANCER, self.balancer.averages)
        return named

    def restore(self, tensors: Mapping[str, Tensor], where: Path) -> None:
        """Restore the tensors of the checkpoint `where`; all are checked before any change.

        Raises:
            InputError: if the tensors are of other networks or optimizers; the first differences
                are listed.
        """
        weights = self.weights()
        averages = {} if self.balancer is None else without_prefix(BALANCER, tensors)
        # The moments of an optimizer exist once its weights have learnt: it checks them itself.
        growing = tuple(f"{name}." for name in self.optimizers)
        stored = {name: value for name, value in tensors.items() if not name.startswith(growing)}
        scalars = {f"{BALANCER}.{name}": [] for name in averages}
        check_shapes(where, shapes_of(weights) | scalars, shapes_of(stored))
        check_values(where, weights, tensors)
        try:
            for name, optimizer in self.optimizers.items():
                restore_optimizer(optimizer, without_prefix(name, tensors))
        except ValueError as error:
            raise InputError(f"{where}: {error}") from error
        for name, value in weights.items():
            value.copy_(tensors[name])
        if self.balancer is not None:
            device = next(iter(weights.values())).device
            self.balancer.averages = {n: v.float().to(device) for n, v in averages.items()}
