"""The settings of a training run, as a recipe holds them."""

from dataclasses import dataclass
from typing import Any, Literal


def _require(condition: bool, name: str, value: object, wanted: str) -> None:
    if not condition:
        raise ValueError(f"{name} is {value!r}; it wants {wanted}")


@dataclass(frozen=True)
class OptimizerConfig:
    """How gradients change the weights.

    Args:
        name: "adam" or "adamw".
        learning_rate: at its peak.
        betas: decay of the first and second moments.
        weight_decay: added to the gradient by Adam, taken off the weights by AdamW.
    """

    name: Literal["adam", "adamw"] = "adam"
    learning_rate: float = 3e-4
    betas: tuple[float, float] = (0.5, 0.9)
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _require(self.learning_rate > 0, "learning_rate", self.learning_rate, "above 0")
        _require(all(0 <= b < 1 for b in self.betas), "betas", self.betas, "from 0 to below 1")
        _require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "0 or more")


@dataclass(frozen=True)
class ScheduleConfig:
    """How the learning rate goes over the run.

    Args:
        name: "constant", or "cosine" from the peak to its end over the steps after the warm-up.
        warmup_steps: over which it rises from near zero to the peak, linearly.
        final_ratio: of "cosine": learning rate at the end, relative to the peak.
    """

    name: Literal["constant", "cosine"] = "constant"
    warmup_steps: int = 0
    final_ratio: float = 0.0

    def __post_init__(self) -> None:
        _require(self.warmup_steps >= 0, "warmup_steps", self.warmup_steps, "0 or more")
        _require(0 <= self.final_ratio <= 1, "final_ratio", self.final_ratio, "from 0 to 1")


@dataclass(frozen=True)
class DataConfig:
    """What a step is fed with.

    Args:
        crop_s: length of each item, in seconds.
        batch_size: items a step.
        num_workers: processes that load ahead; 0 loads in between steps. They change no item.
    """

    crop_s: float = 2.5
    batch_size: int = 32
    num_workers: int = 2

    def __post_init__(self) -> None:
        _require(self.crop_s >= 0.1, "crop_s", self.crop_s, "0.1 s or more")
        _require(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")
        _require(self.num_workers >= 0, "num_workers", self.num_workers, "0 or more")


@dataclass(frozen=True)
class LoopConfig:
    """How long training goes on, and what it keeps.

    Args:
        num_steps: of the optimizer, in all.
        gradient_clip_norm: longest gradient, over all weights; null leaves gradients alone.
        ema_decay: of the moving average of the weights that is validated and exported, for each
            step; null takes the weights as they are.
        precision: of the network: "float32", or "bfloat16" where that is safe.
        device: "auto" takes a GPU where there is one.
        log_interval_steps: steps that a line of training losses is the mean of.
        checkpoint_interval_steps: steps that a killed run loses at most.
    """

    num_steps: int
    gradient_clip_norm: float | None = None
    ema_decay: float | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    log_interval_steps: int = 50
    checkpoint_interval_steps: int = 500

    def __post_init__(self) -> None:
        _require(self.num_steps >= 1, "num_steps", self.num_steps, "1 or more")
        clip, decay = self.gradient_clip_norm, self.ema_decay
        _require(clip is None or clip > 0, "gradient_clip_norm", clip, "above 0, or null")
        _require(decay is None or 0 < decay < 1, "ema_decay", decay, "between 0 and 1, or null")
        for name in ("log_interval_steps", "checkpoint_interval_steps"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")


@dataclass(frozen=True)
class ValidationConfig:
    """How the run is judged.

    Args:
        interval_steps: between validations; there is one at the end in any case.
        num_items: how many items, spread evenly over those there are; the same in every run.
        max_item_s: items are cut to this length, in seconds; null takes them whole.
        metric: what the best weights are best at. Not PESQ, which likes unprocessed
            body-conducted speech best of all.
        num_samples: of how many items the audio is written.
    """

    interval_steps: int = 1000
    num_items: int = 32
    max_item_s: float | None = 10.0
    metric: Literal["si_sdr", "stoi", "estoi", "lsd"] = "stoi"
    num_samples: int = 3

    def __post_init__(self) -> None:
        _require(self.interval_steps >= 1, "interval_steps", self.interval_steps, "1 or more")
        _require(self.num_items >= 1, "num_items", self.num_items, "1 or more")
        length = self.max_item_s
        _require(length is None or length >= 1, "max_item_s", length, "1 or more, or null")
        _require(self.num_samples >= 0, "num_samples", self.num_samples, "0 or more")


@dataclass(frozen=True)
class TrainingConfig:
    """All settings of a run.

    Args:
        model: `{name: ..., ...}`, a registered model and its parameters.
        losses: `{name: ..., weight: ..., ...}` each, registered losses and their parameters.
        training: how long, and what is kept.
        optimizer: how gradients change the weights.
        schedule: how the learning rate goes.
        data: what a step is fed with.
        validation: how the run is judged.
        effects: what makes bone from air where pairs are rendered on the fly; null stands for
            those that `bcsim synthesize` applies by default.
        kind: says which kind of recipe this is.
        seed: what everything random about the run depends on.
        sample_rate: in Hz. Models and losses that ask for it get this one.
    """

    model: dict[str, Any]
    losses: list[dict[str, Any]]
    training: LoopConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    data: DataConfig = DataConfig()
    validation: ValidationConfig = ValidationConfig()
    effects: list[dict[str, Any]] | None = None
    kind: Literal["training"] = "training"
    seed: int = 0
    sample_rate: int = 16_000

    def __post_init__(self) -> None:
        _require(len(self.losses) > 0, "losses", self.losses, "one loss or more")
        _require(self.sample_rate >= 1, "sample_rate", self.sample_rate, "a rate in Hz")
