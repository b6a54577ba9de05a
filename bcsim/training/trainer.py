"""The training loop.

Everything random about a step is a function of the run's seed and the step's number, so a run
that was stopped at any moment and taken up again ends with the same weights, bit for bit on the
same CPU, as one that was not.
"""

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from bcsim.data.pairs import Pairs
from bcsim.dsp.randomness import torch_stream
from bcsim.errors import DivergedError, UsageError
from bcsim.extras import require
from bcsim.files import sweep_temporaries
from bcsim.models.base import Enhancer
from bcsim.models.storage import CONFIG_FILE, build_enhancer, save_enhancer
from bcsim.progress import track
from bcsim.training.batches import Batch, Batches, Loader
from bcsim.training.checkpoint import (
    Checkpoint,
    flatten_optimizer,
    load_newest,
    restore_optimizer,
    save_checkpoint,
    with_prefix,
    without_prefix,
)
from bcsim.training.config import TrainingConfig
from bcsim.training.optimization import WeightedObjectives, make_optimizer, make_scheduler
from bcsim.training.pace import Pace
from bcsim.training.run_folder import (
    CHECKPOINTS,
    MetricsLog,
    check_run_folder,
    locked,
    write_card,
    write_samples,
)
from bcsim.training.settings import comparable_settings, refuse_other_settings
from bcsim.training.validation import Scores, Validation, Validator, is_better

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingResult:
    """What a run came to.

    Args:
        out: its folder.
        num_steps: steps done.
        best_step: the step that the exported weights are from.
        validation: mean scores of those weights by metric; empty where nothing was validated.
        unprocessed: mean scores of the bone signal as it is, likewise.
    """

    out: Path
    num_steps: int
    best_step: int
    validation: Scores
    unprocessed: Scores


def train(
    config: TrainingConfig,
    training_pairs: Pairs,
    validation_pairs: Pairs | None,
    out: Path,
    resume: bool = False,
    data_facts: Mapping[str, Any] | None = None,
) -> TrainingResult:
    """Train an enhancer, or continue to.

    Args:
        config: all settings.
        training_pairs: to learn from.
        validation_pairs: to judge by; None or empty means that the last weights count as best.
        out: folder of the run.
        resume: continue the run in `out`; where there is none, begin one.
        data_facts: what identifies the pairs (digests of dataset and sensor, say), as JSON holds
            it. A run is continued with the same facts only.

    Returns:
        Where it ended. `out` then holds `model.safetensors`, `config.json` and a model card of
        the best weights, next to metrics, samples and checkpoints.

    Raises:
        UsageError: if the settings make no sense, `out` is taken, or `resume` is asked for with
            other settings than the run was begun with.
        InputError: if no checkpoint of the run is whole, or a pair cannot be read.
        DivergedError: if a loss or gradient is not finite; the weights are those of the step
            before, on disk those of the last checkpoint.
        EnvironmentFault: if the disk is full or another process trains in `out`.
    """
    check_run_folder(out, resume)
    with locked(out):
        sweep_temporaries(out)
        trainer = Trainer(config, training_pairs, validation_pairs, out, data_facts or {})
        trainer.restore()
        return trainer.run()


class Trainer:
    """One run: the state that a checkpoint holds, and the step that changes it.

    Args:
        config: all settings.
        training_pairs: to learn from.
        validation_pairs: to judge by, or None.
        out: folder of the run.
        data_facts: what identifies the pairs.

    Raises:
        UsageError: if the settings make no sense for these pairs.
    """

    def __init__(
        self,
        config: TrainingConfig,
        training_pairs: Pairs,
        validation_pairs: Pairs | None,
        out: Path,
        data_facts: Mapping[str, Any],
    ) -> None:
        self.config = config
        self.out = out
        validation_pairs = validation_pairs or None
        for pairs in (training_pairs, validation_pairs):
            if pairs is not None and pairs.sample_rate != config.sample_rate:
                raise UsageError(
                    f"the pairs are {pairs.sample_rate} Hz, the recipe wants "
                    f"{config.sample_rate}; set sample_rate, or make the pairs again"
                )
        if len(training_pairs) == 0:
            raise UsageError("there are no pairs to train on")
        self.settings = comparable_settings(config, training_pairs, validation_pairs, data_facts)
        self.num_training_items = len(training_pairs)
        self.batches = Batches(training_pairs, config.data, config.seed, config.training.num_steps)
        self.accelerator = _accelerator(config)
        self.device: torch.device = self.accelerator.device
        self.model = _build_model(config).to(self.device)
        self.average = (
            AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(config.training.ema_decay))
            if config.training.ema_decay is not None
            else None
        )
        self.objectives = WeightedObjectives(config.losses, config.sample_rate).to(self.device)
        self.optimizer = make_optimizer(self.model, config.optimizer)
        self.scheduler = make_scheduler(self.optimizer, config.schedule, config.training.num_steps)
        self.network = self.accelerator.prepare_model(self.model)  # what a step goes through
        self.validator = (
            Validator(validation_pairs, config.validation) if validation_pairs else None
        )
        self.step = 0
        self.sums: dict[str, float] = {}  # of the values since the last line of metrics
        self.num_summed = 0
        self.best: dict[str, Any] | None = None  # step, scores and value of the best weights

    @property
    def enhancer(self) -> Enhancer:
        """The network that is validated and exported."""
        return self.model if self.average is None else cast(Enhancer, self.average.module)

    def run(self) -> TrainingResult:
        """Take all steps that are left."""
        metrics = MetricsLog(self.out, self.step)
        loader = Loader(self.batches, self.config.data.num_workers, self.step)
        pace = Pace(loader, self.config, self.step)
        total = self.config.training.num_steps
        try:
            for batch in track(loader, total, "training", done=self.step):
                self._take_step(batch)
                self._after_step(metrics, pace)
        except KeyboardInterrupt:
            log.warning(
                "interrupted after step %d; --resume continues from %s", self.step, self.out
            )
            raise
        finally:
            metrics.close()
        if self.best is None:  # nothing to judge by
            self.best = {"step": self.step, "value": None, "enhanced": {}, "unprocessed": {}}
            self._export()
        return TrainingResult(
            out=self.out,
            num_steps=self.step,
            best_step=self.best["step"],
            validation=self.best["enhanced"],
            unprocessed=self.best["unprocessed"],
        )

    def restore(self) -> None:
        """Take up the newest whole checkpoint, if there is one.

        Raises:
            UsageError: if the run was begun with other settings.
            InputError: if there are checkpoints and none is whole.
        """
        folder = self.out / CHECKPOINTS
        checkpoint = load_newest([folder / "last", folder / "best"])
        if checkpoint is None:
            return
        facts = checkpoint.facts
        refuse_other_settings(self.out, facts["settings"], self.settings)
        self.model.load_state_dict(without_prefix("model", checkpoint.tensors))
        if self.average is not None:
            self.average.load_state_dict(without_prefix("average", checkpoint.tensors))
        restore_optimizer(
            self.optimizer, without_prefix("optimizer", checkpoint.tensors), facts["optimizer"]
        )
        self.scheduler.load_state_dict(facts["scheduler"])
        self.step = checkpoint.step
        self.sums, self.num_summed = dict(facts["sums"]), facts["num_summed"]
        self.best = facts["best"]
        log.info("%s: continuing after step %d", self.out, self.step)

    def _take_step(self, batch: Batch) -> None:
        self.network.train()
        signals = batch.signals.to(self.device, non_blocking=True)
        target = batch.target.to(self.device, non_blocking=True)
        self.optimizer.zero_grad(set_to_none=True)
        # A network with dropout draws in here; nothing else does.
        with torch_stream(self.config.seed, "step", self.step, device=self.device):
            estimate = self.network(signals)
            loss, terms = self.objectives(estimate, target)
            self.accelerator.backward(loss)
        weights = [w for w in self.model.parameters() if w.grad is not None]
        norm = get_total_norm([w.grad for w in weights if w.grad is not None])
        if self.config.training.gradient_clip_norm is not None:
            clip_grads_with_norm_(weights, self.config.training.gradient_clip_norm, norm)
        named = {"loss": loss, **terms, "gradient_norm": norm}
        # The one moment of a step at which the processor waits for the device.
        numbers = torch.stack([value.detach().float() for value in named.values()]).tolist()
        values = dict(zip(named, numbers, strict=True))
        if not all(math.isfinite(value) for value in numbers):
            raise DivergedError(self._divergence(batch, estimate, values))
        values["learning_rate"] = self.scheduler.get_last_lr()[0]
        self.optimizer.step()
        self.scheduler.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.step += 1
        self.num_summed += 1
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def _after_step(self, metrics: MetricsLog, pace: Pace) -> None:
        """Log, validate and save where it is time to."""
        settings = self.config.training
        last = self.step == settings.num_steps
        if last or self.step % settings.log_interval_steps == 0:
            means = {name: total / self.num_summed for name, total in self.sums.items()}
            metrics.write(self.step, {f"train/{name}": mean for name, mean in means.items()})
            metrics.show(self.step, pace.measure(self.step))
            self.sums, self.num_summed = {}, 0
        if self.validator is not None and (
            last or self.step % self.config.validation.interval_steps == 0
        ):
            found = self.validator.validate(self.enhancer, self.device)
            self._record(found, metrics, pace)
            pace.restart(self.step)
        if last or self.step % settings.checkpoint_interval_steps == 0:
            metrics.sync()
            save_checkpoint(self.out / CHECKPOINTS / "last", self._checkpoint())

    def _record(self, found: Validation, metrics: MetricsLog, pace: Pace) -> None:
        """Write down what a validation found, and keep the weights if they are the best yet."""
        assert self.validator is not None
        metrics.write(
            self.step,
            {f"validation/{name}": value for name, value in found.enhanced.items()}
            | {f"validation/unprocessed_{name}": v for name, v in found.unprocessed.items()},
        )
        for number, (item, enhanced) in enumerate(
            zip(self.validator.items, found.samples, strict=False)
        ):
            write_samples(self.out, number, item, enhanced, self.step)
        metric = self.config.validation.metric
        value = found.enhanced[metric]
        log.info("step %d: %s; %s", self.step, _compared(found), pace.said)
        if self.best is None or is_better(value, self.best["value"], metric):
            self.best = {
                "step": self.step,
                "value": value,
                "enhanced": found.enhanced,
                "unprocessed": found.unprocessed,
            }
            self._export()
            save_checkpoint(self.out / CHECKPOINTS / "best", self._checkpoint(), num_kept=1)

    def _checkpoint(self) -> Checkpoint:
        tensors, groups = flatten_optimizer(self.optimizer)
        named = with_prefix("model", self.model.state_dict()) | with_prefix("optimizer", tensors)
        if self.average is not None:
            named |= with_prefix("average", self.average.state_dict())
        facts = {
            "settings": self.settings,
            "optimizer": groups,
            "scheduler": self.scheduler.state_dict(),
            "sums": self.sums,
            "num_summed": self.num_summed,
            "best": self.best,
            "torch_version": torch.__version__,
        }
        return Checkpoint(self.step, named, facts)

    def _export(self) -> None:
        """Write the model as users load it, with its card."""
        assert self.best is not None
        config = self.config
        facts = {
            "step": self.step,
            "steps_total": config.training.num_steps,
            "batch_size": config.data.batch_size,
            "crop_s": config.data.crop_s,
            "losses": [spec["name"] for spec in config.losses],
            "seed": config.seed,
            "num_training_items": self.num_training_items,
            "num_validation_items": len(self.validator.items) if self.validator else 0,
            "validation": self.best["enhanced"],
            "unprocessed": self.best["unprocessed"],
            "data": self.settings["data_facts"],
        }
        save_enhancer(self.out, self.enhancer, facts)
        write_card(self.out, json.loads((self.out / CONFIG_FILE).read_text("utf-8")))

    def _divergence(self, batch: Batch, estimate: Tensor, values: Mapping[str, float]) -> str:
        rows = zip(batch.ids, batch.signals, batch.target, estimate.detach().cpu(), strict=True)
        at_fault = [
            item
            for item, *signals in rows
            if not all(signal.isfinite().all() for signal in signals)
        ]
        items = at_fault or batch.ids
        told = ", ".join(items[:4]) + (f" and {len(items) - 4} more" if len(items) > 4 else "")
        name, value = next((n, v) for n, v in values.items() if not math.isfinite(v))
        return (
            f"step {self.step + 1}: {name} is {value} on {told}; lower optimizer.learning_rate, "
            "or look at these items"
        )


def _build_model(config: TrainingConfig) -> Enhancer:
    model = build_enhancer({"sample_rate": config.sample_rate, **config.model}, config.seed)
    if model.sample_rate != config.sample_rate:
        raise UsageError(
            f"model.sample_rate is {model.sample_rate}, the recipe's is {config.sample_rate}; "
            "leave the first one out"
        )
    if model.channels != ("bone",):
        raise UsageError(
            f"model.channels is {list(model.channels)}; the pairs have a bone signal alone to "
            "enhance: use [bone]"
        )
    return model


def _accelerator(config: TrainingConfig) -> Any:
    """Return the accelerator of this process: device, precision, and later its fellows."""
    wanted = config.training.device
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError("training.device is cuda, and there is no CUDA device; use auto or cpu")
    mixed_precision = "bf16" if config.training.precision == "bfloat16" else "no"
    try:
        accelerator = require("accelerate", extra="train").Accelerator(
            mixed_precision=mixed_precision, cpu=wanted == "cpu"
        )
    except ValueError:
        accelerator = None
    if accelerator is None or wanted not in ("auto", accelerator.device.type):
        raise UsageError(
            "this process trained on another device or in another precision before, which "
            "accelerate does not allow; use another process"
        )
    return accelerator


def _compared(found: Validation) -> str:
    pairs = [
        f"{name} {value:.3f} (unprocessed {found.unprocessed[name]:.3f})"
        for name, value in found.enhanced.items()
        if value is not None and found.unprocessed[name] is not None
    ]
    return ", ".join(pairs) or "nothing could be scored"
