import math
from dataclasses import replace

import pytest
import torch

from bcsim.datasets.pairs import Pair
from bcsim.errors import DivergedError
from bcsim.metrics import METRICS
from bcsim.metrics.scores import enhancement_metrics
from bcsim.models.base import Enhancer
from bcsim.training.best_model import BestModelTracker
from bcsim.training.config import ValidationConfig
from bcsim.training.data import TrainingData
from bcsim.training.metrics_log import MetricsLog
from bcsim.training.validation import Validator

CPU = torch.device("cpu")


class Amplifier(Enhancer):
    """Multiplies the bone signal."""

    channels = ("bone",)

    def __init__(self, gain: float = 2.0) -> None:
        super().__init__()
        self.gain = gain

    def valid_length(self, num_samples):
        return num_samples

    def enhance_valid(self, signal):
        return self.gain * signal

    @property
    def last_layer(self):
        raise AssertionError("nothing is learnt")


def test_doing_nothing_scores_as_unprocessed(pairs):
    validator = Validator(pairs, ValidationConfig(num_items=3, max_item_s=1.0, num_samples=2))
    found = validator.validate(Amplifier(), torch.device("cpu"))
    # neither metric minds the level
    for metric in ("si_sdr", "stoi", "estoi"):
        enhanced, unprocessed = found.enhanced[metric], found.unprocessed[metric]
        assert enhanced is not None
        assert unprocessed is not None
        assert abs(enhanced - unprocessed) < 1e-5
    assert len(found.samples) == 2
    assert torch.equal(found.samples[0], 2 * validator.items[0].bone)


def test_items_are_spread_and_cut_to_length(pairs):
    validator = Validator(pairs, ValidationConfig(num_items=2, max_item_s=1.0))
    assert [item.id for item in validator.items] == [pairs.ids[0], pairs.ids[2]]
    assert {len(item.air) for item in validator.items} == {16_000}


def test_clean_speech_is_the_ceiling_of_every_metric(pairs):
    found = Validator(pairs, ValidationConfig(num_items=3, max_item_s=1.2)).clean
    assert found["si_sdr"] is None  # without any distortion it is infinite
    assert found["lsd"] == 0
    assert abs((found["stoi"] or 0) - 1) < 1e-5
    assert abs((found["estoi"] or 0) - 1) < 1e-5
    if "pesq" in enhancement_metrics():
        assert abs((found["pesq"] or 0) - 4.644) < 1e-3


def test_the_ceiling_is_taken_from_an_item_that_can_be_scored(pairs):
    class SilentAtFirst(type(pairs)):
        def whole(self, index: int) -> Pair:
            pair = super().whole(index)
            return replace(pair, air=0 * pair.air) if index == 0 else pair

    validator = Validator(SilentAtFirst(3), ValidationConfig(num_items=3, max_item_s=1.2))
    assert validator.clean["lsd"] == 0


def test_lines_of_metrics_name_split_kind_and_metric(pairs):
    validator = Validator(pairs, ValidationConfig(num_items=1, max_item_s=1.0))
    found = validator.validate(Amplifier(), torch.device("cpu"))
    line = found.named("validation_real")
    assert line["validation_real/stoi"] == found.enhanced["stoi"]
    assert line["validation_real/unprocessed_stoi"] == found.unprocessed["stoi"]
    assert line["validation_real/clean_stoi"] == found.clean["stoi"]
    assert len(line) == 3 * len(enhancement_metrics())


@pytest.mark.parametrize("gain", [0.0, math.nan, math.inf, 1e-12])
def test_a_dead_network_has_the_worst_scores_and_its_items_are_counted(pairs, gain):
    """NaN once scored an SI-SDR of +100 dB, and was left out of the means of STOI and PESQ."""
    found = Validator(pairs, ValidationConfig(num_items=3)).validate(Amplifier(gain), CPU)
    assert found.enhanced == {name: METRICS[name].worst for name in enhancement_metrics()}
    assert found.num_dead == 3


def silenced(pairs, indices):
    """Return the same pairs, with silent air at some places."""

    class Silenced(type(pairs)):
        def whole(self, index: int) -> Pair:
            pair = super().whole(index)
            return replace(pair, air=0 * pair.air) if index in indices else pair

    return Silenced(len(pairs))


def test_a_silent_target_is_left_out_of_every_row_and_counted(pairs):
    config = ValidationConfig(num_items=5)
    validator = Validator(silenced(pairs, [1, 3]), config)
    assert [item.id for item in validator.items] == [pairs.ids[k] for k in (0, 2, 4)]
    assert validator.num_silent == 2
    assert all(value is not None for value in validator.unprocessed.values())


@pytest.fixture
def tracker(pairs, config, tmp_path):
    return BestModelTracker(TrainingData(pairs, pairs), config, tmp_path)


def test_a_dead_network_is_never_the_best(tracker, tmp_path):
    """Where the first validation met a dead network, its weights were exported as the best."""
    metrics = MetricsLog(tmp_path, 0)
    try:
        assert not tracker.validate(Amplifier(math.nan), CPU, 1, metrics)
        with pytest.raises(DivergedError, match="step 1: no validation scored better than silence"):
            tracker.check_any(1)
        assert tracker.validate(Amplifier(), CPU, 2, metrics)
        assert not tracker.validate(Amplifier(0.0), CPU, 3, metrics)
        assert tracker.best.step == 2
        tracker.check_any(3)
    finally:
        metrics.close()


@pytest.mark.parametrize("what", ["short", "silent"])
def test_a_metric_that_no_item_has_cannot_decide(what, pairs, config, tmp_path, caplog):
    """STOI wants 0.4 s of speech; without it the weights of the first validation were the best."""

    class Short(type(pairs)):
        def whole(self, index: int) -> Pair:
            pair = super().whole(index)
            return replace(pair, air=pair.air[:4000], bone=pair.bone[:4000])

    data = TrainingData(pairs, Short(3) if what == "short" else silenced(pairs, range(5)))
    tracker = BestModelTracker(data, config, tmp_path)
    assert "has a value of stoi" in caplog.text
    assert "the last weights will count as the best" in caplog.text
    metrics = MetricsLog(tmp_path, 0)
    try:
        for step in (1, 2):
            assert tracker.validate(Amplifier(), CPU, step, metrics)
    finally:
        metrics.close()
    assert tracker.best is not None
    assert tracker.best.step == 2
    decided = replace(config, validation=replace(config.validation, metric="lsd"))
    assert BestModelTracker(data, decided, tmp_path).can_decide == (what == "short")
