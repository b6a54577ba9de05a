"""The training loop.

Everything random about a step is a function of the run's seed and the step's number, so a run
that was stopped at any moment and taken up again ends with the same weights, bit for bit on the
same CPU, as one that was not.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from bcsim.dsp.randomness import torch_stream
from bcsim.errors import DivergedError, EnvironmentFault, InputError, UsageError, one_line
from bcsim.files.atomic import sweep_temporaries
from bcsim.files.hashing import hash_text
from bcsim.files.text import shown
from bcsim.models.storage import AIR_TO_BONE, CONFIG_FILE
from bcsim.progress import track
from bcsim.training.adversarial import AdversarialObjective
from bcsim.training.balancing import make_balancer
from bcsim.training.batches import Batch, Batches, Loader, Share
from bcsim.training.best_model import BestModelTracker
from bcsim.training.checkpoint import (
    Checkpoint,
    holds_checkpoint,
    holds_checkpoints,
    load_newest,
    save_checkpoint,
)
from bcsim.training.config import TrainingConfig
from bcsim.training.data import TrainingData
from bcsim.training.networks import Networks, build_model
from bcsim.training.optimization import (
    WeightedObjectives,
    clip_gradients,
    make_optimizer,
    set_learning_rate,
)
from bcsim.training.processes import compile_blocks, is_main_process, make_accelerator
from bcsim.training.run_folder import (
    CHECKPOINTS,
    METRICS_FILE,
    MetricsLog,
    check_run_folder,
    locked,
    write_card,
)
from bcsim.training.settings import check_same_settings, comparable_settings
from bcsim.training.state import RunFacts, RunState
from bcsim.training.step import Gradients
from bcsim.training.throughput import Throughput
from bcsim.training.validation import Scores

FOLLOW_S = 3.0
NUM_TOLD = 3  # items of a batch that a message names

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingResult:
    """What a run came to.

    Args:
        out: its folder.
        num_steps: steps done.
        best_step: the step that the exported weights are from.
        scores: mean scores, `scores[split][what][metric]`, of those weights ("enhanced"), of their
            input as it is ("unprocessed") and of the target ("clean"); empty where nothing was
            validated.
    """

    out: Path
    num_steps: int
    best_step: int
    scores: Mapping[str, Mapping[str, Scores]]


def train(
    config: TrainingConfig,
    data: TrainingData,
    out: Path,
    resume: bool = False,
    init_from: Path | None = None,
    after_validation: Callable[[], object] = lambda: None,
    prepare: Callable[[bool], object] = lambda begins: None,
) -> TrainingResult:
    """Train a network, or continue to.

    Args:
        config: all settings.
        data: all pairs.
        out: folder of the run.
        resume: continue the run in `out`; where there is none, begin one.
        init_from: folder of a model that the weights are taken from to begin with, those of a
            discriminator too where it holds one and the recipe wants it.
        after_validation: called after each validation but the last, by the leading process.
        prepare: called by the leading process as soon as no other one can use `out`, with whether
            a run begins there, or goes on.

    Returns:
        Where it ended. `out` then holds `model.safetensors`, `config.json` and a model card of
        the best weights, next to metrics, samples and checkpoints.

    Raises:
        UsageError: if the settings make no sense, `out` is taken, or `resume` is asked for with
            other settings than the run was begun with.
        InputError: if no checkpoint of the run is whole, or a pair or model cannot be read.
        DivergedError: if a loss or gradient is not finite; the weights are those of the step
            before, on disk those of the last checkpoint.
        EnvironmentFault: if the disk is full or another process trains in `out`.
    """
    with ExitStack() as stack:
        if is_main_process():
            check_run_folder(out, resume)
            stack.enter_context(locked(out))
            check_run_folder(out, resume)  # again: another process may have filled it just now
            sweep_temporaries(out)
            prepare(not holds_checkpoints(_folders(out)))
        trainer = Trainer(config, data, out, after_validation)
        resumed = trainer.restore()
        trainer.check_same_step()
        if not resumed and init_from is not None:
            trainer.networks.begin_from(init_from, config.direction)
            log.info("%s: beginning from the weights of %s", out, init_from)
        return trainer.run()


class Trainer:
    """One run: the state that a checkpoint holds, and the step that changes it.

    Args:
        config: all settings.
        data: all pairs.
        out: folder of the run.
        after_validation: called after each validation but the last.

    Raises:
        UsageError: if the settings make no sense for these pairs.
    """

    def __init__(
        self,
        config: TrainingConfig,
        data: TrainingData,
        out: Path,
        after_validation: Callable[[], object] = lambda: None,
    ) -> None:
        data = data.reversed() if config.direction == AIR_TO_BONE else data
        self.config = config
        self.data = data
        self.out = out
        self.after_validation = after_validation
        for pairs in data.sets.values():
            if pairs.sample_rate != config.sample_rate:
                raise UsageError(
                    f"the pairs are {pairs.sample_rate} Hz, the recipe wants "
                    f"{config.sample_rate}; set sample_rate, or make the pairs again"
                )
        if len(data.training) == 0:
            raise UsageError("there are no pairs to train on")
        loop = config.training
        self.accelerator = make_accelerator(loop)
        self.device: torch.device = self.accelerator.device
        self.share = Share(self.accelerator.process_index, self.accelerator.num_processes)
        self.settings = comparable_settings(config, data.sets, data.facts, self.share.num_processes)
        self.model = build_model(config).to(self.device)
        self.average = (
            AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(loop.ema_decay))
            if loop.ema_decay is not None
            else None
        )
        self.batches = self._batches()
        self.optimizer = make_optimizer(self.model, config.optimizer)
        self.adversarial = (
            AdversarialObjective(config.adversarial, config.seed, self.accelerator)
            if config.adversarial is not None
            else None
        )
        discriminator = None if self.adversarial is None else self.adversarial.discriminator
        self.networks = Networks(self.model, self.average, discriminator)
        self.balancer = make_balancer(config.balancing)
        networks: dict[str, nn.Module] = {"model": self.model}
        optimizers = {"optimizer": self.optimizer}
        if self.average is not None:
            networks["average"] = self.average
        if self.adversarial is not None:
            networks["adversarial.weights"] = self.adversarial.discriminator
            optimizers["adversarial.optimizer"] = self.adversarial.optimizer
        self.state = RunState(networks, optimizers, self.balancer)
        objectives = WeightedObjectives(config.losses, config.sample_rate).to(self.device)
        self.gradients = Gradients(
            self.model, objectives, self.adversarial, self.balancer, self.accelerator
        )
        if loop.compile:
            compile_blocks(self.model)
        self._try_out()
        self.tracker = BestModelTracker(data.sets, config, out)
        self.step = 0
        # Of the values since the last line of metrics: sum and number.
        self.sums: dict[str, tuple[float, int]] = {}
        self.metrics_sha256 = hash_text("")  # of what was logged up to the last checkpoint

    def _batches(self) -> Batches:
        config = self.config
        crop_samples = self.model.valid_length(round(config.data.crop_s * config.sample_rate))
        try:
            return Batches(
                self.data.training,
                config.data,
                crop_samples,
                config.seed,
                config.training.num_steps,
                self.data.sets.get("real"),
                self.share,
            )
        except ValueError as error:
            raise UsageError(str(error)) from error

    @torch.no_grad()
    def _try_out(self) -> None:
        """Refuse before the first step what would end it."""
        looked_at = self.balancer is not None and self.balancer.needs_last_layer
        if looked_at and not self.model.last_layer.requires_grad:
            raise UsageError(
                "optimizer.layers freezes the last layer, at which balancing looks; use "
                "balancing.name=fixed or output_norms"
            )
        silence = torch.zeros(1, 1, self.batches.crop_samples, device=self.device)
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

    def run(self) -> TrainingResult:
        """Take all steps that are left."""
        metrics = MetricsLog(self.out, self.step) if is_main_process() else None
        if metrics is not None and metrics.sha256 != self.metrics_sha256:
            log.warning(
                "%s: was changed; it is no longer the log of the whole run", self.out / METRICS_FILE
            )
        loader = Loader(self.batches, self.config.data.num_workers, self.step)
        pace = Throughput(loader, self.config, self.step, self.share.num_processes)
        total = self.config.training.num_steps
        try:
            told = track(loader, total, "training", done=self.step) if is_main_process() else loader
            for batch in told:
                self._take_step(batch)
                self._after_step(metrics, pace)
        except DivergedError:
            if metrics is not None and self.sums:  # with the numbers that are none as null
                metrics.write(self.step + 1, self._means())
            raise
        except RuntimeError:
            if self.share.num_processes > 1:
                time.sleep(FOLLOW_S)  # if it is that another one has gone: that one says why
            raise
        except KeyboardInterrupt:
            log.warning(
                "interrupted after step %d; --resume continues from %s", self.step, self.out
            )
            raise
        finally:
            if metrics is not None:
                metrics.close()
        if self.tracker.best is None:  # nothing to judge by
            self.tracker.best = {"step": self.step, "value": None, "scores": {}}
            if is_main_process():
                self._export()
        elif is_main_process():
            self._mend_export()
        best = self.tracker.best
        return TrainingResult(self.out, self.step, best["step"], best["scores"])

    def _mend_export(self) -> None:
        """Export the best weights again where what was exported is missing or damaged."""
        try:
            self.networks.check_export(self.out, self.config.direction)
            return
        except InputError as error:
            log.warning("%s; exporting the best weights again", error)
        folder = self.out / CHECKPOINTS / "best"
        best = load_newest([folder])
        if best is None or self.tracker.best is None or best.step != self.tracker.best["step"]:
            raise InputError(f"{folder}: not the best weights of this run; begin anew elsewhere")
        self.state.restore(best.tensors, folder)
        self._export()

    def restore(self) -> bool:
        """Take up the newest whole checkpoint; tell whether there is one.

        Raises:
            UsageError: if the run was begun with other settings.
            InputError: if there are checkpoints and none is whole, or it is no state of this run.
        """
        checkpoint = load_newest(_folders(self.out))
        if checkpoint is None:
            return False
        where = self.out / CHECKPOINTS / f"step {checkpoint.step}"
        facts = RunFacts.from_json(checkpoint.facts, where)
        check_same_settings(self.out, facts.settings, self.settings)
        total = self.config.training.num_steps
        if not 0 < checkpoint.step <= total:
            raise InputError(f"{where}: not the state of a run, which has steps 1 to {total}")
        if facts.best is not None and facts.best.step > checkpoint.step:
            raise InputError(
                f"{where}: best.step: {facts.best.step} is yet to come; not the state of a run"
            )
        if facts.torch_version != torch.__version__:
            log.warning(
                "%s: begun with torch %s, this is %s; what follows may differ in the last bits",
                self.out,
                shown(facts.torch_version),
                torch.__version__,
            )
        self.state.restore(checkpoint.tensors, where)
        last = _folders(self.out)[0]
        if (
            is_main_process()
            and self._saves_at(checkpoint.step)
            and not holds_checkpoint(last, checkpoint)
        ):
            save_checkpoint(last, checkpoint)  # killed after the best was saved, and before this
        self.step = checkpoint.step
        self.sums = dict(facts.sums)
        self.tracker.best = checkpoint.facts["best"]
        self.metrics_sha256 = facts.metrics_sha256
        log.info("%s: continuing after step %d", self.out, self.step)
        return True

    def check_same_step(self) -> None:
        """Refuse to go on from different steps in different processes.

        Raises:
            EnvironmentFault: if not all of them could read the newest checkpoint.
        """
        if self.share.num_processes > 1:
            own = torch.tensor([self.step], device=self.device)
            steps = sorted({*self.accelerator.gather(own).tolist()})
            if len(steps) > 1:
                raise EnvironmentFault(
                    f"{self.out / CHECKPOINTS}: one process read step {steps[-1]}, another "
                    f"{steps[0]}; see to the disk and the memory, then run the same command again"
                )

    def _saves_at(self, step: int) -> bool:
        """Tell whether a checkpoint to go on from is saved after a step."""
        settings = self.config.training
        return step == settings.num_steps or step % settings.checkpoint_interval_steps == 0

    def _take_step(self, batch: Batch) -> None:
        config = self.config.training
        self.model.train()
        signals = batch.signals.to(self.device, non_blocking=True)
        target = batch.target.to(self.device, non_blocking=True)
        parts = list(
            zip(signals.chunk(config.accumulation), target.chunk(config.accumulation), strict=True)
        )
        self.optimizer.zero_grad(set_to_none=True)
        named: dict[str, Tensor] = {}
        # A network with dropout draws in here; nothing else does.
        with torch_stream(
            self.config.seed, "step", self.step, self.share.process, device=self.device
        ):
            for number, part in enumerate(parts, start=1):
                waits = number < len(parts)  # to exchange gradients until the last part's are there
                with self._exchange_later() if waits else nullcontext():
                    values = self.gradients.add(*part, self.step, 1 / len(parts))
                for name, value in values.items():
                    named[name] = named.get(name, 0) + value.float() / len(parts)
        norm = clip_gradients(self.model, config.gradient_clip_norm)
        named["gradient_norm"] = norm
        learns = self.adversarial is not None and self.adversarial.learns_at(self.step)
        if learns:
            assert self.adversarial is not None
            named["discriminator_gradient_norm"] = self.adversarial.clip()
        # The one moment of a step at which the processor waits for the device.
        stacked = torch.stack([value.detach().float() for value in named.values()])
        numbers = self.accelerator.reduce(stacked, reduction="mean").tolist()
        values = dict(zip(named, numbers, strict=True))
        if not all(math.isfinite(value) for value in numbers):
            self.sums = {name: (value, 1) for name, value in values.items()}
            raise DivergedError(self._divergence(batch, values))
        schedule = (self.config.schedule, self.step, config.num_steps)
        set_learning_rate(self.optimizer, *schedule)
        values["learning_rate"] = self.optimizer.param_groups[0]["lr"]
        self.optimizer.step()
        if learns:
            assert self.adversarial is not None
            set_learning_rate(self.adversarial.optimizer, *schedule)
            self.adversarial.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.step += 1
        for name, value in values.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = (total + value, count + 1)

    @contextmanager
    def _exchange_later(self) -> Iterator[None]:
        """Keep processes from exchanging gradients, which takes all of a batch's parts."""
        with ExitStack() as stack:
            stack.enter_context(self.accelerator.no_sync(self.gradients.network))
            if self.adversarial is not None:
                stack.enter_context(self.accelerator.no_sync(self.adversarial.network))
            yield

    def _after_step(self, metrics: MetricsLog | None, pace: Throughput) -> None:
        """Log, validate and save where it is time to; the leading process does, for all."""
        if metrics is None:
            return
        settings = self.config.training
        last = self.step == settings.num_steps
        if last or self.step % settings.log_interval_steps == 0:
            metrics.write(self.step, self._means())
            metrics.show(self.step, pace.measure(self.step))
            self.sums = {}
        if self.tracker.is_due(self.step, last):
            self._check_divergence()
            if self.tracker.validate(self.networks.enhancer, self.device, self.step, metrics):
                self._export()
                self.metrics_sha256 = metrics.sha256
                save_checkpoint(self.out / CHECKPOINTS / "best", self._checkpoint(), num_kept=1)
            log.info("step %d: %s; %s", self.step, self.tracker.said, pace.said)
            if not last:  # what follows the end is the caller's
                self.after_validation()
            pace.restart(self.step)
        if self._saves_at(self.step):
            metrics.sync()
            self.metrics_sha256 = metrics.sha256
            save_checkpoint(self.out / CHECKPOINTS / "last", self._checkpoint())

    def _check_divergence(self) -> None:
        """Stop before weights that a finite gradient made other than finite reach a file."""
        for name, value in self.state.weights().items():
            if not value.isfinite().all():
                raise DivergedError(
                    f"step {self.step}: {name} is not finite any more; lower "
                    "optimizer.learning_rate"
                )

    def _means(self) -> dict[str, float]:
        """Return the means of the values since the last line of metrics, as it names them."""
        return {f"train/{name}": total / count for name, (total, count) in self.sums.items()}

    def _checkpoint(self) -> Checkpoint:
        facts = {
            "settings": self.settings,
            "sums": self.sums,
            "best": self.tracker.best,
            "metrics_sha256": self.metrics_sha256,
            "torch_version": torch.__version__,
        }
        return Checkpoint(self.step, self.state.tensors(), facts)

    def _export(self) -> None:
        """Write the networks as users load them, with a card."""
        config = self.config
        facts = {
            "step": self.step,
            "steps_total": config.training.num_steps,
            "batch_size": config.data.batch_size * self.share.num_processes,
            "crop_s": config.data.crop_s,
            "losses": [spec["name"] for spec in config.losses],
            "discriminator": config.adversarial and config.adversarial.discriminator["name"],
            "seed": config.seed,
            "num_items": {name: len(pairs) for name, pairs in self.data.sets.items()},
            **self.tracker.facts,
            "data": self.settings["data_facts"],
        }
        self.networks.export(self.out, config, facts)
        write_card(self.out, json.loads((self.out / CONFIG_FILE).read_text("utf-8")))

    def _divergence(self, batch: Batch, values: Mapping[str, float]) -> str:
        at_fault = [
            item
            for item, *signals in zip(batch.ids, batch.signals, batch.target, strict=True)
            if not all(signal.isfinite().all() for signal in signals)
        ]
        items = at_fault or batch.ids
        if self.share.num_processes > 1 and not at_fault:
            return (
                f"step {self.step + 1}: a loss or gradient is not finite, here or in another "
                "process; lower optimizer.learning_rate"
            )
        told = ", ".join(_brief(item) for item in items[:NUM_TOLD])
        told += f" and {len(items) - NUM_TOLD} more" if len(items) > NUM_TOLD else ""
        name, value = next((n, v) for n, v in values.items() if not math.isfinite(v))
        return (
            f"step {self.step + 1}: {name} is {value} on {told}; lower optimizer.learning_rate, "
            "or look at these items"
        )


def _folders(out: Path) -> list[Path]:
    """Return where a run's checkpoints are, those to go on from first."""
    return [out / CHECKPOINTS / "last", out / CHECKPOINTS / "best"]


def _brief(name: str) -> str:
    """Return the end of a name, which tells it from others, for a line with several."""
    name = shown(name)
    return name if len(name) <= 30 else f"...{name[-27:]}"
