from collections import Counter

import pytest
import torch

from bcsim.training.batches import Batches, Loader
from bcsim.training.config import DataConfig


def test_every_item_is_used_equally_often_whatever_the_batch_size(pairs):
    for batch_size in (1, 2, 3, 7):
        batches = Batches(
            pairs, DataConfig(batch_size=batch_size), crop_samples=1600, seed=1, num_steps=10
        )
        ids = [item for step in range(10) for item in batches.at(step).ids]
        counts = Counter(ids[: len(ids) // 5 * 5])
        assert len(set(counts.values())) == 1


def test_a_batch_depends_on_the_seed_and_the_step_alone(pairs):
    config = DataConfig(batch_size=3)
    one, other = (Batches(pairs, config, crop_samples=1600, seed=1, num_steps=9) for _ in range(2))
    forwards = [one.at(step) for step in range(9)]
    for step in reversed(range(9)):
        assert other.at(step).ids == forwards[step].ids
        assert torch.equal(other.at(step).signals, forwards[step].signals)
    other_seed = Batches(pairs, config, crop_samples=1600, seed=2, num_steps=9)
    assert any(other_seed.at(step).ids != forwards[step].ids for step in range(9))


def test_epochs_crop_elsewhere(pairs):
    batches = Batches(pairs, DataConfig(batch_size=5), crop_samples=1600, seed=1, num_steps=2)
    first, second = (
        dict(zip(batches.at(epoch).ids, batches.at(epoch).target, strict=True))
        for epoch in range(2)
    )
    assert first.keys() == second.keys()
    assert not any(torch.equal(first[item], second[item]) for item in first)


def test_bone_goes_in_and_air_is_wanted(pairs):
    batch = Batches(pairs, DataConfig(batch_size=5), crop_samples=20_000, seed=1, num_steps=1).at(0)
    whole = pairs.whole(pairs.ids.index(batch.ids[0]))
    assert torch.equal(batch.signals[0, 0], whole.bone)
    assert torch.equal(batch.target[0, 0], whole.air)


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_the_loader_gives_the_steps_in_order(pairs, num_workers):
    batches = Batches(pairs, DataConfig(batch_size=2), crop_samples=1600, seed=1, num_steps=6)
    loader = Loader(batches, num_workers, first_step=2)
    assert [batch.ids for batch in loader] == [batches.at(step).ids for step in range(2, 6)]
    assert loader.waited_s > 0


def test_two_processes_take_the_items_of_one_with_the_doubled_batch(pairs):
    alone = Batches(pairs, DataConfig(batch_size=4), crop_samples=1600, seed=1, num_steps=5)
    shares = [
        Batches(
            pairs,
            DataConfig(batch_size=2),
            crop_samples=1600,
            seed=1,
            num_steps=5,
            rank=rank,
            world_size=2,
        )
        for rank in range(2)
    ]
    for step in range(5):
        whole, parts = alone.at(step), [share.at(step) for share in shares]
        assert [item for part in parts for item in part.ids] == whole.ids
        assert torch.equal(torch.cat([part.signals for part in parts]), whole.signals)


def test_a_stated_part_of_every_batch_is_real(pairs):
    real = type(pairs)(3)
    real.ids = [f"real/{n}" for n in range(3)]
    config = DataConfig(batch_size=8, real_fraction=0.25)
    batches = Batches(pairs, config, crop_samples=1600, seed=1, num_steps=6, real=real)
    counts = Counter(i for step in range(6) for i in batches.at(step).ids if "real" in i)
    assert all(sum("real" in i for i in batches.at(step).ids) == 2 for step in range(6))
    assert set(counts.values()) == {4}
    with pytest.raises(ValueError, match="of a batch of 2 is 0 items"):
        Batches(
            pairs,
            DataConfig(batch_size=2, real_fraction=0.1),
            crop_samples=1600,
            seed=1,
            num_steps=6,
            real=real,
        )
