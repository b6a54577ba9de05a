"""The steps of a training run: the networks, and what one batch changes in them.

Everything random about a step is a function of the run's seed and the step's number, so a run
that was stopped at any moment and resumed ends with the same weights, bit for bit on the same CPU,
as one that was not. Files are written by `bcsim.training.run`.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from bcsim.dsp.randomness import torch_stream
from bcsim.errors import DivergedError, UsageError, one_line
from bcsim.files.text import shown
from bcsim.models.storage import AIR_TO_BONE
from bcsim.training.adversarial import AdversarialObjective
from bcsim.training.balancing import make_balancer
from bcsim.training.batches import Batch, Batches
from bcsim.training.config import TrainingConfig
from bcsim.training.data import TrainingData
from bcsim.training.networks import Networks, build_model
from bcsim.training.optimization import (
    WeightedObjectives,
    clip_gradients,
    make_optimizer,
    set_learning_rate,
)
from bcsim.training.processes import compile_blocks, make_accelerator
from bcsim.training.state import RunState
from bcsim.training.step import Gradients

MAX_NAMED = 3  # items of a batch that a message names


class Trainer:
    """The networks of a run with all that changes from step to step.

    Args:
        config: all settings of the run.
        data: all pairs of the run.

    Attributes:
        step: number of steps done.
        time_fraction: part of the run's limit of time that is used up, 0 to 1.
        sums: sum and number of the values since they were last cleared, by name.

    Raises:
        UsageError: if the settings make no sense for these pairs.
    """

    def __init__(self, config: TrainingConfig, data: TrainingData) -> None:
        loop = config.training
        self.config = config
        self.accelerator = make_accelerator(loop)
        self.device: torch.device = self.accelerator.device
        self.rank: int = self.accelerator.process_index
        self.world_size: int = self.accelerator.num_processes
        self.model = build_model(config).to(self.device)
        self.data = data.for_network(self.model.channels, config.direction == AIR_TO_BONE)
        self.batches = self._make_batches()
        self.optimizer = make_optimizer(self.model, config.optimizer)
        networks: dict[str, nn.Module] = {"model": self.model}  # by their names in checkpoints
        optimizers = {"optimizer": self.optimizer}
        average = discriminator = self.adversarial = None
        if loop.ema_decay is not None:
            average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(loop.ema_decay))
            networks["average"] = average
        if config.adversarial is not None:
            adversarial = AdversarialObjective(config.adversarial, config.seed, self.accelerator)
            discriminator, self.adversarial = adversarial.discriminator, adversarial
            networks["adversarial.weights"] = discriminator
            optimizers["adversarial.optimizer"] = adversarial.optimizer
        self.networks = Networks(config, self.model, average, discriminator)
        self.balancer = make_balancer(config.balancing)
        objectives = WeightedObjectives(config.losses, config.sample_rate).to(self.device)
        networks["losses"] = objectives  # most have nothing that changes, and so no tensors
        self.state = RunState(networks, optimizers, self.balancer)
        self.gradients = Gradients(
            self.model, objectives, self.adversarial, self.balancer, self.accelerator
        )
        if loop.compile:
            compile_blocks(self.model)
        self._check_networks()
        self.step, self.time_fraction = 0, 0.0
        self.sums: dict[str, tuple[float, int]] = {}

    def _make_batches(self) -> Batches:
        config, data = self.config, self.data
        for pairs in data.sets.values():
            if pairs.sample_rate != config.sample_rate:
                raise UsageError(
                    f"the pairs are {pairs.sample_rate} Hz, the recipe wants "
                    f"{config.sample_rate}; set sample_rate, or make the pairs again"
                )
        crop_samples = self.model.valid_length(round(config.data.crop_s * config.sample_rate))
        try:
            return Batches(
                data.training,
                config.data,
                crop_samples=crop_samples,
                seed=config.seed,
                num_steps=config.training.num_steps,
                real=data.sets.get("real"),
                rank=self.rank,
                world_size=self.world_size,
            )
        except ValueError as error:
            raise UsageError(str(error)) from error

    @torch.no_grad()
    def _check_networks(self) -> None:
        """Raise before the first step what would end it."""
        balances_there = self.balancer is not None and self.balancer.needs_last_layer
        if balances_there and not self.model.last_layer.requires_grad:
            raise UsageError(
                "optimizer.layers freezes the last layer, at which losses are balanced; use "
                "balancing.name=fixed or output_norms"
            )
        num_channels = len(self.model.channels)
        silence = torch.zeros(1, num_channels, self.batches.crop_samples, device=self.device)
        self.model.eval()
        try:
            speech, bands = self.model.forward_with_bands(silence)
            if self.adversarial is not None:
                self.adversarial.discriminator.eval()(speech, bands)
                self.adversarial.discriminator.train()
        except (ValueError, RuntimeError) as error:
            raise UsageError(
                f"crops of {self.config.data.crop_s} s do not go through the networks: "
                f"{one_line(error)}"
            ) from error

    def fit_statistics(self) -> None:
        """Have the network measure the statistics that it keeps, the same in all processes.

        Raises:
            DivergedError: naming the items, if the first pairs have samples that are not finite.
        """
        if self.model.num_statistics_pairs == 0:
            return
        whole = replace(self.batches, rank=0, world_size=1)
        num_batches = math.ceil(self.model.num_statistics_pairs / self.config.data.batch_size)
        self.model.fit_statistics(self._finite(whole.at(step)) for step in range(num_batches))
        self.networks.enhancer.load_state_dict(self.model.state_dict())

    def _finite(self, batch: Batch) -> tuple[Tensor, Tensor]:
        broken = _broken_items(batch)
        if broken:
            told = "samples that are NaN or infinite; repair these items or leave them out"
            raise DivergedError(f"{_named(broken)}: {told}")
        return batch.signals.to(self.device), batch.target.to(self.device)

    def take_step(self, batch: Batch) -> None:
        """Change the weights by the gradients of a batch.

        Raises:
            DivergedError: if a loss or gradient is not finite; no weight has changed then, and
                `sums` holds the values of this step alone.
        """
        config = self.config.training
        values = self._add_gradients(batch)
        adversarial = self.adversarial
        enhancer_learns = adversarial is None or adversarial.enhancer_learns_at(self.step)
        if enhancer_learns:
            values["gradient_norm"] = clip_gradients(self.model, config.gradient_clip_norm)
        learns = adversarial is not None and adversarial.learns_at(self.step)
        if learns:
            assert adversarial is not None
            values["discriminator_gradient_norm"] = clip_gradients(
                adversarial.discriminator, adversarial.config.gradient_clip_norm
            )
        # The one moment of a step at which the processor waits for the device.
        stacked = torch.stack([value.detach().float() for value in values.values()])
        means = self.accelerator.reduce(stacked, reduction="mean").tolist()
        numbers: dict[str, float] = dict(zip(values, means, strict=True))
        if not all(math.isfinite(number) for number in means):
            self.sums = {name: (number, 1) for name, number in numbers.items()}
            raise DivergedError(self._divergence(batch, numbers))
        schedule = (self.config.schedule, self.step, config.num_steps, self.time_fraction)
        if enhancer_learns:
            ratio = 1.0 if adversarial is None else adversarial.rate_ratio_at(self.step)
            set_learning_rate(self.optimizer, *schedule, ratio=ratio)
            numbers["learning_rate"] = self.optimizer.param_groups[0]["lr"]
            self.optimizer.step()
        if learns:
            assert adversarial is not None
            set_learning_rate(adversarial.optimizer, *schedule)
            adversarial.optimizer.step()
            adversarial.optimizer.zero_grad(set_to_none=True)
        if enhancer_learns and self.networks.average is not None:
            self.networks.average.update_parameters(self.model)
        self.step += 1
        for name, number in numbers.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = (total + number, count + 1)

    def _add_gradients(self, batch: Batch) -> dict[str, Tensor]:
        """Add the gradients of a batch to the weights; return the losses by name, scalars."""
        num_parts = self.config.training.accumulation
        self.model.train()
        signals = batch.signals.to(self.device, non_blocking=True).chunk(num_parts)
        targets = batch.target.to(self.device, non_blocking=True).chunk(num_parts)
        self.optimizer.zero_grad(set_to_none=True)
        values: dict[str, Tensor] = {}
        # A network with dropout draws in here; nothing else does.
        with torch_stream(self.config.seed, "step", self.step, self.rank, device=self.device):
            for number, part in enumerate(zip(signals, targets, strict=True), start=1):
                # Processes exchange gradients once, with the last part of the batch.
                with self._no_exchange() if number < num_parts else nullcontext():
                    added = self.gradients.add(*part, self.step, 1 / num_parts)
                for name, value in added.items():
                    values[name] = values.get(name, 0) + value.float() / num_parts
        return values

    @contextmanager
    def _no_exchange(self) -> Iterator[None]:
        """Keep processes from exchanging gradients within the block."""
        with ExitStack() as stack:
            stack.enter_context(self.accelerator.no_sync(self.gradients.network))
            if self.adversarial is not None:
                stack.enter_context(self.accelerator.no_sync(self.adversarial.network))
            yield

    def means(self) -> dict[str, float]:
        """Return the means of the values in `sums`, under the names that metrics give them."""
        return {f"train/{name}": total / count for name, (total, count) in self.sums.items()}

    def check_weights(self) -> None:
        """Raise DivergedError for weights that are not finite, naming the first tensor."""
        for name, value in self.state.weights().items():
            if not value.isfinite().all():
                what = f"step {self.step}: {name} is not finite any more"
                raise DivergedError(f"{what}; lower optimizer.learning_rate")

    def _divergence(self, batch: Batch, values: Mapping[str, float]) -> str:
        """Return the message for a step whose losses or gradients are not finite."""
        broken = _broken_items(batch)
        if self.world_size > 1 and not broken:
            return (
                f"step {self.step + 1}: a loss or gradient is not finite, here or in another "
                "process; lower optimizer.learning_rate"
            )
        named = _named(broken or batch.ids)
        name, value = next((n, v) for n, v in values.items() if not math.isfinite(v))
        return (
            f"step {self.step + 1}: {name} is {value} on {named}; lower optimizer.learning_rate, "
            "or look at these items"
        )


def _broken_items(batch: Batch) -> list[str]:
    """Return the names of the items that hold samples that are not finite."""
    finite = torch.cat([batch.signals, batch.target], dim=1).isfinite().flatten(1).all(1)
    return [item for item, is_finite in zip(batch.ids, finite, strict=True) if not is_finite]


def _named(items: list[str]) -> str:
    names = [shown(item) for item in items[:MAX_NAMED]]  # their ends tell them apart
    named = ", ".join(name if len(name) <= 30 else f"...{name[-27:]}" for name in names)
    return named + (f" and {len(items) - MAX_NAMED} more" if len(items) > MAX_NAMED else "")
