"""Scores of several networks on the same recordings, with intervals, costs and sounds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bcsim.errors import InputError
from bcsim.inference.enhancer import enhance
from bcsim.metrics import METRICS
from bcsim.metrics.intervals import bootstrap_mean
from bcsim.metrics.scores import enhancement_metrics
from bcsim.models.base import Enhancer
from bcsim.models.cost import real_time_factor
from bcsim.models.storage import BONE_TO_AIR, facts_of_run, load_enhancer
from bcsim.reports.comparison import Sounds
from bcsim.training.config import ValidationConfig
from bcsim.training.validation import Validator, mean_scores
from bcsim.workflows.show_models import size_facts
from bcsim.workflows.training_pairs import PairOptions, real_pairs_of

MAX_RECORDINGS = 200  # that score, spread evenly over those there are
MAX_RECORDING_S = 30.0  # from the start of each
NUM_LISTENED = 2  # recordings on the page, of each network
BASELINE = "inverse response"  # name of the baseline's row

Scores = Mapping[str, float]
Interval = list[float] | None


@dataclass(frozen=True)
class AtRate:
    """The recordings at one sample rate.

    Args:
        validator: recordings that are scored, with the scores of the sensor's signal.
        num_without_noise: number of recordings without noise at the air microphone.
        speakers: talker of each recording that is scored, or None.
    """

    validator: Validator
    num_without_noise: int
    speakers: Sequence[str | None]


@dataclass
class ScoredRecordings:
    """The recordings that networks are scored on, opened once for each sample rate.

    Args:
        folder: folder of recordings, or dataset of which the validation split is taken.
        baseline: enhancer that was not trained, whose scores stand beside those of the networks.
        channels: channel of "air" and "bone", where files have several.

    Attributes:
        files: files of the recordings.
        failures: reasons why recordings are left out, by their names.
    """

    folder: Path
    baseline: Enhancer | None = None
    channels: Mapping[str, str] | None = None
    files: list[Path] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    _at_rate: dict[int, AtRate] = field(default_factory=dict)

    def prepare(self, sample_rate: int) -> AtRate:
        """Return the recordings at a sample rate in Hz, opened unless that was done before.

        Raises:
            InputError: if none can be scored.
        """
        if sample_rate in self._at_rate:
            return self._at_rate[sample_rate]
        options = PairOptions(sample_rate, seed=0, channels=self.channels)
        pairs, _ = real_pairs_of(self.folder, "validation", options)
        self.failures |= pairs.failures
        self.files = [path for pair in pairs.pairs for path in pair.files.values()]
        without_noise = pairs.num_without_noise(1)
        config = ValidationConfig(
            num_items=MAX_RECORDINGS, max_item_s=MAX_RECORDING_S, num_samples=NUM_LISTENED
        )
        validator = Validator(pairs.with_channels(("bone", "air")), config)
        if not validator.items:
            raise InputError(f"{self.folder}: the air side of every recording is silent")
        speakers = {pair.id: pair.speaker for pair in pairs.pairs}
        told = [speakers[item.id] for item in validator.items]
        self._at_rate[sample_rate] = AtRate(validator, without_noise, told)
        return self._at_rate[sample_rate]

    def facts(self) -> dict[str, Any]:
        """Return what is known of the recordings, as `results.json` holds it."""
        first = self._first
        items = first.validator.items
        return {
            "num_recordings": len(items),
            "num_silent": first.validator.num_silent,
            "recordings": [item.id for item in items],
            "seconds": round(sum(len(item.air) / item.sample_rate for item in items), 1),
            "num_talkers": len({*first.speakers} - {None}) or None,
            "metrics": enhancement_metrics(),
        }

    def references(self) -> list[dict[str, Any]]:
        """Return the rows of the sensor's signal, the baseline, noisy air, and clean air.

        The baseline and noisy air have a row where they are there.
        """
        at_rate = self._first
        validator = at_rate.validator
        signals = {"unprocessed": validator.item_scores}
        if self.baseline is not None:
            signals[BASELINE] = [
                validator.scores_of(
                    torch.from_numpy(enhance(self.baseline, item.bone, item.sample_rate)), item
                )
                for item in validator.items
            ]
        if not at_rate.num_without_noise:
            signals["noisy air"] = [
                validator.scores_of(item.microphone, item) for item in validator.items
            ]
        rows = [{"name": name, **summary_of(s, at_rate.speakers)} for name, s in signals.items()]
        return [*rows, {"name": "clean", "scores": validator.clean, "intervals": {}}]

    def row(self, run: Path) -> tuple[dict[str, Any], Sounds]:
        """Score the network of a run.

        Args:
            run: folder of the run.

        Returns:
            The row as `results.json` holds it, without the name; and the first outputs.

        Raises:
            InputError: if the network cannot be loaded, or takes noisy air that the recordings do
                not have.
        """
        enhancer = load_enhancer(run, BONE_TO_AIR)
        at_rate = self._at_rate[enhancer.sample_rate]
        validator = at_rate.validator
        if "air" in enhancer.channels and at_rate.num_without_noise:
            raise InputError(
                f"{self.folder}: {at_rate.num_without_noise} recordings have no noisy_air, so the "
                "network's second channel would be its clean target; give pairs with noise at the "
                "air microphone"
            )
        found = validator.validate(enhancer, torch.device("cpu"))
        row = {
            **size_facts(enhancer),
            "real_time_factor": float(f"{real_time_factor(enhancer):.3g}"),
            "num_steps": facts_of_run(run).get("steps_total"),
            "num_dead": found.num_dead,
            **summary_of(found.item_scores, at_rate.speakers),
            **gains_of(found.item_scores, validator.item_scores, at_rate.speakers),
            "recordings": by_recording([item.id for item in validator.items], found.item_scores),
        }
        samples = [output.numpy() for output in found.samples]
        return row, Sounds(samples, validator.items[: len(samples)])

    @property
    def _first(self) -> AtRate:
        return next(iter(self._at_rate.values()))


def summary_of(scores: Sequence[Scores], speakers: Sequence[str | None]) -> dict[str, Any]:
    """Return the means of scores, and their 95 % intervals over talkers and recordings."""
    intervals: dict[str, Interval] = {}
    for name in scores[0]:
        low, high = bootstrap_mean([row[name] for row in scores], speakers)
        intervals[name] = None if math.isnan(low) else [round(low, 6), round(high, 6)]
    return {"scores": mean_scores([dict(row) for row in scores]), "intervals": intervals}


def gains_of(
    scores: Sequence[Scores], before: Sequence[Scores], speakers: Sequence[str | None]
) -> dict[str, Any]:
    """Return mean gains over earlier scores, their intervals, and whether each is a gain."""
    gains = [
        {name: own[name] - earlier[name] for name in own}
        for own, earlier in zip(scores, before, strict=True)
    ]
    summary = summary_of(gains, speakers)
    intervals = summary["intervals"]
    return {
        "gains": summary["scores"],
        "gain_intervals": intervals,
        "better": {name: _is_gain(name, interval) for name, interval in intervals.items()},
    }


def by_recording(
    names: Sequence[str], scores: Sequence[Scores]
) -> dict[str, dict[str, float | None]]:
    """Return the scores of recordings by their names, as JSON holds them."""
    return {
        name: {metric: _defined(value) for metric, value in own.items()}
        for name, own in zip(names, scores, strict=True)
    }


def _is_gain(metric: str, interval: Interval) -> bool | None:
    """Tell from the interval of a gain whether it is one; None where it is not known."""
    if interval is None or interval[0] <= 0 <= interval[1]:
        return None
    return METRICS[metric].is_better(interval[0], 0.0)


def _defined(value: float) -> float | None:
    """Return a score as JSON holds it, None for one that is not finite."""
    return round(value, 6) if math.isfinite(value) else None
