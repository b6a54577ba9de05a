"""Datasets of PyTorch: the same items in any worker, and other ones in another epoch."""

import pickle

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from bcsim.datasets.torch_datasets import PairDataset, SimulatedPairs
from bcsim.effects.distributions import Uniform
from bcsim.effects.gain import Gain
from bcsim.effects.white_noise import WhiteNoise
from bcsim.errors import InputError, UsageError
from bcsim.simulator import Simulator

RATE = 16_000
SIGNALS = ("air", "bone", "noisy_air")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Five pairs of ramps, in which every sample says where it stands, and the bone is half."""
    folder = tmp_path_factory.mktemp("recordings")
    for role, gain in (("air", 1.0), ("bone", 0.5)):
        (folder / role).mkdir()
        for number in range(5):
            ramp = gain * np.linspace(0.1, 0.2 + number / 10, RATE)
            soundfile.write(folder / role / f"{number}.wav", ramp, RATE, subtype="FLOAT")
    return folder


def simulated(recordings, **options):
    simulator = Simulator((Gain(Uniform(-6.0, 6.0)), WhiteNoise()), RATE)
    return SimulatedPairs(recordings / "air", simulator, segment_s=0.25, **options)


def items(pairs):
    return [pairs[index] for index in range(len(pairs))]


def assert_equal(found, others):
    assert [item["id"] for item in found] == [other["id"] for other in others]
    for item, other in zip(found, others, strict=True):
        for signal in SIGNALS:
            assert torch.equal(item[signal], other[signal]), (item["id"], signal)


def test_whole_pairs_are_what_is_on_disk(recordings):
    pairs = PairDataset(recordings)
    assert len(pairs) == len(items(pairs)) == 5
    stored, _ = soundfile.read(recordings / "air" / "4.wav", dtype="float32")
    assert torch.equal(pairs[-1]["air"], torch.from_numpy(stored))
    assert torch.equal(pairs[-1]["noisy_air"], pairs[-1]["air"])


def test_both_signals_of_a_segment_come_from_the_same_place(recordings):
    pairs = PairDataset(recordings, segment_s=0.25, seed=1)
    starts = set()
    for epoch in range(3):
        pairs.set_epoch(epoch)
        for item in items(pairs):
            assert item["air"].shape == (RATE // 4,)
            assert torch.equal(item["bone"], item["air"] / 2)
            starts.add(item["air"][0].item())
    assert len(starts) == 15


@pytest.mark.parametrize("num_workers", [0, 1, 2])
@pytest.mark.parametrize("make", [lambda folder: PairDataset(folder, segment_s=0.25), simulated])
def test_workers_and_batches_change_no_item(recordings, make, num_workers):
    pairs = make(recordings)
    for epoch in (0, 1):
        pairs.set_epoch(epoch)
        loader = DataLoader(pairs, batch_size=2, num_workers=num_workers)
        batches = list(loader)
        assert [len(batch["id"]) for batch in batches] == [2, 2, 1]
        rows = [
            {key: batch[key][row] for key in ("id", *SIGNALS)}
            for batch in batches
            for row in range(len(batch["id"]))
        ]
        assert_equal(rows, items(pairs))


def test_workers_that_outlive_an_epoch_hear_of_the_next(recordings):
    pairs = simulated(recordings)
    loader = DataLoader(pairs, batch_size=5, num_workers=1, persistent_workers=True)
    epochs = []
    for epoch in (0, 1, 0):
        pairs.set_epoch(epoch)
        epochs.append(next(iter(loader))["bone"])
    assert torch.equal(epochs[0], epochs[2])
    assert not torch.equal(epochs[0], epochs[1])


def test_the_seed_decides_what_is_drawn(recordings):
    same, again, other = simulated(recordings), simulated(recordings), simulated(recordings, seed=1)
    assert_equal(items(same), items(again))
    assert not torch.equal(same[0]["bone"], other[0]["bone"])


def test_a_dataset_can_be_pickled(recordings):
    pairs = simulated(recordings)
    pairs.set_epoch(3)
    assert_equal([pickle.loads(pickle.dumps(pairs))[0]], [pairs[0]])


def test_what_cannot_be_a_dataset_is_refused(recordings, tmp_path):
    with pytest.raises(
        UsageError, match=r"segment_s is -1; it wants a length of at least one sample"
    ):
        PairDataset(recordings, segment_s=-1)
    with pytest.raises(InputError, match="no audio files in this folder"):
        PairDataset(tmp_path)
    with pytest.raises(IndexError):
        PairDataset(recordings)[5]
