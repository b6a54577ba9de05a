"""Recorded pairs that effects change: what is drawn follows from seed, name and epoch."""

import pytest
import soundfile
import torch

from bcsim.datasets.augmented_pairs import AugmentedPairs
from bcsim.datasets.pairs import open_pairs
from bcsim.effects.distributions import Constant
from bcsim.effects.pair_gain import PairGain
from bcsim.effects.smooth_eq import SmoothEq
from bcsim.effects.speed import Speed, change_speed
from bcsim.simulator import Simulator

RATE = 16_000


@pytest.fixture
def recorded(tmp_path, speech):
    for number in range(2):
        for role, gain in (("air", 1.0), ("bone", 0.5)):
            (tmp_path / role).mkdir(exist_ok=True)
            path = tmp_path / role / f"p{number}.wav"
            soundfile.write(path, gain * speech[number].numpy(), RATE, subtype="FLOAT")
    return open_pairs(tmp_path, RATE, seed=4)


def augmented(recorded, *effects):
    return AugmentedPairs(recorded, Simulator(effects, RATE))


def test_a_crop_is_the_longer_crop_played_faster_and_cut(recorded):
    pairs = augmented(recorded, Speed(Constant(1.1)))
    crop, longer = pairs.crop(0, 3, 4000), recorded.crop(0, 3, 5000)
    assert crop.air.shape == crop.bone.shape == (4000,)
    for name in ("air", "bone"):
        expected = change_speed(getattr(longer, name), 1.1)[:4000]
        assert torch.allclose(getattr(crop, name), expected, atol=1e-6)


def test_draws_follow_from_the_name_and_the_epoch_alone(recorded):
    pairs = augmented(recorded, Speed(), SmoothEq(), PairGain())
    both = pairs.crops([(0, 5), (1, 2)], 3000)
    again = pairs.with_channels(("bone", "air")).crop(1, 2, 3000)
    assert torch.equal(again.bone, both[1].bone)
    assert torch.equal(again.air, both[1].air)
    assert not torch.equal(pairs.crop(1, 3, 3000).bone, both[1].bone)
    assert again.noisy_air is None
    assert not both[0].bone.is_inference()


def test_whole_pairs_stay_as_they_are(recorded):
    pairs = augmented(recorded, PairGain(Constant(-6.0)))
    assert torch.equal(pairs.whole(1).bone, recorded.whole(1).bone)
    assert pairs.num_without_noise(1000) == 2
