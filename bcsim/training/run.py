"""A training run in its folder: lock, resume, checkpoints, validation, and the exported model."""

import dataclasses
import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

import bcsim
from bcsim.errors import DivergedError, EnvironmentFault, InputError, UsageError
from bcsim.files.atomic import environment_faults, sweep_temporaries
from bcsim.files.hashing import hash_text
from bcsim.files.run_folder import LOCK_NAME, locked
from bcsim.files.text import shown
from bcsim.files.tree import make_folders
from bcsim.models.storage import CONFIG_FILE, facts_of_run
from bcsim.progress import track
from bcsim.training.batches import Loader
from bcsim.training.best_model import BestModelTracker
from bcsim.training.card import write_card
from bcsim.training.checkpoint import (
    Checkpoint,
    holds_checkpoints,
    load_newest,
    remove_earlier,
    save_checkpoint,
)
from bcsim.training.clock import TrainingClock
from bcsim.training.config import TrainingConfig
from bcsim.training.data import TrainingData
from bcsim.training.metrics_log import MetricsLog
from bcsim.training.processes import is_main_process
from bcsim.training.resume import check_continues
from bcsim.training.run_folder import CHECKPOINTS, METRICS_FILE, check_run_folder
from bcsim.training.state import Best, RunFacts
from bcsim.training.throughput import Throughput
from bcsim.training.trainer import Trainer
from bcsim.training.validation import Scores

FAILURE_DELAY_S = 3.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingResult:
    """The end of a run: its folder, the steps done, and the step of the exported weights.

    `scores[split][kind][metric]` are the mean scores of those weights, of a kind "enhanced",
    "unprocessed" (their input) or "clean" (the target); empty without validation. `failures` are
    reasons why recordings were left out, by their names. `verdict` holds light, headline, reasons
    and advice as `verdict.json` does, where the run was evaluated.
    """

    out: Path
    num_steps: int
    best_step: int
    scores: Mapping[str, Mapping[str, Scores]]
    failures: Mapping[str, str] = field(default_factory=dict)
    verdict: Mapping[str, Any] = field(default_factory=dict)


def train(
    config: TrainingConfig,
    data: TrainingData,
    out: Path,
    *,
    resume: bool = False,
    init_from: Path | None = None,
    after_validation: Callable[[], object] = lambda: None,
    prepare: Callable[[bool], object] = lambda begins: None,
    before_steps: Callable[[], object] = lambda: None,
) -> TrainingResult:
    """Train a network and export its best weights, or continue a run that was stopped.

    Args:
        config: all settings of the run.
        data: all pairs of the run.
        out: folder of the run.
        resume: whether to continue the run in `out`; where there is none, one begins.
        init_from: folder of a model whose weights the run begins with; the weights of its
            discriminator too, where it holds one that the recipe asks for.
        after_validation: called by the main process after each validation but the last.
        prepare: called by the main process once `out` is locked, with whether a run begins there.
        before_steps: called by the main process before the first step, once the settings are known
            to be those that the run may be continued with.

    Raises:
        UsageError: if the settings make no sense or are not those that the run was begun with, or
            `out` holds something else.
        InputError: if no checkpoint of the run is whole, or a pair or model cannot be read.
        DivergedError: if a loss or gradient is not finite; the weights are those of the step
            before, on disk those of the last checkpoint.
        EnvironmentFault: if the disk is full or another process trains in `out`.
    """
    with ExitStack() as stack:
        if is_main_process():
            check_run_folder(out, resume)
            with environment_faults(out):
                make_folders(out)
            stack.enter_context(locked(out, out / LOCK_NAME))
            check_run_folder(out, resume)  # again: another process may have filled it just now
            sweep_temporaries(out)
            prepare(not holds_checkpoints(_folders(out)))
        run = TrainingRun(Trainer(config, data), out, after_validation)
        resumed = run.restore()
        run.check_same_step()
        if not resumed and init_from is not None:
            run.trainer.networks.begin_from(init_from)
            log.info("%s: beginning from the weights of %s", out, init_from)
        elif not resumed:
            run.trainer.fit_statistics()
        if is_main_process():
            before_steps()
        return replace(run.finish(), failures=data.all_failures)


class TrainingRun:
    """A trainer and the folder that its checkpoints, metrics and best weights are written to."""

    def __init__(
        self, trainer: Trainer, out: Path, after_validation: Callable[[], object] = lambda: None
    ) -> None:
        self.trainer = trainer
        self.config = trainer.config
        self.out = out
        self.clock = TrainingClock(self.config.training.time_limit_s)
        if self.clock.limit_s is not None and trainer.world_size > 1:
            raise UsageError(
                "training.time_limit_s is for one process: several would end at different steps; "
                "set training.num_steps"
            )
        self.after_validation = after_validation
        self.settings = _comparable_settings(trainer)
        self.tracker = BestModelTracker(trainer.data, self.config, out)
        self.metrics_sha256 = hash_text("")  # of what was logged up to the last checkpoint

    def finish(self) -> TrainingResult:
        """Take all steps that are left, and see that the best weights are exported."""
        trainer, main = self.trainer, is_main_process()
        if main:
            self._warn_of_clean_input()
        metrics = MetricsLog(self.out, trainer.step) if main else None
        if metrics is not None and metrics.sha256 != self.metrics_sha256:
            path = self.out / METRICS_FILE
            log.warning("%s: was changed; it is no longer the log of the whole run", path)
        try:
            self._take_steps(metrics)
        except DivergedError:
            if metrics is not None and trainer.sums:  # values that are not finite become null
                metrics.write(trainer.step + 1, trainer.means())
            raise
        except RuntimeError:
            if trainer.world_size > 1:
                time.sleep(FAILURE_DELAY_S)  # if another process failed first, it says why
            raise
        except KeyboardInterrupt:
            told = "interrupted after step %d; resume the run in %s to continue"
            log.warning(told, trainer.step, self.out)
            raise
        finally:
            if metrics is not None:
                metrics.close()
        self.tracker.check_any(trainer.step)
        if self.tracker.best is None:  # there was nothing to validate on: the last weights count
            self.tracker.best = Best(trainer.step, None, {})
            if main:
                self._export()
        elif main:
            self._repair_export()
        best = self.tracker.best
        return TrainingResult(self.out, trainer.step, best.step, best.scores)

    def _take_steps(self, metrics: MetricsLog | None) -> None:
        trainer, config, clock = self.trainer, self.config, self.clock
        if clock.is_over:
            return
        loader = Loader(trainer.batches, config.data.num_workers, trainer.step)
        throughput = Throughput(loader, config, trainer.step, trainer.world_size)
        total = config.training.num_steps if clock.limit_s is None else None
        batches = loader if metrics is None else track(loader, total, "training", trainer.step)
        for batch in batches:
            clock.start()
            trainer.time_fraction = clock.fraction
            trainer.take_step(batch)
            clock.stop()
            if metrics is not None:
                self._after_step(metrics, throughput)
            if clock.is_over:
                return
            clock.start()

    def _warn_of_clean_input(self) -> None:
        """Log for each set of pairs how many show a two-channel network their clean target."""
        num_samples = self.trainer.batches.crop_samples
        for name, pairs in self.trainer.data.sets.items():
            clean = pairs.num_without_noise(num_samples) if "air" in pairs.channels else 0
            if clean:
                log.warning(
                    "%s: %d of %d pairs (%s) have no noisy_air, so the network's second channel is "
                    "their clean target; use pairs with noise at the air microphone",
                    *(self.out, clean, len(pairs), name),
                )

    def _after_step(self, metrics: MetricsLog, throughput: Throughput) -> None:
        """Log, validate and save where the step number asks for it."""
        trainer, settings = self.trainer, self.config.training
        step, last = trainer.step, self._is_last(trainer.step)
        if last or step % settings.log_interval_steps == 0:
            metrics.write(step, trainer.means())
            metrics.write_speed(step, throughput.measure(step))
            trainer.sums = {}
        if self.tracker.is_due(step, last):
            trainer.check_weights()
            if self.tracker.validate(trainer.networks.enhancer, trainer.device, step, metrics):
                self._export()
                self.metrics_sha256 = metrics.sha256
                save_checkpoint(self.out / CHECKPOINTS / "best", self.checkpoint(), num_kept=1)
            log.info("step %d: %s; %s", step, self.tracker.summary, throughput.summary)
            if not last:  # what follows the last validation is the caller's
                self.after_validation()
            throughput.restart(step)
        if self._saves_at(step):
            metrics.sync()
            self.metrics_sha256 = metrics.sha256
            save_checkpoint(self.out / CHECKPOINTS / "last", self.checkpoint())

    def _saves_at(self, step: int) -> bool:
        return self._is_last(step) or step % self.config.training.checkpoint_interval_steps == 0

    def _is_last(self, step: int) -> bool:
        return step == self.config.training.num_steps or self.clock.is_over

    @property
    def _steps_total(self) -> int:
        """Number of steps of the run; of one with a limit of time, of those done so far."""
        is_open = self.clock.limit_s is not None
        return self.trainer.step if is_open else self.config.training.num_steps

    def checkpoint(self) -> Checkpoint:
        """Return the state of the run as it is now."""
        best = self.tracker.best
        facts = {
            "settings": self.settings,
            "sums": self.trainer.sums,
            "best": None if best is None else dataclasses.asdict(best),
            "metrics_sha256": self.metrics_sha256,
            "torch_version": torch.__version__,
        }
        if self.clock.limit_s is not None:  # else two runs of the same steps would differ in it
            facts["trained_s"] = self.clock.trained_s
        return Checkpoint(self.trainer.step, self.trainer.state.tensors(), facts)

    def restore(self) -> bool:
        """Restore the newest whole checkpoint, once it is checked; tell whether there is one."""
        checkpoint = load_newest(_folders(self.out))
        if checkpoint is None:
            return False
        where = self.out / CHECKPOINTS / f"step {checkpoint.step}"
        facts = RunFacts.from_json(checkpoint.facts, where)
        done = (checkpoint.step, facts.trained_s)
        check_continues(self.out, facts.settings, self.settings, *done)
        total = self.config.training.num_steps
        if not 0 < checkpoint.step <= total:
            raise InputError(f"{where}: not the state of a run, which has steps 1 to {total}")
        if facts.best is not None and facts.best.step > checkpoint.step:
            raise InputError(
                f"{where}: best.step: {facts.best.step} is yet to come; not the state of a run"
            )
        if facts.torch_version != torch.__version__:
            told = "%s: begun with torch %s, this is %s; what follows may differ in the last bits"
            log.warning(told, self.out, shown(facts.torch_version), torch.__version__)
        self.trainer.state.restore(checkpoint.tensors, where)
        self.clock.trained_s = facts.trained_s
        if is_main_process():
            self._finish_saving(checkpoint, facts.best)
        self.trainer.step = checkpoint.step
        self.trainer.sums = dict(facts.sums)
        self.tracker.best = facts.best
        self.metrics_sha256 = facts.metrics_sha256
        log.info("%s: continuing after step %d", self.out, checkpoint.step)
        return True

    def _finish_saving(self, checkpoint: Checkpoint, best: Best | None) -> None:
        """Finish what a run was at when it was killed: saving a checkpoint, or removing others."""
        last = self.out / CHECKPOINTS / "last"
        if (last / f"step_{checkpoint.step:08d}.json").is_file():
            remove_earlier(last, checkpoint.step)
        elif self._saves_at(checkpoint.step):
            save_checkpoint(last, checkpoint)  # a kill came between "best" and "last"
        if best is not None:
            remove_earlier(self.out / CHECKPOINTS / "best", best.step, num_kept=1)

    def check_same_step(self) -> None:
        """Raise EnvironmentFault if processes are to continue from different steps."""
        trainer = self.trainer
        if trainer.world_size > 1:
            own = torch.tensor([trainer.step], device=trainer.device)
            steps = sorted({*trainer.accelerator.gather(own).tolist()})
            if len(steps) > 1:
                raise EnvironmentFault(
                    f"{self.out / CHECKPOINTS}: one process read step {steps[-1]}, another "
                    f"{steps[0]}; see to the disk and the memory, then run the same command again"
                )

    def _export(self) -> None:
        """Write the best networks as users load them, with a model card."""
        self.trainer.networks.export(self.out, self._exported_facts())
        write_card(self.out, json.loads((self.out / CONFIG_FILE).read_text("utf-8")))

    def _exported_facts(self) -> dict[str, Any]:
        config, adversarial, best = self.config, self.config.adversarial, self.tracker.best
        assert best is not None
        return {
            "step": best.step,
            "steps_total": self._steps_total,
            "batch_size": config.data.batch_size * self.trainer.world_size,
            "crop_s": config.data.crop_s,
            "losses": [spec["name"] for spec in config.losses],
            "discriminator": None if adversarial is None else adversarial.discriminator["name"],
            "seed": config.seed,
            "num_items": {name: len(pairs) for name, pairs in self.trainer.data.sets.items()},
            **self.tracker.facts,
            "data": self.settings["data_facts"],
        }

    def _repair_export(self) -> None:
        """Export the best weights again where the exported files are damaged or out of date."""
        try:
            self.trainer.networks.check_export(self.out)
            if facts_of_run(self.out).get("steps_total") == self._steps_total:
                return
        except InputError as error:
            log.warning("%s; exporting the best weights again", error)
        folder = self.out / CHECKPOINTS / "best"
        best = load_newest([folder])
        if best is None or self.tracker.best is None or best.step != self.tracker.best.step:
            raise InputError(f"{folder}: not the best weights of this run; begin anew elsewhere")
        self.trainer.state.restore(best.tensors, folder)
        self._export()


def _comparable_settings(trainer: Trainer) -> dict[str, Any]:
    """Return what has to be the same when a run is continued, as JSON gives it."""
    data = trainer.data
    settings = {
        "bcsim_version": bcsim.__version__,
        **dataclasses.asdict(trainer.config),
        "pairs": {name: hash_text("\n".join(pairs.ids)) for name, pairs in data.sets.items()},
        "data_facts": dict(data.facts),
        "num_processes": trainer.world_size,
    }
    return json.loads(json.dumps(settings))


def _folders(out: Path) -> list[Path]:
    """Return the folders of a run's checkpoints, the one to resume from first."""
    return [out / CHECKPOINTS / "last", out / CHECKPOINTS / "best"]
