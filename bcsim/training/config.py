"""The settings of a training run, as a recipe holds them."""

from dataclasses import dataclass, field
from typing import Any, Literal

from bcsim.errors import check_value
from bcsim.metrics import METRICS
from bcsim.models.storage import BONE_TO_AIR, Direction


@dataclass(frozen=True)
class OptimizerConfig:
    """How gradients change the weights.

    Args:
        name: "adam" or "adamw".
        learning_rate: at its peak.
        betas: decay of the first and second moments.
        weight_decay: added to the gradient by Adam, taken off the weights by AdamW.
        layers: what part of the learning rate some weights have, by the start of their names:
            `{encoder_blocks: 0.1, first_conv: 0}`; 0 freezes them. The longest start counts.
    """

    name: Literal["adam", "adamw"] = "adam"
    learning_rate: float = 3e-4
    betas: tuple[float, float] = (0.5, 0.9)
    weight_decay: float = 0.0
    layers: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_value(self.learning_rate > 0, "learning_rate", self.learning_rate, "above 0")
        check_value(all(0 <= b < 1 for b in self.betas), "betas", self.betas, "from 0 to below 1")
        check_value(self.weight_decay >= 0, "weight_decay", self.weight_decay, "0 or more")
        for name, ratio in self.layers.items():
            check_value(ratio >= 0, f"layers.{name}", ratio, "0 or more")


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
        check_value(self.warmup_steps >= 0, "warmup_steps", self.warmup_steps, "0 or more")
        check_value(0 <= self.final_ratio <= 1, "final_ratio", self.final_ratio, "from 0 to 1")


@dataclass(frozen=True)
class DataConfig:
    """What a step is fed with.

    Args:
        crop_s: length of each item, in seconds; a little more where the model takes certain
            lengths alone.
        batch_size: items a step, in each process.
        num_workers: processes that load ahead; 0 loads in between steps. They change no item.
        real_fraction: part of every batch that comes from `--real-pairs`, where these are
            given beside simulated ones.
    """

    crop_s: float = 2.5
    batch_size: int = 32
    num_workers: int = 2
    real_fraction: float = 0.25

    def __post_init__(self) -> None:
        check_value(self.crop_s >= 0.1, "crop_s", self.crop_s, "0.1 s or more")
        check_value(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")
        check_value(self.num_workers >= 0, "num_workers", self.num_workers, "0 or more")
        fraction = self.real_fraction
        check_value(0 < fraction < 1, "real_fraction", fraction, "between 0 and 1")


@dataclass(frozen=True)
class AdversarialConfig:
    """A discriminator to train against.

    Args:
        discriminator: `{name: ..., ...}`, a registered discriminator and its parameters.
        criterion: `{name: ..., ...}`, a registered criterion: hinge or least_squares.
        weight: of the criterion among the enhancer's losses.
        feature_matching: its convention, "reference", "eben", "melgan" or "hifi_gan"; null
            does without.
        feature_matching_weight: among the enhancer's losses.
        optimizer: of the discriminator; it follows the same schedule as the enhancer's.
        discriminator_start_step: steps before the discriminator begins to learn.
        start_step: steps before the enhancer listens to it, and warms up on the other losses.
        enhancer_steps: steps of the enhancer for one of the discriminator.
        gradient_clip_norm: longest gradient of the discriminator; null leaves gradients alone.
    """

    discriminator: dict[str, Any]
    criterion: dict[str, Any] = field(default_factory=lambda: {"name": "hinge"})
    weight: float = 1.0
    feature_matching: Literal["reference", "eben", "melgan", "hifi_gan"] | None = "reference"
    feature_matching_weight: float = 1.0
    optimizer: OptimizerConfig = OptimizerConfig()
    discriminator_start_step: int = 0
    start_step: int = 0
    enhancer_steps: int = 1
    gradient_clip_norm: float | None = None

    def __post_init__(self) -> None:
        for name in ("weight", "feature_matching_weight"):
            check_value(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        for name in ("discriminator_start_step", "start_step"):
            check_value(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        check_value(self.enhancer_steps >= 1, "enhancer_steps", self.enhancer_steps, "1 or more")
        clip = self.gradient_clip_norm
        check_value(clip is None or clip > 0, "gradient_clip_norm", clip, "above 0, or null")


@dataclass(frozen=True)
class BalancingConfig:
    """How the losses are weighed against each other.

    Args:
        name: "fixed" takes the weights as they are. All others look at gradients:
            "gradient_norms" lets every loss pull equally at the enhancer's last layer (Vibravox);
            "last_layer_ratio" brings the adversarial loss level with all others there (VQGAN), and
            "inverse_last_layer_ratio" all others with the adversarial one (EBEN's first version);
            "output_norms" gives every loss its share of the gradient at the output (EnCodec). The
            weights then say how the shares differ.
        decay: of the moving averages, per step: 0.9 in Vibravox, 0.999 in EnCodec.
    """

    name: Literal[
        "fixed",
        "gradient_norms",
        "last_layer_ratio",
        "inverse_last_layer_ratio",
        "output_norms",
    ] = "fixed"
    decay: float = 0.9

    def __post_init__(self) -> None:
        check_value(0 <= self.decay < 1, "decay", self.decay, "from 0 to below 1")


@dataclass(frozen=True)
class LoopConfig:
    """How long training goes on, and what it keeps.

    Args:
        num_steps: of the optimizer, in all.
        gradient_clip_norm: longest gradient, over all weights; null leaves gradients alone.
        ema_decay: of the moving average of the weights that is validated and exported, for each
            step; null takes the weights as they are.
        accumulation: parts that a batch is taken in, one after the other, to save memory. What is
            relative to a whole batch (balancing, feature matching, spectral convergence) is then
            relative to a part.
        precision: of the networks: "float32", or "bfloat16" where that is safe.
        compile: whether the enhancer's blocks are compiled, which needs a C++ compiler.
        device: "auto" takes a GPU where there is one.
        log_interval_steps: steps that a line of training losses is the mean of.
        checkpoint_interval_steps: steps that a killed run loses at most.
    """

    num_steps: int
    gradient_clip_norm: float | None = None
    ema_decay: float | None = None
    accumulation: int = 1
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    log_interval_steps: int = 50
    checkpoint_interval_steps: int = 500

    def __post_init__(self) -> None:
        check_value(self.num_steps >= 1, "num_steps", self.num_steps, "1 or more")
        clip, decay = self.gradient_clip_norm, self.ema_decay
        check_value(clip is None or clip > 0, "gradient_clip_norm", clip, "above 0, or null")
        check_value(decay is None or 0 < decay < 1, "ema_decay", decay, "between 0 and 1, or null")
        for name in ("log_interval_steps", "checkpoint_interval_steps", "accumulation"):
            check_value(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")


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
    metric: str = "stoi"
    num_samples: int = 3

    def __post_init__(self) -> None:
        check_value(self.interval_steps >= 1, "interval_steps", self.interval_steps, "1 or more")
        known = [name for name, metric in METRICS.items() if metric.selects]
        check_value(self.metric in known, "metric", self.metric, f"one of {', '.join(known)}")
        check_value(self.num_items >= 1, "num_items", self.num_items, "1 or more")
        length = self.max_item_s
        check_value(length is None or length >= 1, "max_item_s", length, "1 or more, or null")
        check_value(self.num_samples >= 0, "num_samples", self.num_samples, "0 or more")


@dataclass(frozen=True)
class TrainingConfig:
    """All settings of a run.

    Args:
        model: `{name: ..., ...}`, a registered model and its parameters.
        losses: `{name: ..., weight: ..., ...}` each, registered losses and their parameters.
        adversarial: a discriminator to train against; null does without.
        balancing: how all losses, those of `adversarial` included, are weighed.
        training: how long, and what is kept.
        optimizer: how gradients change the weights.
        schedule: how the learning rate goes.
        data: what a step is fed with.
        validation: how the run is judged.
        effects: what makes bone from air where pairs are rendered on the fly; null stands for
            those that `bcsim synthesize` applies by default.
        direction: "bone-to-air" trains an enhancer, "air-to-bone" a neural simulator.
        kind: says which kind of recipe this is.
        seed: what everything random about the run depends on.
        sample_rate: in Hz. Models and losses that ask for it get this one.
    """

    model: dict[str, Any]
    losses: list[dict[str, Any]]
    training: LoopConfig
    adversarial: AdversarialConfig | None = None
    balancing: BalancingConfig = BalancingConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    data: DataConfig = DataConfig()
    validation: ValidationConfig = ValidationConfig()
    effects: list[dict[str, Any]] | None = None
    direction: Direction = BONE_TO_AIR
    kind: Literal["training"] = "training"
    seed: int = 0
    sample_rate: int = 16_000

    def __post_init__(self) -> None:
        some = len(self.losses) > 0 or self.adversarial is not None
        check_value(some, "losses", self.losses, "one loss or more, or an adversarial part")
        start = 0 if self.adversarial is None else self.adversarial.start_step
        check_value(len(self.losses) > 0 or start == 0, "losses", self.losses, "one to warm up on")
        if self.data.batch_size % self.training.accumulation:
            raise ValueError(
                f"batch_size is {self.data.batch_size}; it does not divide into "
                f"{self.training.accumulation} parts, as training.accumulation asks for"
            )
        check_value(self.sample_rate >= 1, "sample_rate", self.sample_rate, "a rate in Hz")
