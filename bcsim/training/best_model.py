"""Which weights of a run are the best, and what is written of every validation."""

from pathlib import Path
from typing import Any

import torch

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


class BestModelTracker:
    """Validates on synthetic and on real pairs in the main process; real pairs decide, if any."""

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

    def is_due(self, step: int, last: bool) -> bool:
        """Tell whether to validate after a step."""
        return bool(self.validators) and (last or step % self.config.interval_steps == 0)

    def validate(
        self, enhancer: Enhancer, device: torch.device, step: int, metrics: MetricsLog
    ) -> bool:
        """Score the weights, write scores and samples, and tell whether they are the best yet."""
        found = {}
        for split, validator in self.validators.items():
            found[split] = validator.validate(enhancer, device)
            for number, (item, enhanced) in enumerate(
                zip(validator.items, found[split].samples, strict=False)
            ):
                write_samples(
                    self.out, number, item, enhanced, step=step, split=split, reverse=self.reverse
                )
        metrics.write(step, {n: v for split in found for n, v in found[split].named(split).items()})
        self.summary = "; ".join(f"{split}: {_compared(v)}" for split, v in found.items())
        deciding = found.get(REAL) or found[SYNTHETIC]
        name = self.config.metric
        value = deciding.enhanced[name]
        if self.best is not None and not METRICS[name].is_better(value, self.best.value):
            return False
        self.best = Best(step, value, {split: v.scores for split, v in found.items()})
        return True

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
