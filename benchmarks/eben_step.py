"""EBEN's training step: the public form against ours, from the same weights and batches.

    python benchmarks/eben_step.py                       # two CPU cores, float32, batch 4 x 2.5 s
    python benchmarks/eben_step.py --device cuda --batch-size 32 --bf16 --compile

The public form is that of Vibravox, restated here from its description: the discriminator is run
anew for its own loss, its weights frozen while the enhancer learns; every loss sends a gradient of
its own through discriminator and output to the last layer, for its norm, before their sum goes back
through everything. Ours is `bcsim.training.step`, as `bcsim train` runs it.

Parity first: the losses of ten steps, each from the same weights and optimizer states, in float32;
of ten steps in a row in float64; and of ten in a row in float32, at a learning rate of 1e-6. At the
published 3e-4 the last says nothing: Adam moves a weight whose gradient is rounding noise as far as
any other, and the public form is soon as far from itself, begun with weights that differ by one
part in ten million, as from anything else. Both are printed too.

Then both are timed, turn by turn, since a machine is not equally fast all the time. What is printed
is the ratio of medians, and the span of the ratios of single rounds.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import auraloss
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.functional import relu

from bcsim.discriminators.eben import EBENMultiBand
from bcsim.dsp.randomness import torch_stream
from bcsim.models.eben import EBENGenerator
from bcsim.rng import stream
from bcsim.training.adversarial import AdversarialObjective
from bcsim.training.balancing import EPSILON, MAX_WEIGHT, GradientNorms
from bcsim.training.config import (
    AdversarialConfig,
    OptimizerConfig,
)
from bcsim.training.optimization import WeightedObjectives, make_optimizer
from bcsim.training.processes import compile_blocks
from bcsim.training.step import Gradients

SAMPLE_RATE = 16_000
LEARNING_RATE, BETAS, DECAY = 3e-4, (0.5, 0.9), 0.9
FFT_SIZES, HOP_SIZES, WIN_LENGTHS = [512, 1024, 2048], [50, 120, 240], [240, 600, 1200]
NUM_STEPS = 10  # of the parity
SLOW = 1e-6  # a learning rate at which rounding does not yet decide where the weights go


@dataclass(frozen=True)
class Size:
    """How large the networks are."""

    width: int = 32
    latent: int = 64
    min_channels: int = 24
    melgan_width: int = 16

    def networks(self) -> tuple[EBENGenerator, EBENMultiBand]:
        """Return enhancer and discriminator, the same in every call."""
        with torch_stream(0, "eben_step"):
            return (
                EBENGenerator(p=2, width=self.width, latent=self.latent),
                EBENMultiBand(min_channels=self.min_channels, melgan_width=self.melgan_width),
            )


class PublicStep:
    """EBEN's step as Vibravox takes it."""

    def __init__(
        self,
        size: Size,
        like: Tensor,
        off_by: float = 0.0,
        learning_rate: float = LEARNING_RATE,
    ) -> None:
        generator, discriminator = size.networks()
        self.generator, self.discriminator = generator.to(like), discriminator.to(like)
        with torch.no_grad():
            for weights in self.generator.parameters():
                weights.mul_(1 + off_by)
        self.stft = auraloss.freq.MultiResolutionSTFTLoss(
            fft_sizes=FFT_SIZES,
            hop_sizes=HOP_SIZES,
            win_lengths=WIN_LENGTHS,
            perceptual_weighting=True,
            sample_rate=SAMPLE_RATE,
        ).to(like)
        generator_weights = [w for w in self.generator.parameters() if w.requires_grad]
        self.optimizers = [
            torch.optim.Adam(weights, lr=learning_rate, betas=BETAS)
            for weights in (generator_weights, self.discriminator.parameters())
        ]
        self.norms: dict[str, Tensor] = {}

    def __call__(self, bone: Tensor, air: Tensor) -> dict[str, Tensor]:
        """Take a step, for (B, 1, T) of a valid length; return the losses."""
        self.discriminator.requires_grad_(False)
        speech, bands = self.generator.forward_with_bands(bone)
        air_bands = self.generator.pqmf.analysis(air)
        fake = self.discriminator(speech, bands)
        real = self.discriminator(air, air_bands)
        losses = {
            "multi_resolution_stft": self.stft(speech, air),
            "feature_matching": _feature_matching(real, fake),
            "adversarial": _mean([relu(1 - scores[-1]).mean() for scores in fake]),
        }
        last = self.generator.last_conv.weight
        norms = {
            name: torch.autograd.grad(loss, last, retain_graph=True)[0].norm().detach()
            for name, loss in losses.items()
        }
        before = self.norms or norms
        self.norms = {n: DECAY * before[n] + (1 - DECAY) * norms[n] for n in norms}
        weights = {
            n: (1 / (norm + EPSILON)).clamp(max=MAX_WEIGHT) for n, norm in self.norms.items()
        }
        torch.stack([weights[name] * loss for name, loss in losses.items()]).sum().backward()
        self.optimizers[0].step()
        self.optimizers[0].zero_grad()
        self.discriminator.requires_grad_(True)
        fake = self.discriminator(speech.detach(), bands.detach())
        real = self.discriminator(air, air_bands)
        losses["discriminator"] = _mean([relu(1 - scores[-1]).mean() for scores in real]) + _mean(
            [relu(1 + scores[-1]).mean() for scores in fake]
        )
        losses["discriminator"].backward()
        self.optimizers[1].step()
        self.optimizers[1].zero_grad()
        return {name: value.detach() for name, value in losses.items()}


class OurStep:
    """The step of `bcsim train`."""

    def __init__(
        self,
        size: Size,
        like: Tensor,
        compiled: bool = False,
        learning_rate: float = LEARNING_RATE,
    ) -> None:
        accelerator = Accelerator(cpu=like.device.type == "cpu")
        config = AdversarialConfig(
            discriminator={
                "name": "eben",
                "min_channels": size.min_channels,
                "melgan_width": size.melgan_width,
            },
            feature_matching="eben",
            optimizer=OptimizerConfig(learning_rate=learning_rate, betas=BETAS),
        )
        self.adversarial = AdversarialObjective(config, 0, accelerator)
        generator, discriminator = size.networks()
        self.adversarial.discriminator.load_state_dict(discriminator.state_dict())
        self.adversarial.discriminator.to(like)
        self.generator = generator.to(like)
        spec = {
            "name": "multi_resolution_stft",
            "a_weighting": True,
            "fft_sizes": FFT_SIZES,
            "hop_sizes": HOP_SIZES,
            "win_lengths": WIN_LENGTHS,
        }
        self.balancer = GradientNorms(DECAY)
        self.gradients = Gradients(
            self.generator,
            WeightedObjectives([spec], SAMPLE_RATE).to(like),
            self.adversarial,
            self.balancer,
            accelerator,
        )
        if compiled:
            compile_blocks(self.generator)
        self.optimizer = make_optimizer(self.generator, config.optimizer)

    def __call__(self, bone: Tensor, air: Tensor) -> dict[str, Tensor]:
        """Take a step, for (B, 1, T) of a valid length; return the losses."""
        losses = self.gradients.add(bone, air, step=0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.adversarial.optimizer.step()
        self.adversarial.optimizer.zero_grad(set_to_none=True)
        return losses

    def take_up(self, public: PublicStep) -> None:
        """Go on from where the public form is."""
        self.generator.load_state_dict(public.generator.state_dict())
        self.adversarial.discriminator.load_state_dict(public.discriminator.state_dict())
        self.balancer.averages = dict(public.norms)
        ours = (self.optimizer, self.adversarial.optimizer)
        for optimizer, theirs in zip(ours, public.optimizers, strict=True):
            optimizer.load_state_dict(copy.deepcopy(theirs.state_dict()))
            for group in optimizer.param_groups:
                group["fused"] = True


def batch(number: int, size: int, num_samples: int, like: Tensor) -> list[Tensor]:
    """Return bone and air (B, 1, T) of a batch: modulated noise, and the same dulled."""
    drawn = stream(0, "eben_step", number).standard_normal((size, 1, num_samples))
    time_s = torch.arange(num_samples) / SAMPLE_RATE
    envelope = (2 * torch.pi * 3 * time_s).sin().clamp_min(0.02)
    air = 0.1 * envelope * torch.from_numpy(drawn).float()
    bone = torch.nn.functional.avg_pool1d(air, 9, stride=1, padding=4)
    return [bone.to(like), air.to(like)]


def largest_difference(
    public: PublicStep,
    other: PublicStep | OurStep,
    batches: Sequence[list[Tensor]],
    together: bool = False,
) -> str:
    """Say how far the losses of the same steps are apart, relatively, and which loss most.

    Args:
        public: the one.
        other: the other.
        batches: of the steps.
        together: whether every step begins where the public form is.
    """
    worst, where = 0.0, "nowhere"
    for number, pair in enumerate(batches, start=1):
        if together and isinstance(other, OurStep):
            other.take_up(public)
        theirs, own = public(*pair), other(*pair)
        for name, value in theirs.items():
            apart = float((own[name] - value).abs() / value.abs().clamp_min(1e-12))
            if apart > worst:
                worst, where = apart, f"{name}, step {number}"
    return f"{worst:.1e} ({where})"


def timed(step: Callable[[], object], device: torch.device) -> float:
    """Return how long a call takes, in seconds."""
    started = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _feature_matching(real: list[list[Tensor]], fake: list[list[Tensor]]) -> Tensor:
    terms = [
        (f - r).abs().mean() / f.abs().mean()
        for ours, theirs in zip(real, fake, strict=True)
        for r, f in zip(ours[:-1], theirs[:-1], strict=True)
    ]
    return torch.stack(terms).sum() / (len(real) * len(real[-1][:-1]))


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean()


def show_parity(size: Size, batch_size: int, num_samples: int, device: torch.device) -> None:
    """Print how far the two forms are apart."""
    singles = torch.zeros((), device=device)
    doubles = singles.double()
    batches = [batch(n, batch_size, num_samples, singles) for n in range(NUM_STEPS)]
    exact = [[signal.double() for signal in pair] for pair in batches]
    print(f"largest relative difference of a loss in {NUM_STEPS} steps")
    for label, found in (
        (
            "float32, each step from the same weights",
            largest_difference(PublicStep(size, singles), OurStep(size, singles), batches, True),
        ),
        (
            "float64, in a row",
            largest_difference(PublicStep(size, doubles), OurStep(size, doubles), exact),
        ),
        (
            f"float32, in a row, at a learning rate of {SLOW:g}",
            largest_difference(
                PublicStep(size, singles, learning_rate=SLOW),
                OurStep(size, singles, learning_rate=SLOW),
                batches,
            ),
        ),
        (
            "float32, in a row",
            largest_difference(PublicStep(size, singles), OurStep(size, singles), batches),
        ),
        (
            "float32, in a row, the public form against itself begun 1e-7 off",
            largest_difference(PublicStep(size, singles), PublicStep(size, singles, 1e-7), batches),
        ),
    ):
        print(f"  {label}: {found}")


def show_speed(
    size: Size,
    pair: list[Tensor],
    num_rounds: int,
    compiled: bool,
    bfloat16: bool,
) -> None:
    """Print how fast they are."""
    like = pair[0]
    public, ours = PublicStep(size, like), OurStep(size, like)
    steps: dict[str, Callable[[], object]] = {
        "public": lambda: public(*pair),
        "ours": lambda: ours(*pair),
    }
    if compiled:
        blocks = OurStep(size, like, compiled=True)
        steps["ours, compiled"] = lambda: blocks(*pair)
    if bfloat16:
        half = OurStep(size, like, compiled)

        def in_bfloat16() -> None:
            with torch.autocast(like.device.type, torch.bfloat16):
                half(*pair)

        steps["ours, bfloat16" + (", compiled" if compiled else "")] = in_bfloat16
    for step in steps.values():  # the first times are other times
        step()
        step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(num_rounds):
        for name, step in steps.items():
            times[name].append(timed(step, like.device))
    for name, seconds in times.items():
        ratio = statistics.median(times["public"]) / statistics.median(seconds)
        ratios = [p / s for p, s in zip(times["public"], seconds, strict=True)]
        print(
            f"  {name:24s} {statistics.median(seconds):7.3f} s a step, {ratio:5.2f} x the public "
            f"form's speed ({min(ratios):.2f} to {max(ratios):.2f} in {num_rounds} rounds)"
        )


def main() -> None:
    """Compare, then time."""
    parser = argparse.ArgumentParser(description="EBEN's training step, the public form and ours.")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--crop-s", type=float, default=2.5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--no-parity", action="store_true", help="time only")
    parser.add_argument("--bf16", action="store_true", help="also time ours in bfloat16")
    parser.add_argument("--compile", action="store_true", help="also time ours compiled")
    parser.add_argument("--small", action="store_true", help="networks that only try this file out")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    size = Size(4, 4, 4, 4) if args.small else Size()
    num_samples = EBENGenerator().valid_length(round(args.crop_s * SAMPLE_RATE))
    print(f"batch {args.batch_size} x {args.crop_s} s on {device}, {args.threads} threads")
    if not args.no_parity:
        show_parity(size, args.batch_size, num_samples, device)
    pair = batch(0, args.batch_size, num_samples, torch.zeros((), device=device))
    show_speed(size, pair, args.rounds, args.compile, args.bf16)


if __name__ == "__main__":
    main()
