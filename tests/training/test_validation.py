from dataclasses import replace

import torch

from bcsim.datasets.pairs import Pair
from bcsim.metrics.scores import enhancement_metrics
from bcsim.models.base import Enhancer
from bcsim.training.config import ValidationConfig
from bcsim.training.validation import Validator


class Amplifier(Enhancer):
    """Doubles the bone signal."""

    channels = ("bone",)

    def valid_length(self, num_samples):
        return num_samples

    def enhance_valid(self, signal):
        return 2 * signal

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
