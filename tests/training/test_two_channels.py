"""Networks that take the noisy air microphone beside the sensor: the channels stay together."""

from dataclasses import replace

import pytest
import torch

from bcsim.models.seanet import SEANet
from bcsim.training.batches import Batches
from bcsim.training.config import DataConfig, ValidationConfig
from bcsim.training.data import TrainingData
from bcsim.training.trainer import Trainer
from bcsim.training.validation import Validator

BOTH = ("bone", "air")


@pytest.fixture
def marked(pairs):
    """Pairs whose sample n of item k says where it is from: k + n / 100,000, bone below zero.

    In float32 all are exact to 1e-7, so a shift by one sample, or another item, is seen. Items
    called `real/...` have no noisy air: there, the air microphone hears `air` itself.
    """

    class Marked(type(pairs)):
        def whole(self, index):
            name = self.ids[index]
            where = index + torch.arange(20_000, dtype=torch.float64) / 100_000
            air = (where + (20 if name.startswith("real") else 0)).float()
            noisy_air = None if name.startswith("real") else air + 10
            return replace(super().whole(index), air=air, bone=-air, noisy_air=noisy_air)

        def crop(self, index, epoch, num_samples):
            pair = self.whole(index)
            start = self.crop_start(index, epoch, len(pair.air), num_samples)
            cut = slice(start, start + num_samples)
            noisy_air = None if pair.noisy_air is None else pair.noisy_air[cut]
            return replace(pair, air=pair.air[cut], bone=pair.bone[cut], noisy_air=noisy_air)

    def make(prefix: str, num_items: int):
        made = Marked(num_items)
        made.ids = [f"{prefix}/{n}" for n in range(num_items)]
        return made.with_channels(BOTH)

    return make


def test_rows_and_crops_of_all_channels_and_the_target_belong_together(marked):
    """In mixed batches too: real items come without noisy air, synthetic ones with it."""
    batches = Batches(
        marked("synthetic", 4),
        DataConfig(batch_size=4, real_fraction=0.5),
        crop_samples=1600,
        seed=1,
        num_steps=6,
        real=marked("real", 3),
    )
    for step in range(6):
        batch = batches.at(step)
        assert batch.signals.shape == (4, 2, 1600)
        kinds = [name.split("/")[0] for name in batch.ids]
        assert sorted(kinds) == ["real", "real", "synthetic", "synthetic"]
        for kind, (bone, air), (target,) in zip(kinds, batch.signals, batch.target, strict=True):
            torch.testing.assert_close(bone, -target, rtol=0, atol=0)
            offset = 10 if kind == "synthetic" else 0
            torch.testing.assert_close(air, target + offset, rtol=0, atol=1e-5)


def test_one_channel_takes_the_bone_signal_alone(marked):
    pairs = marked("synthetic", 4).with_channels(("bone",))
    batch = Batches(pairs, DataConfig(batch_size=4), crop_samples=800, seed=1, num_steps=1).at(0)
    torch.testing.assert_close(batch.signals, -batch.target, rtol=0, atol=0)


def test_validation_gives_the_network_what_training_does(marked):
    given = []

    class Listening(SEANet):
        def forward(self, signal):
            given.append(signal)
            return super().forward(signal)

    pairs = marked("synthetic", 2)
    validator = Validator(pairs, ValidationConfig(num_items=2, max_item_s=1.0))
    validator.validate(Listening(width=1, latent=1, channels=BOTH), torch.device("cpu"))
    for index, signals in enumerate(given):
        whole = pairs.whole(index)
        assert whole.noisy_air is not None
        expected = torch.stack([whole.bone, whole.noisy_air])[:, :16_000]
        torch.testing.assert_close(signals[0], expected, rtol=0, atol=0)


def test_the_trainer_asks_the_pairs_for_the_channels_of_its_network(config, marked):
    both = replace(config, model={"name": "seanet", "width": 1, "latent": 1, "channels": [*BOTH]})
    data = TrainingData(marked("synthetic", 4).with_channels(("bone",)))
    assert Trainer(both, data).batches.at(0).signals.shape[1] == 2
    assert Trainer(config, data).batches.at(0).signals.shape[1] == 1
