"""Recorded pairs: found by name, resampled, cut to the shorter; datasets are opened whole."""

import numpy as np
import pytest
import soundfile
import torch

from bcsim.audio.read import read_audio
from bcsim.datasets.dataset import PairFiles
from bcsim.datasets.pairs import RecordedPairs, StoredPairs, open_pairs
from bcsim.errors import InputError
from bcsim.workers.pool import Workers
from bcsim.workflows.synthesize import plan_synthesis, synthesize

RATE = 16_000


@pytest.fixture
def recorded(tmp_path, speech):
    """Folder of two pairs: one at the rate, bone shorter; one at twice the rate in stereo."""
    air, bone = speech[0, :12_000].numpy(), speech[1, :10_000].numpy()
    for role, samples in (("air", air), ("bone", bone)):
        for talker in ("anna", "ben"):
            (tmp_path / role / talker).mkdir(parents=True)
        soundfile.write(tmp_path / role / "anna/1.wav", samples, RATE)
        soundfile.write(tmp_path / role / "ben/1.wav", np.stack([samples] * 2, 1), 2 * RATE)
    return tmp_path


@pytest.fixture
def dataset(tmp_path, speech):
    for talker in range(6):
        path = tmp_path / "speech" / f"s{talker}" / "clip.wav"
        path.parent.mkdir(parents=True)
        soundfile.write(path, speech[0, :8000].numpy(), RATE)
    settings = ("splits.validation=0.4", "splits.test=0.3")
    preset = "temporal-transforms"
    synthesize(
        plan_synthesis(tmp_path / "speech", tmp_path / "set", preset, None, settings), Workers()
    )
    return tmp_path / "set"


def test_pairs_are_named_by_their_paths_and_cut_to_the_shorter(recorded):
    pairs = open_pairs(recorded, RATE, seed=0)
    assert pairs.ids == ["anna/1", "ben/1"]
    anna = pairs.whole(0)
    assert anna.air.shape == anna.bone.shape == (10_000,)
    assert anna.air.dtype == torch.float32
    expected, _ = read_audio(recorded / "bone/anna/1.wav")
    assert np.array_equal(anna.bone.numpy(), expected.astype(np.float32))


@pytest.mark.filterwarnings("default")
def test_other_rates_and_channels_become_the_ones_wanted(recorded):
    ben = open_pairs(recorded, RATE, seed=0).whole(1)
    expected, _ = read_audio(recorded / "air/ben/1.wav", RATE)
    assert len(ben.air) == 5000
    assert np.array_equal(ben.air.numpy(), expected[:5000].astype(np.float32))


@pytest.mark.parametrize("index", [0, 1])
def test_a_crop_is_the_same_stretch_of_both_signals(recorded, index):
    pairs = open_pairs(recorded, RATE, seed=0)
    whole = pairs.whole(index)
    starts = set()
    for epoch in range(4):
        crop = pairs.crop(index, epoch, 3000)
        start = pairs.crop_start(index, epoch, len(whole.air), 3000)
        assert torch.equal(crop.air, whole.air[start : start + 3000])
        assert torch.equal(crop.bone, whole.bone[start : start + 3000])
        starts.add(start)
    assert len(starts) == 4


@pytest.mark.parametrize("index", [0, 1])
def test_a_crop_longer_than_the_pair_ends_in_silence(recorded, index):
    pairs = open_pairs(recorded, RATE, seed=0)
    whole, crop = pairs.whole(index), pairs.crop(index, 0, 16_000)
    for got, expected in ((crop.air, whole.air), (crop.bone, whole.bone)):
        assert torch.equal(got[: len(expected)], expected)
        assert not got[len(expected) :].any()


def test_all_splits_of_a_dataset_are_opened_or_one(dataset):
    everything = open_pairs(dataset, RATE, seed=0)
    assert len(everything) == 6
    parts = [open_pairs(dataset, RATE, 0, split).ids for split in ("train", "validation", "test")]
    assert all(parts)
    assert everything.ids == [name for part in parts for name in part]
    assert open_pairs(dataset / "test", RATE, 0).ids == parts[2]


def test_a_dataset_opened_as_recordings_holds_the_same_pairs(dataset):
    stored, opened = StoredPairs(dataset, "train", RATE, 5), open_pairs(dataset, RATE, 5, "train")
    assert opened.ids == stored.ids
    for one, other in (
        (stored.whole(0), opened.whole(0)),
        (stored.crop(0, 3, 999), opened.crop(0, 3, 999)),
    ):
        assert torch.equal(one.air, other.air)
        assert torch.equal(one.bone, other.bone)


def test_what_has_no_partner_is_left_out_and_named(recorded, caplog):
    (recorded / "bone/ben/1.wav").unlink()
    assert open_pairs(recorded, RATE, seed=0).ids == ["anna/1"]
    assert "no file called ben/1" in caplog.text


def test_folders_and_files_of_another_kind_are_refused_with_a_remedy(recorded, dataset, tmp_path):
    with pytest.raises(InputError, match=r"nothing: no such file or folder"):
        open_pairs(tmp_path / "nothing", RATE, 0)
    with pytest.raises(InputError, match=r"set/trial/metadata\.jsonl: no such manifest"):
        open_pairs(dataset, RATE, 0, "trial")
    (recorded / "bone/ben/1.wav").write_bytes(b"not audio")
    opened = open_pairs(recorded, RATE, 0)
    assert opened.ids == ["anna/1"]
    assert "bone/ben/1.wav: cannot be read as audio" in opened.failures["ben/1"]
    (recorded / "air/anna/1.wav").write_bytes(b"not audio")
    with pytest.raises(InputError, match=r"none of 2 recorded pairs .*anna/1\.wav: cannot be read"):
        open_pairs(recorded, RATE, 0)
    twice = [PairFiles("a", {role: recorded / role / "anna/1.wav" for role in ("air", "bone")})] * 2
    with pytest.raises(InputError, match="two pairs are called 'a'"):
        RecordedPairs(twice, RATE, 0)
