"""Scores of the parts of an adaptation on recordings that were held out of each."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bcsim.datasets.pairs import Pair
from bcsim.dsp.activity import speech_rms
from bcsim.errors import InputError
from bcsim.inference.enhancer import enhance
from bcsim.metrics.comparison import Comparison
from bcsim.metrics.intervals import bootstrap_mean
from bcsim.metrics.scores import enhancement_metrics
from bcsim.metrics.si_sdr import si_sdr
from bcsim.models.base import Enhancer
from bcsim.reports.comparison import Sounds
from bcsim.reports.verdict import DECIDING, Difference, Evidence
from bcsim.training.validation import Validator
from bcsim.workflows.adapt_stages import Fold, Material
from bcsim.workflows.compared_scores import ScoredRecordings, by_recording, gains_of, summary_of
from bcsim.workflows.enhancers import INVERSE, find_enhancer

NUM_LISTENED = 1  # recordings of each fold on the page
SHARES = (0.5, 0.25, 0.0)  # of its changes, that a network may be reduced to
LEAST_LEVEL = 1e-6  # RMS of what is silent, of full scale


@dataclass
class HeldOutScores:
    """Scores of every part on every recording, each from the fold that held it out.

    Attributes:
        ids: names of the recordings.
        speakers: talker of each recording, or None.
        scores: scores of each recording by part; "unprocessed" is the first part.
        likeness_db: SI-SDR of each output against the sensor's signal, by part, in dB.
        level_db: level of each output relative to that of clean speech, by part, in dB.
        num_dead: number of silent or non-finite outputs by part.
        seconds: duration of all recordings.
        num_silent: number of recordings left out, for their clean side is silent.
        clean: scores of the target itself.
        sounds: outputs of the first recordings of each fold, by part.
        failures: reasons why recordings are left out, by their names.
    """

    ids: list[str] = field(default_factory=list)
    speakers: list[str | None] = field(default_factory=list)
    scores: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    likeness_db: dict[str, list[float]] = field(default_factory=dict)
    level_db: dict[str, list[float]] = field(default_factory=dict)
    num_dead: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    num_silent: int = 0
    clean: Mapping[str, float | None] = field(default_factory=dict)
    sounds: dict[str, Sounds] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, fold: Fold, material: Material, sample_rate: int) -> None:
        """Score the parts of a fold on the recordings that it held out.

        Raises:
            InputError: if no recording can be scored, or a network or sensor cannot be read.
        """
        recordings = ScoredRecordings(fold.held_out_list, channels=material.channels)
        at_rate = recordings.prepare(sample_rate)
        validator = at_rate.validator
        self.failures |= recordings.failures
        self.add_unprocessed(validator, at_rate.speakers)
        for part, enhancer in _enhancers(fold, material).items():
            outputs = self.add_part(part, enhancer, validator)
            known = self.sounds.get(part, Sounds([], []))
            self.sounds[part] = Sounds(
                [*known.outputs, *outputs[:NUM_LISTENED]],
                [*known.items, *validator.items[:NUM_LISTENED]],
            )

    def add_unprocessed(self, validator: Validator, speakers: Sequence[str | None]) -> None:
        """Add recordings and the scores of the sensor's signal; parts are scored on them next."""
        self.ids += [item.id.partition("/")[2] for item in validator.items]
        self.speakers += speakers
        self.seconds += sum(len(item.air) / item.sample_rate for item in validator.items)
        self.num_silent += validator.num_silent
        self.clean = validator.clean
        self.scores.setdefault("unprocessed", []).extend(validator.item_scores)

    def add_part(
        self, part: str, enhancer: Enhancer, validator: Validator
    ) -> list[NDArray[np.float64]]:
        """Score a part on the recordings that were added last, and return its outputs, (T,)."""
        outputs = []
        for item in validator.items:
            air = item.microphone if "air" in enhancer.channels else None
            try:
                outputs.append(enhance(enhancer, item.bone, item.sample_rate, air))
            except InputError:  # the output is not finite, and counts as dead
                outputs.append(np.full(len(item.bone), np.nan))
            output = torch.from_numpy(outputs[-1])
            self.scores.setdefault(part, []).append(validator.scores_of(output, item))
            self._look_at(part, output, item)
        return outputs

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each part as `result.json` holds it, and one of clean speech."""
        before = self.scores["unprocessed"]
        rows = []
        for part, scores in self.scores.items():
            row: dict[str, Any] = {"name": part, **summary_of(scores, self.speakers)}
            if part != "unprocessed":
                row |= gains_of(scores, before, self.speakers)
                row["num_dead"] = self.num_dead[part]
            row["recordings"] = by_recording(self.ids, scores)
            rows.append(row)
        return [*rows, {"name": "clean", "scores": dict(self.clean), "intervals": {}}]

    def over(self, part: str) -> dict[str, dict[str, Difference]]:
        """Return the differences of a part to each other, by the other's name and by metric."""
        return {
            other: {
                metric: self._difference(part, other, metric) for metric in enhancement_metrics()
            }
            for other in self.scores
            if other != part
        }

    def is_worse(self, part: str) -> bool:
        """Tell whether the mean STOI or ESTOI of a part is under that of the sensor's signal."""
        over = [self._difference(part, "unprocessed", metric).mean for metric in DECIDING]
        return any(mean is not None and mean < 0 for mean in over)

    def evidence(self, part: str, num_steps: int, has_corpus: bool) -> Evidence:
        """Return what the verdict on a part follows from.

        Args:
            part: name of the part.
            num_steps: number of steps that it was trained for.
            has_corpus: whether there was air speech to simulate.
        """
        stoi = [own["stoi"] for own in self.scores["unprocessed"] if math.isfinite(own["stoi"])]
        return Evidence(
            over=self.over(part),
            unprocessed_stoi=float(np.mean(stoi)) if stoi else None,
            likeness_db=float(np.median(self.likeness_db[part])),
            level_db=float(np.median(self.level_db[part])),
            num_dead=self.num_dead[part],
            num_recordings=len(self.ids),
            num_talkers=len({*self.speakers} - {None}),
            num_steps=num_steps,
            has_corpus=has_corpus,
        )

    def _look_at(self, part: str, output: Tensor, item: Pair) -> None:
        against_input = Comparison.prepare(output, item.bone, item.sample_rate, match_level=False)
        is_dead = against_input.is_dead
        self.num_dead[part] = self.num_dead.get(part, 0) + is_dead
        self.likeness_db.setdefault(part, []).append(si_sdr(against_input))
        level, clean = (
            max(float(speech_rms(signal[None], item.sample_rate)), LEAST_LEVEL)
            for signal in (output.nan_to_num(), item.air)
        )
        self.level_db.setdefault(part, []).append(20 * math.log10(level / clean))

    def _difference(self, part: str, other: str, metric: str) -> Difference:
        values = [
            own[metric] - before[metric]
            for own, before in zip(self.scores[part], self.scores[other], strict=True)
        ]
        known = [value for value in values if math.isfinite(value)]
        low, high = bootstrap_mean(values, self.speakers)
        interval = None if math.isnan(low) else (round(low, 6), round(high, 6))
        return Difference(round(float(np.mean(known)), 6) if known else None, interval)


def harmless_share(
    folds: Sequence[Fold], material: Material, part: str, sample_rate: int
) -> float | None:
    """Return the largest part of its changes with which a network is not worse than none.

    Args:
        folds: folds whose networks are scored, each on what it held out.
        material: what they were trained on.
        part: name of the part that is scored.
        sample_rate: sample rate of the networks in Hz.

    Returns:
        A half, a quarter, or 0, which gives the signal back as it is: with it the mean STOI and
        ESTOI are no less than those of the sensor's signal. None for a network that cannot be told
        to do less.
    """
    gains: dict[float, list[list[float]]] = {share: [] for share in SHARES if share}
    for fold in folds:
        network = find_enhancer(fold.networks(material)[part]).enhancer
        recordings = ScoredRecordings(fold.held_out_list, channels=material.channels)
        validator = recordings.prepare(sample_rate).validator
        for share, found in gains.items():
            reduced = network.reduced(share)
            if reduced is None:
                return None
            for item, before in zip(validator.items, validator.item_scores, strict=True):
                output = torch.from_numpy(enhance(reduced, item.bone, item.sample_rate))
                after = validator.scores_of(output, item)
                found.append([after[name] - before[name] for name in DECIDING])
    harmless = [share for share, own in gains.items() if bool((np.nanmean(own, axis=0) >= 0).all())]
    return max(harmless, default=0.0)


def _enhancers(fold: Fold, material: Material) -> dict[str, Enhancer]:
    """Return what is scored of a fold, by the name of the part."""
    sensor = fold.sensor(material)
    names = {"inverse": f"{INVERSE}{sensor}", **fold.networks(material)}
    return {part: find_enhancer(name).enhancer for part, name in names.items()}
