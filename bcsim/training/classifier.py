"""The training of the classifier that the deep feature loss looks through.

What it learns to tell is what the simulator knows of every clip that it renders: which of the
signals a clip is, and at the air microphone which noise was drawn, and at which SNR.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bcsim.datasets.rendered_pairs import RenderedPairs
from bcsim.effects.ambient_noise import AmbientNoise
from bcsim.effects.room import Room
from bcsim.errors import DivergedError, UsageError, check_value
from bcsim.losses.sound_classifier import SoundClassifier, build_classifier
from bcsim.progress import track
from bcsim.training.batches import picked
from bcsim.workers.device import choose_device

SIGNALS = ("air", "bone", "noisy_air")
UNKNOWN = -100  # what cross_entropy passes over
MAX_SCORED = 100  # items that the accuracy is measured on


@dataclass(frozen=True)
class ClassifierConfig:
    """All settings of the training of a classifier.

    Args:
        num_steps: number of steps of the optimizer.
        effects: effects that make the clips; one of them draws noise for the air microphone.
        width: channels of the first layers.
        snr_edges_db: SNRs in dB between the classes of the SNR, rising.
        crop_s: length of each clip in seconds.
        batch_size: number of pairs of a step, of three clips each.
        learning_rate: learning rate of Adam.
        kind: kind of the recipe.
        seed: root seed of everything random.
        sample_rate: sample rate in Hz.
    """

    num_steps: int
    effects: list[dict[str, Any]]
    width: int = 32
    snr_edges_db: list[float] = field(default_factory=lambda: [0.0, 10.0, 20.0])
    crop_s: float = 2.0
    batch_size: int = 8
    learning_rate: float = 1e-3
    kind: Literal["classifier"] = "classifier"
    seed: int = 0
    sample_rate: int = 16_000

    def __post_init__(self) -> None:
        for name in ("num_steps", "width", "batch_size", "sample_rate"):
            check_value(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        check_value(self.crop_s >= 0.1, "crop_s", self.crop_s, "0.1 s or more")
        check_value(self.learning_rate > 0, "learning_rate", self.learning_rate, "above 0")
        edges = self.snr_edges_db
        rising = len(edges) > 0 and edges == sorted(set(edges))
        check_value(rising, "snr_edges_db", edges, "one SNR or more, rising")


class Clips(NamedTuple):
    """Clips of a step.

    Args:
        signals: (N, 1, T).
        labels: numbers of the classes by label, (N,) each; `UNKNOWN` where a label says nothing.
    """

    signals: Tensor
    labels: dict[str, Tensor]


class LabelledClips:
    """The three signals of rendered pairs, and what the simulator knows of them.

    Args:
        pairs: pairs that are rendered with noise at the air microphone.
        config: settings of the training.

    Raises:
        UsageError: if no effect draws noise for the air microphone.
    """

    def __init__(self, pairs: RenderedPairs, config: ClassifierConfig) -> None:
        self.pairs, self.config = pairs, config
        simulator = pairs.simulator
        noisy = [
            (name, effect.noise)
            for name, effect in zip(simulator.step_names, simulator.effects, strict=True)
            if isinstance(effect, AmbientNoise | Room) and effect.noise is not None
        ]
        if not noisy:
            raise UsageError(
                "no effect draws noise for the air microphone, which is what the classifier is to "
                "tell; set effects.ambient_noise.noise to a folder of recordings"
            )
        self.step, recordings = noisy[0]
        kinds = sorted({kind_of_noise(name) for name in recordings.names})
        edges = [f"{edge:g} dB" for edge in config.snr_edges_db]
        self.classes = {
            "signal": list(SIGNALS),
            "snr": [f"below {edges[0]}", *(f"from {edge}" for edge in edges)],
            "noise": kinds,
        }

    def at(self, picks: Sequence[tuple[int, int]]) -> Clips:
        """Return all signals of the crops of items, each given by its index and epoch."""
        num_samples = round(self.config.crop_s * self.config.sample_rate)
        crops = self.pairs.crops(picks, num_samples)
        signals = [crop.air for crop in crops] + [crop.bone for crop in crops]
        signals += [crop.microphone for crop in crops]
        draws = [self.pairs.draws(*pick)[self.step] for pick in picks]
        edges = torch.tensor(self.config.snr_edges_db, dtype=torch.float64)
        snr_db = torch.tensor([cast(float, draw["snr_db"]) for draw in draws], dtype=torch.float64)
        kinds = self.classes["noise"]
        noise = [kinds.index(kind_of_noise(str(draw["noise"]))) for draw in draws]
        silent = [torch.full((2 * len(picks),), UNKNOWN)]
        labels = {
            "signal": torch.arange(len(SIGNALS)).repeat_interleave(len(picks)),
            "snr": torch.cat([*silent, torch.bucketize(snr_db, edges, right=True)]),
            "noise": torch.cat([*silent, torch.tensor(noise)]),
        }
        return Clips(torch.stack(signals)[:, None], labels)

    def of_step(self, step: int) -> Clips:
        """Return the clips of a step, counted from 0; every epoch takes each item once."""
        start = step * self.config.batch_size
        positions = range(start, start + self.config.batch_size)
        picks = picked(positions, len(self.pairs), self.config.seed, "classifier")
        return self.at(picks)


@dataclass(frozen=True)
class Accuracy:
    """How often a classifier is right on speakers that it did not learn from.

    Args:
        accuracy: fraction of the clips that it puts into their class.
        most_frequent: fraction that is in the most frequent class.
        num_clips: number of clips.
    """

    accuracy: float
    most_frequent: float
    num_clips: int


def kind_of_noise(name: str) -> str:
    """Return the kind of a recording: the first folder of its path, or its name where it has none.

    Example:
        >>> kind_of_noise("kitchen/dishes_1.wav"), kind_of_noise("rain.wav")
        ('kitchen', 'rain')
    """
    path = PurePosixPath(name)
    return path.parts[0] if len(path.parts) > 1 else path.stem


def train_classifier(config: ClassifierConfig, clips: LabelledClips) -> SoundClassifier:
    """Return a classifier that was trained on the CPU or, where there is one, on the GPU.

    Raises:
        DivergedError: if the loss is not finite.
    """
    device = choose_device("auto")
    spec = {"classes": clips.classes, "width": config.width, "sample_rate": config.sample_rate}
    classifier = build_classifier(spec, config.seed).to(device)
    optimizer = torch.optim.Adam(classifier.parameters(), config.learning_rate)
    for step in track(range(config.num_steps), config.num_steps, "training"):
        signals, labels = clips.of_step(step)
        found = classifier(signals.to(device))
        losses = [
            cross_entropy(logits, labels[label].to(device), ignore_index=UNKNOWN)
            for label, logits in found.items()
        ]
        loss = torch.stack(losses).sum()
        if not math.isfinite(loss.item()):
            raise DivergedError(f"step {step + 1}: the loss is {loss.item()}; lower learning_rate")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return classifier.cpu().eval()


@torch.no_grad()
def accuracies(classifier: SoundClassifier, clips: LabelledClips) -> dict[str, Accuracy]:
    """Return how often a classifier is right, by label."""
    right: Counter[str] = Counter()
    truths: dict[str, list[int]] = {label: [] for label in clips.classes}
    for index in range(min(len(clips.pairs), MAX_SCORED)):
        signals, labels = clips.at([(index, 0)])
        for label, logits in classifier(signals).items():
            known = labels[label] != UNKNOWN
            truths[label] += labels[label][known].tolist()
            right[label] += int((logits.argmax(-1) == labels[label])[known].sum())
    return {
        label: Accuracy(
            right[label] / len(classes), max(Counter(classes).values()) / len(classes), len(classes)
        )
        for label, classes in truths.items()
    }
