"""How good an enhancer is on fixed pairs, between doing nothing and clean speech."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from bcsim.datasets.pairs import Pair, Pairs
from bcsim.metrics import METRICS
from bcsim.metrics.comparison import Comparison
from bcsim.metrics.scores import enhancement_metrics
from bcsim.models.base import Enhancer
from bcsim.training.config import ValidationConfig

SYNTHETIC, REAL = "validation", "validation_real"  # names of the sets of pairs that scores are of

Scores = dict[str, float | None]  # by metric; None where no item could be scored


@dataclass(frozen=True)
class Validation:
    """Scores of an enhancer on fixed pairs.

    Args:
        enhanced: mean scores of the enhancer's output.
        unprocessed: mean scores of the bone signal as it is, the floor.
        clean: scores of the air signal against itself, the ceiling; None where it is infinite.
        samples: outputs of the enhancer for the first few items, (T,) each.
        num_dead: number of items for which the output is silent or not finite; each has the worst
            value of every metric.
        item_scores: scores of the enhancer's output for each item; NaN where it has none.
    """

    enhanced: Scores
    unprocessed: Scores
    clean: Scores
    samples: list[Tensor]
    num_dead: int = 0
    item_scores: list[dict[str, float]] = field(default_factory=list)

    @property
    def scores(self) -> dict[str, Scores]:
        """Mean scores by kind."""
        return {kind: getattr(self, kind) for kind in ("enhanced", "unprocessed", "clean")}

    def named(self, split: str) -> Scores:
        """Return all scores by the names that a line of metrics has for them.

        Example:
            >>> Validation({"stoi": 0.8}, {"stoi": 0.7}, {"stoi": 1.0}, []).named("test")
            {'test/stoi': 0.8, 'test/unprocessed_stoi': 0.7, 'test/clean_stoi': 1.0}
        """
        return {
            f"{split}/{'' if kind == 'enhanced' else f'{kind}_'}{name}": value
            for kind, scores in self.scores.items()
            for name, value in scores.items()
        }


class Validator:
    """Scores enhancers on items of `pairs` that are the same in every run.

    Attributes:
        items: items that are scored.
        num_silent: number of items that were left out, for their target is silent.
        item_scores: scores of the bone signal of each item; NaN where it has none.
    """

    def __init__(self, pairs: Pairs, config: ValidationConfig) -> None:
        self.num_samples = config.num_samples
        chosen = [
            _shortened(pairs.whole(index), config.max_item_s)
            for index in _evenly_spread(len(pairs), config.num_items)
        ]
        self.items = [item for item in chosen if not _compared(item.air, item).is_void]
        self.num_silent = len(chosen) - len(self.items)
        self.item_scores = [self.scores_of(item.bone, item) for item in self.items]
        self.unprocessed = mean_scores(self.item_scores)
        self.clean = _ceiling(self.items)

    def validate(self, enhancer: Enhancer, device: torch.device) -> Validation:
        """Enhance and score every item; the enhancer is left in evaluation mode."""
        enhancer.eval()
        scores, samples, num_dead = [], [], 0
        for item in self.items:
            with torch.inference_mode():
                signals = item.inputs(enhancer.channels)[None].to(device)
                enhanced = enhancer(signals)[0, 0].float().cpu()
            pair = _compared(enhanced, item)
            scores.append(_scores(pair))
            num_dead += pair.is_dead
            if len(samples) < self.num_samples:
                samples.append(enhanced)
        means = mean_scores(scores)
        return Validation(means, self.unprocessed, self.clean, samples, num_dead, scores)

    def scores_of(self, signal: Tensor, item: Pair) -> dict[str, float]:
        """Return the scores of a signal (T,) in the place of an item's clean speech."""
        return _scores(_compared(signal, item))


def _evenly_spread(total: int, count: int) -> list[int]:
    """Return at most `count` indices below `total`, spread evenly.

    Example:
        >>> _evenly_spread(100, 4), _evenly_spread(2, 4)
        ([0, 25, 50, 75], [0, 1])
    """
    return [place * total // count for place in range(count)] if total > count else [*range(total)]


def mean_scores(scores: Sequence[dict[str, float]]) -> Scores:
    """Return the mean of every metric over the items whose target has a value of it.

    Example:
        >>> mean_scores([{"lsd": 2.0, "stoi": float("nan")}, {"lsd": 4.0, "stoi": float("nan")}])
        {'lsd': 3.0, 'stoi': None}
    """
    means: Scores = {}
    for name in scores[0] if scores else enhancement_metrics():
        values = [item[name] for item in scores if math.isfinite(item[name])]
        # Rounded, because pystoi adds noise of 1e-16 and a resumed run gives the same lines.
        means[name] = round(math.fsum(values) / len(values), 6) if values else None
    return means


def _shortened(pair: Pair, max_item_s: float | None) -> Pair:
    if max_item_s is None:
        return pair
    end = round(max_item_s * pair.sample_rate)
    noisy_air = None if pair.noisy_air is None else pair.noisy_air[:end]
    return replace(pair, air=pair.air[:end], bone=pair.bone[:end], noisy_air=noisy_air)


def _scores(pair: Comparison) -> dict[str, float]:
    return {name: METRICS[name](pair) for name in enhancement_metrics()}


def _compared(estimate: Tensor, item: Pair) -> Comparison:
    return Comparison.prepare(estimate, item.air, item.sample_rate, match_level=False)


def _ceiling(items: Sequence[Pair]) -> Scores:
    # Against itself every signal scores alike: the first that can be scored speaks for all.
    scores: dict[str, float] = {}
    for item in items:
        scores = _scores(_compared(item.air, item))
        if all(math.isfinite(value) for value in scores.values()):
            break
    return mean_scores([scores] if scores else []) | {
        "si_sdr": None
    }  # without distortion it is infinite
