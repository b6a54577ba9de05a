"""Which weights of a run are the best, and what is written of every validation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bcsim.datasets.pairs import Pairs
from bcsim.metrics import METRICS
from bcsim.models.base import Enhancer
from bcsim.models.storage import AIR_TO_BONE
from bcsim.training.config import TrainingConfig
from bcsim.training.processes import is_main_process
from bcsim.training.run_folder import MetricsLog, write_samples
from bcsim.training.validation import REAL, SYNTHETIC, Validation, Validator


class BestModelTracker:
    """Validates on synthetic and on real pairs; where there are real ones, these decide.

    Args:
        sets: pairs by name, of which "validation" and "real_validation" are looked at.
        config: all settings.
        out: folder of the run.

    Attributes:
        best: step, value and scores of the best weights so far, as JSON holds them.
        said: what the last validation found, in words.
    """

    def __init__(self, sets: Mapping[str, Pairs], config: TrainingConfig, out: Path) -> None:
        self.config = config.validation
        self.out = out
        self.best: dict[str, Any] | None = None
        self.said = ""
        self.reverse = config.direction == AIR_TO_BONE
        self.validators = {
            split: Validator(sets[name], config.validation)
            for split, name in ((SYNTHETIC, "validation"), (REAL, "real_validation"))
            if name in sets and is_main_process()
        }

    def is_due(self, step: int, last: bool) -> bool:
        """Tell whether to validate after a step."""
        return bool(self.validators) and (last or step % self.config.interval_steps == 0)

    def validate(
        self, enhancer: Enhancer, device: torch.device, step: int, metrics: MetricsLog
    ) -> bool:
        """Score the weights, write it all down, and tell whether they are the best yet."""
        found = {}
        for split, validator in self.validators.items():
            found[split] = validator.validate(enhancer, device)
            for number, (item, enhanced) in enumerate(
                zip(validator.items, found[split].samples, strict=False)
            ):
                write_samples(self.out, number, item, enhanced, step, split, self.reverse)
        named = [validation.named(split) for split, validation in found.items()]
        metrics.write(step, {name: value for line in named for name, value in line.items()})
        self.said = "; ".join(f"{split}: {_compared(v)}" for split, v in found.items())
        deciding = found.get(REAL) or found[SYNTHETIC]
        value = deciding.enhanced[self.config.metric]
        before = None if self.best is None else self.best["value"]
        if self.best is not None and not METRICS[self.config.metric].is_better(value, before):
            return False
        self.best = {
            "step": step,
            "value": value,
            "scores": {
                split: {
                    "enhanced": validation.enhanced,
                    "unprocessed": validation.unprocessed,
                    "clean": validation.clean,
                }
                for split, validation in found.items()
            },
        }
        return True

    @property
    def facts(self) -> dict[str, Any]:
        """What `config.json` says of the best weights."""
        assert self.best is not None
        return {
            "metric": self.config.metric,
            "scores": self.best["scores"],
            "num_scored": {split: len(v.items) for split, v in self.validators.items()},
        }


def _compared(found: Validation) -> str:
    pairs = [
        f"{name} {value:.3f} (unprocessed {unprocessed:.3f})"
        for name, value in found.enhanced.items()
        if value is not None and (unprocessed := found.unprocessed[name]) is not None
    ]
    return ", ".join(pairs) or "nothing could be scored"
