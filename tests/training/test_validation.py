import torch

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
