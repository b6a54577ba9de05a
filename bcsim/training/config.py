"""The settings of a training run, as a recipe holds them."""

from dataclasses import dataclass, field
from typing import Any, Literal

from bcsim.errors import check_value
from bcsim.metrics import METRICS
from bcsim.models.storage import BONE_TO_AIR, Direction


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer of a network.

    Args:
        name: "adam" or "adamw".
        learning_rate: peak of the learning rate.
        betas: decay of the first and second moments.
        weight_decay: decay coefficient, coupled to the gradient in Adam, decoupled in AdamW.
        layers: ratio of the learning rate of some weights by the start of their names, such as
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
    """The learning rate over the steps of a run.

    Args:
        name: "constant", or "cosine" from the peak to its end over the steps after the warm-up.
        warmup_steps: number of steps over which it rises linearly from near zero to the peak.
        final_ratio: learning rate at the end of "cosine", relative to the peak.
    """

    name: Literal["constant", "cosine"] = "constant"
    warmup_steps: int = 0
    final_ratio: float = 0.0

    def __post_init__(self) -> None:
        check_value(self.warmup_steps >= 0, "warmup_steps", self.warmup_steps, "0 or more")
        check_value(0 <= self.final_ratio <= 1, "final_ratio", self.final_ratio, "from 0 to 1")


@dataclass(frozen=True)
class DataConfig:
    """The batches of a run.

    Args:
        crop_s: length of each item in seconds, rounded up to one that the model takes.
        batch_size: number of items of a step in each process.
        num_workers: number of processes that load ahead; 0 loads between steps.
        real_fraction: fraction of every batch that comes from real pairs, where these are given
            beside simulated ones.
        augmentation: effects that change the crops of recorded pairs, `{name: ..., ...}` each;
            those of rendered ones are left as they are.
    """

    crop_s: float = 2.5
    batch_size: int = 32
    num_workers: int = 2
    real_fraction: float = 0.25
    augmentation: list[dict[str, Any]] = field(default_factory=list)

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
        weight: weight of the criterion among the enhancer's losses.
        feature_matching: convention, "reference", "eben", "melgan" or "hifi_gan"; null for none.
        feature_matching_weight: weight of feature matching among the enhancer's losses.
        optimizer: optimizer of the discriminator, whose schedule is that of the enhancer.
        discriminator_start_step: number of steps before the discriminator begins to learn.
        start_step: number of steps before the adversarial loss is active.
        enhancer_steps: number of steps of the enhancer for one of the discriminator.
        discriminator_steps: number of steps of the discriminator for one of the enhancer, once the
            adversarial loss is active.
        enhancer_rate_ratio: ratio of the enhancer's learning rate once the adversarial loss is
            active, relative to that of its schedule.
        gradient_clip_norm: largest norm of the discriminator's gradient; null does not clip.
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
    discriminator_steps: int = 1
    enhancer_rate_ratio: float = 1.0
    gradient_clip_norm: float | None = None

    def __post_init__(self) -> None:
        for name in ("weight", "feature_matching_weight", "enhancer_rate_ratio"):
            check_value(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        for name in ("discriminator_start_step", "start_step"):
            check_value(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        for name in ("enhancer_steps", "discriminator_steps"):
            check_value(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        steps = self.discriminator_steps
        alone = steps == 1 or self.enhancer_steps == 1
        check_value(alone, "discriminator_steps", steps, "1 where enhancer_steps is above 1")
        late = self.discriminator_start_step - self.start_step
        known = steps == 1 or late <= 0
        wanted = "1 where the discriminator begins after start_step"
        check_value(known, "discriminator_steps", steps, wanted)
        clip = self.gradient_clip_norm
        check_value(clip is None or clip > 0, "gradient_clip_norm", clip, "above 0, or null")


@dataclass(frozen=True)
class BalancingConfig:
    """How the losses are weighed against each other; see `bcsim.training.balancing`.

    Args:
        name: "fixed" takes the weights as they are; all others look at gradients:
            "gradient_norms" (Vibravox), "last_layer_ratio" (VQGAN), "inverse_last_layer_ratio"
            (EBEN's first version) and "output_norms" (EnCodec).
        decay: decay of the moving averages per step: 0.9 in Vibravox, 0.999 in EnCodec.
    """

    name: Literal[
        "fixed", "gradient_norms", "last_layer_ratio", "inverse_last_layer_ratio", "output_norms"
    ] = "fixed"
    decay: float = 0.9

    def __post_init__(self) -> None:
        check_value(0 <= self.decay < 1, "decay", self.decay, "from 0 to below 1")


@dataclass(frozen=True)
class LoopConfig:
    """The steps of a run and what is kept of them.

    Args:
        num_steps: number of steps of the optimizer.
        gradient_clip_norm: largest norm of the gradient over all weights; null does not clip.
        ema_decay: decay per step of the moving average of the weights, which is validated and
            exported; null takes the weights as they are.
        accumulation: number of parts that a batch is taken in, one after the other, to save
            memory. Balancing, feature matching and spectral convergence are then relative to a
            part.
        precision: number format of the networks: "float32", or "bfloat16" where that is safe.
        compile: whether the enhancer's blocks are compiled, which needs a C++ compiler.
        device: device of the networks; "auto" takes a GPU where there is one.
        log_interval_steps: number of steps that a line of training losses is the mean of.
        checkpoint_interval_steps: number of steps that a killed run loses at most.
        time_limit_s: time in seconds that steps may take, those before a resume included; the step
            that uses it up is the last, though `num_steps` may be more. "cosine" falls with the
            time, where that is further than the steps. Null sets no limit.
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
    time_limit_s: float | None = None

    def __post_init__(self) -> None:
        check_value(self.num_steps >= 1, "num_steps", self.num_steps, "1 or more")
        clip, decay = self.gradient_clip_norm, self.ema_decay
        check_value(clip is None or clip > 0, "gradient_clip_norm", clip, "above 0, or null")
        check_value(decay is None or 0 < decay < 1, "ema_decay", decay, "between 0 and 1, or null")
        for name in ("log_interval_steps", "checkpoint_interval_steps", "accumulation"):
            check_value(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        limit = self.time_limit_s
        check_value(limit is None or limit > 0, "time_limit_s", limit, "above 0, or null")


@dataclass(frozen=True)
class ValidationConfig:
    """The validation of a run.

    Args:
        interval_steps: number of steps between validations; there is one at the end in any case.
        num_items: number of items, spread evenly over those there are; the same in every run.
        max_item_s: longest part of an item, from its start, in seconds; null takes items whole.
        metric: metric that decides which weights are best. Not PESQ, which scores unprocessed
            body-conducted speech highest.
        num_samples: number of items whose audio is written.
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
        training: steps of the run and what is kept of them.
        balancing: weighing of all losses, those of `adversarial` included.
        optimizer: optimizer of the enhancer.
        schedule: learning rate over the steps.
        data: batches of the run.
        validation: validation of the run.
        effects: effects that make bone from air where pairs are rendered on the fly; null stands
            for those that `bcsim synthesize` applies by default.
        direction: "bone-to-air" trains an enhancer, "air-to-bone" a neural simulator.
        kind: kind of the recipe.
        seed: root seed of everything random about the run.
        sample_rate: sample rate in Hz that models and losses get.
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
