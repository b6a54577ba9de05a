"""The classifier whose inner features the deep feature loss compares, and its files.

Germain, Chen and Koltun, "Speech denoising with deep feature losses", Interspeech 2019,
arXiv 1806.10522. `classifier.safetensors` holds the weights, `classifier.json` says what they are
of.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from bcsim.dsp.randomness import torch_stream
from bcsim.errors import UsageError
from bcsim.files.safetensors_file import NetworkFiles
from bcsim.files.text import shown

NUM_LAYERS = 14
DOUBLED_EVERY = 5  # layers, after which the width doubles
KERNEL = 3
SLOPE = 0.2  # of the leaky rectifiers
EPSILON = 1e-3  # added to the variance
MAX_WIDTH = 1024
WEIGHTS_FILE, CONFIG_FILE = "classifier.safetensors", "classifier.json"


class SoundClassifier(nn.Module):
    """Fourteen convolutions of the waveform, their mean over time, and one linear layer a label.

    All convolutions but the last halve the rate. Each is followed by a batch norm without a gain
    and a leaky rectifier.

    Args:
        classes: names of the classes of every label.
        width: channels of the first five layers; twice as many in the next five, and four times
            in the last four.
        sample_rate: sample rate in Hz.

    Raises:
        ValueError: for sizes that make no network, or a label without classes.

    Example:
        >>> from bcsim.files.safetensors_file import weights_of
        >>> tasks = {"scene": ["home"] * 15, "tags": ["child"] * 7}
        >>> sum(weights.numel() for weights in weights_of(SoundClassifier(tasks)).values())
        245526
    """

    def __init__(
        self, classes: Mapping[str, Sequence[str]], width: int = 32, sample_rate: int = 16_000
    ) -> None:
        super().__init__()
        if not (1 <= width <= MAX_WIDTH and sample_rate >= 1 and all(map(len, classes.values()))):
            raise ValueError(
                f"sound classifier: width {width}, sample_rate {sample_rate}; it wants a width "
                f"from 1 to {MAX_WIDTH}, a positive sample_rate, and a class or more of each label"
            )
        self.config = {
            "classes": {label: list(names) for label, names in classes.items()},
            "width": width,
            "sample_rate": sample_rate,
        }
        self.sample_rate = sample_rate
        widths = [1, *(width * 2 ** (layer // DOUBLED_EVERY) for layer in range(NUM_LAYERS))]
        self.layers = nn.ModuleList(
            _Layer(widths[layer], widths[layer + 1], 1 if layer == NUM_LAYERS - 1 else 2)
            for layer in range(NUM_LAYERS)
        )
        self.heads = nn.ModuleDict(
            {label: nn.Linear(widths[-1], len(names)) for label, names in classes.items()}
        )

    def forward(self, signal: Tensor) -> dict[str, Tensor]:
        """Return the logits (B, classes) of each label for signals (B, 1, T)."""
        pooled = self.features(signal, NUM_LAYERS)[-1].mean(-1)
        return {label: head(pooled) for label, head in self.heads.items()}

    def features(self, signal: Tensor, num_layers: int) -> list[Tensor]:
        """Return the outputs of the first layers for signals (B, 1, T), (B, C, frames) each."""
        found = []
        hidden = signal
        for layer in self.layers[:num_layers]:
            hidden = layer(hidden)
            found.append(hidden)
        return found


class _Layer(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, KERNEL, stride, padding=1, bias=False)
        nn.init.kaiming_uniform_(self.conv.weight, a=SLOPE)
        self.norm = nn.BatchNorm1d(outputs, EPSILON, affine=False)
        self.beta = nn.Parameter(torch.zeros(outputs, 1))

    def forward(self, hidden: Tensor) -> Tensor:
        return leaky_relu(self.norm(self.conv(hidden)) + self.beta, SLOPE)


def build_classifier(config: Mapping[str, Any], seed: int) -> SoundClassifier:
    """Make a classifier with weights drawn from `seed`; a UsageError if its sizes make none."""
    classes, sizes = config.get("classes"), {k: v for k, v in config.items() if k != "classes"}
    known = sizes.keys() <= {"width", "sample_rate"}
    if not known or not all(type(size) is int for size in sizes.values()):
        raise UsageError(f"sound classifier: {shown(sizes)}; it wants width and sample_rate")
    if not (isinstance(classes, Mapping) and all(map(_is_label, classes, classes.values()))):
        raise UsageError("sound classifier: classes are lists of names by label")
    try:
        with torch_stream(seed, "classifier", "weights"):
            return SoundClassifier(classes, **sizes)
    except ValueError as error:
        raise UsageError(str(error)) from error


_FILES = NetworkFiles(
    *("classifier", "classifier", WEIGHTS_FILE, CONFIG_FILE),
    build=partial(build_classifier, seed=0),
)


def save_classifier(
    folder: Path, classifier: SoundClassifier, facts: Mapping[str, Any] | None = None
) -> None:
    """Write a classifier, and where its weights come from (`facts`); see `NetworkFiles.save`."""
    _FILES.save(folder, classifier, classifier.config, facts=facts or {})


def load_classifier(folder: Path) -> SoundClassifier:
    """Read a classifier that `save_classifier` wrote, on the CPU and in evaluation mode.

    Raises:
        InputError: if a file is missing, damaged, newer than this version, or holds other weights
            than the network has; the first differences are listed.
    """
    return _FILES.load(folder).eval()


def _is_label(label: object, names: object) -> bool:
    is_word = isinstance(label, str) and re.fullmatch("[a-z]+", label) is not None
    is_list = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    return is_word and is_list
