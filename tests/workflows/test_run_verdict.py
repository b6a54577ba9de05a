"""The verdict that a training run ends with."""

import json

import numpy as np
import torch

from bcsim.datasets.pairs import Pair, Pairs
from bcsim.models.envelope_mapper import EnvelopeMapper
from bcsim.models.storage import save_enhancer
from bcsim.recipe import from_mapping
from bcsim.rng import stream
from bcsim.training.config import TrainingConfig
from bcsim.training.data import TrainingData
from bcsim.workflows import run_verdict
from bcsim.workflows.run_verdict import evaluate_run

RATE = 16_000
SETTINGS = {
    "model": {"name": "envelope_mapper"},
    "losses": [{"name": "l1"}],
    "training": {"num_steps": 200},
    "schedule": {"warmup_steps": 200},
    "validation": {"num_items": 6},
}


class Syllables(Pairs):
    """Syllables of noise, and the same in the noise of a sensor."""

    def __init__(self) -> None:
        super().__init__([f"talker/{number}" for number in range(6)], RATE, seed=0)

    def crop(self, index: int, epoch: int, num_samples: int) -> Pair:
        raise NotImplementedError

    def whole(self, index: int) -> Pair:
        time_s = np.arange(2 * RATE) / RATE
        envelope = np.clip(np.sin(2 * np.pi * 3 * time_s), 0.003, None)
        speech, noise = stream(3, "syllables", index).standard_normal((2, len(time_s)))
        air = torch.from_numpy(0.1 * envelope * speech).float()
        return Pair(self.ids[index], air, air + 0.03 * torch.from_numpy(noise).float(), RATE)


def evaluated(out, sensor=None, **pairs):
    """Evaluate a network that gives its input back."""
    mapper = EnvelopeMapper(**EnvelopeMapper.small).reduced(0.0)
    assert mapper is not None
    save_enhancer(out, mapper, {})
    config = from_mapping(TrainingConfig, {"kind": "training", "sample_rate": RATE, **SETTINGS}, "")
    data = TrainingData(Syllables(), **pairs)
    verdict = evaluate_run(out, config, data, sensor, config.training.num_steps)
    assert json.loads((out / "verdict.json").read_text()) == verdict.facts()
    return verdict


def test_an_identity_is_called_one_and_not_better(tmp_path, sensor):
    verdict = evaluated(tmp_path, sensor, validation=Syllables())
    assert verdict.light == "grey"
    assert verdict.headline.startswith("Not better than unprocessed: STOI +0.000")
    assert "6 synthetic pairs that it was validated on" in verdict.headline
    assert any("the output is nearly the input" in reason for reason in verdict.reasons)
    assert any("200 of 200 steps were warm-up" in reason for reason in verdict.reasons)
    assert verdict.advice == (run_verdict.NOT_REAL,)


def test_real_pairs_are_told_of_first(tmp_path):
    told = evaluated(tmp_path, validation=Syllables(), validation_real=Syllables()).headline
    assert 0 < told.index("6 real pairs") < told.index("6 synthetic pairs")


def test_without_pairs_to_validate_on_nothing_is_evaluated(tmp_path):
    assert evaluated(tmp_path) == run_verdict.NOT_EVALUATED


def test_a_network_whose_output_is_not_finite_is_worse_and_ends_no_run(tmp_path, monkeypatch):
    monkeypatch.setattr(EnvelopeMapper, "enhance_valid", lambda _, signal: signal * torch.nan)
    verdict = evaluated(tmp_path, validation=Syllables())
    assert verdict.headline.startswith("Worse than unprocessed")
    assert "the output of 6 recordings is silent or not finite" in verdict.reasons
