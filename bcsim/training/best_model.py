"""Which weights of a run are the best, and what is written of every validation."""

import logging
from pathlib import Path
from typing import Any

import torch

from bcsim.errors import DivergedError
from bcsim.metrics import METRICS
from bcsim.models.base import Enhancer
from bcsim.models.storage import AIR_TO_BONE
from bcsim.training.config import TrainingConfig
from bcsim.training.data import TrainingData
from bcsim.training.metrics_log import MetricsLog
from bcsim.training.processes import is_main_process
from bcsim.training.run_folder import write_samples
from bcsim.training.state import Best
from bcsim.training.validation import REAL, SYNTHETIC, Validation, Validator

log = logging.getLogger(__name__)


class BestModelTracker:
    """Validates on synthetic and on real pairs in the main process; real pairs decide, if any.

    Where no item of the pairs that decide has a value of the metric that decides, the last weights
    count as the best, as they do without validation.
    """

    def __init__(self, data: TrainingData, config: TrainingConfig, out: Path) -> None:
        self.config = config.validation
        self.out = out
        self.best: Best | None = None
        self.summary = ""  # the last validation's scores, in words
        self.reverse = config.direction == AIR_TO_BONE
        self.validators = {
            split: Validator(pairs, config.validation)
            for split, pairs in ((SYNTHETIC, data.validation), (REAL, data.validation_real))
            if pairs and is_main_process()
        }
        for split, validator in self.validators.items():
            if validator.num_silent:
                total = len(validator.items) + validator.num_silent
                told = "%s: %d of %d items are left out, for their target is silent"
                log.warning(told, split, validator.num_silent, total)
        if self.validators and not self.can_decide:
            log.warning(
                "%s: none of the %d items has a value of %s, for they are too short or hold too "
                "little speech: the last weights will count as the best; validate on longer "
                "recordings, or set another validation.metric",
                self.deciding,
                len(self.validators[self.deciding].items),
                self.config.metric,
            )

    @property
    def deciding(self) -> str:
        """Name of the set of pairs that decides which weights are best."""
        return REAL if REAL in self.validators else SYNTHETIC

    @property
    def can_decide(self) -> bool:
        """Whether some item of the deciding pairs has a value of the deciding metric."""
        validator = self.validators.get(self.deciding)
        return validator is not None and validator.unprocessed[self.config.metric] is not None

    def is_due(self, step: int, last: bool) -> bool:
        """Tell whether to validate after a step."""
        return bool(self.validators) and (last or step % self.config.interval_steps == 0)

    def validate(
        self, enhancer: Enhancer, device: torch.device, step: int, metrics: MetricsLog
    ) -> bool:
        """Score the weights, write scores and samples, and tell whether they are the best yet.

        Weights that score no better than silence are never the best.
        """
        found = {}
        for split, validator in self.validators.items():
            found[split] = validator.validate(enhancer, device)
            for number, (item, enhanced) in enumerate(
                zip(validator.items, found[split].samples, strict=False)
            ):
                write_samples(
                    self.out, number, item, enhanced, step=step, split=split, reverse=self.reverse
                )
            if found[split].num_dead:
                told = "step %d: the output for %d of %d items of %s is silent or not finite"
                log.warning(told, step, found[split].num_dead, len(validator.items), split)
        metrics.write(step, {n: v for split in found for n, v in found[split].named(split).items()})
        self.summary = "; ".join(f"{split}: {_compared(v)}" for split, v in found.items())
        name = self.config.metric
        value = found[self.deciding].enhanced[name]
        least = METRICS[name].worst if self.best is None else self.best.value
        if self.can_decide and not METRICS[name].is_better(value, least):
            return False
        self.best = Best(step, value, {split: v.scores for split, v in found.items()})
        return True

    def check_any(self, step: int) -> None:
        """Raise a DivergedError if there were validations, and none scored better than silence."""
        if self.can_decide and self.best is None:
            raise DivergedError(
                f"step {step}: no validation scored better than silence, so there are no best "
                "weights; lower optimizer.learning_rate"
            )

    @property
    def facts(self) -> dict[str, Any]:
        """What `config.json` says of the best weights."""
        assert self.best is not None
        return {
            "metric": self.config.metric,
            "scores": self.best.scores,
            "num_scored": {split: len(v.items) for split, v in self.validators.items()},
        }


def _compared(found: Validation) -> str:
    pairs = [
        f"{name} {value:.3f} (unprocessed {unprocessed:.3f})"
        for name, value in found.enhanced.items()
        if value is not None and (unprocessed := found.unprocessed[name]) is not None
    ]
    return ", ".join(pairs) or "nothing could be scored"
