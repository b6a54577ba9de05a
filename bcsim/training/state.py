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
_STRICT = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True)
class Best:
    """The best weights so far.

    Args:
        step: step that the weights are from.
        value: value of the metric that decides.
        scores: mean scores of the weights, `scores[split][kind][metric]`.
    """

    step: AtLeastOne
    value: float | None
    scores: dict[str, dict[str, dict[str, float | None]]]

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT


@dataclass(frozen=True)
class RunFacts:
    """What a checkpoint says of a run beside its tensors.

    Args:
        settings: settings that the run was begun with.
        sums: sum and number of the values since the last line of metrics, by name.
        best: the best weights so far, or None.
        metrics_sha256: SHA-256 of the lines of `metrics.jsonl` up to this step.
        torch_version: version of torch that took the steps.
    """

    settings: dict[str, Any]
    sums: dict[str, tuple[float, AtLeastOne]]
    best: Best | None
    metrics_sha256: str
    torch_version: str

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    @classmethod
    def from_json(cls, facts: Mapping[str, Any], where: Path) -> "RunFacts":
        """Return the facts of the checkpoint called `where`.

        Raises:
            InputError: naming the first thing that is missing, unknown or of another type.
        """
        try:
            return _FACTS.validate_json(json.dumps(facts))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = shown(".".join(str(part) for part in first["loc"]))
            raise InputError(f"{where}: {key}: {first['msg']}; not the state of a run") from error


_FACTS = TypeAdapter(RunFacts)


@dataclass(frozen=True)
class RunState:
    """All tensors that change from step to step.

    Args:
        networks: networks by the name that their weights have in a checkpoint.
        optimizers: Adam or AdamW optimizers by the name that their moments have in a checkpoint.
        balancer: balancer of the losses, or None.
    """

    networks: Mapping[str, nn.Module]
    optimizers: Mapping[str, torch.optim.Optimizer]
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
