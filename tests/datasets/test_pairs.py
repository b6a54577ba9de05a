"""Pairs for training: items depend on seed, epoch and id, whichever way they are loaded."""

import math
import os
import tracemalloc
from dataclasses import replace

import pytest
import soundfile
import torch

from bcsim.audio.folder import audio_files
from bcsim.audio.write import write_audio
from bcsim.datasets.dataset import read_manifest
from bcsim.datasets.manifest import MANIFEST_NAME, write_manifest
from bcsim.datasets.pairs import StoredPairs, open_pairs
from bcsim.datasets.rendered_pairs import RenderedPairs
from bcsim.dsp.noise import white_noise
from bcsim.effects.distributions import Constant
from bcsim.effects.gain import Gain
from bcsim.effects.sensor_noise import SensorNoise
from bcsim.effects.sensor_response import SensorResponse
from bcsim.errors import InputError
from bcsim.rng import stream
from bcsim.simulator import Simulator
from bcsim.workers.pool import Workers
from bcsim.workflows.presets import resolve_simulator
from bcsim.workflows.synthesize import plan_synthesis, synthesize

RATE = 16_000


@pytest.fixture
def air(tmp_path, speech):
    for number in range(3):
        path = tmp_path / "air" / f"s{number}" / "clip.wav"
        path.parent.mkdir(parents=True)
        soundfile.write(path, speech[number % 2, : 8000 + 4000 * number].numpy(), RATE)
    return tmp_path / "air"


@pytest.fixture
def stored(air, tmp_path, sensor):
    sensor.save(tmp_path / "known.sensor")
    settings = ("splits.validation=0", "splits.test=0")
    plan = plan_synthesis(air, tmp_path / "pairs", str(tmp_path / "known.sensor"), None, settings)
    synthesize(plan, Workers())
    return StoredPairs(tmp_path / "pairs", "train", RATE, seed=0)


@pytest.fixture
def rendered(air, sensor):
    simulator = Simulator((SensorResponse(sensor), SensorNoise(sensor)), RATE)
    return RenderedPairs(audio_files(air), air, simulator, seed=0)


@pytest.fixture(params=["stored", "rendered"])
def pairs(request):
    return request.getfixturevalue(request.param)


def test_an_item_is_the_same_whenever_it_is_asked_for(pairs):
    first = pairs.crop(1, 4, 3000)
    pairs.crop(0, 4, 3000)
    again = pairs.crop(1, 4, 3000)
    assert torch.equal(first.air, again.air)
    assert torch.equal(first.bone, again.bone)
    assert first.air.shape == first.bone.shape == (3000,)
    assert first.air.dtype == torch.float32


def test_another_epoch_has_another_crop(pairs):
    assert not torch.equal(pairs.crop(2, 0, 3000).air, pairs.crop(2, 1, 3000).air)


def test_a_short_clip_is_filled_with_silence_behind(pairs):
    pair = pairs.crop(0, 0, 10_000)
    assert pair.air[:8000].abs().sum() > 0
    assert pair.air[8000:].abs().max() == pair.bone[8000:].abs().max() == 0


def test_whole_clips_are_whole(pairs):
    assert [len(pairs.whole(k).air) for k in range(3)] == [8000, 12_000, 16_000]


def test_a_crop_is_a_segment_of_the_stored_pair(stored):
    crop, whole = stored.crop(2, 0, 3000), stored.whole(2)
    matches = (whole.air.unfold(0, 3000, 1) == crop.air).all(dim=1).nonzero()
    assert len(matches) == 1
    start = int(matches[0])
    assert torch.equal(whole.bone[start : start + 3000], crop.bone)


def test_crops_reach_both_ends(stored):
    starts = [stored.crop_start(2, epoch, 16, 12) for epoch in range(200)]
    assert set(starts) == {0, 1, 2, 3, 4}


def test_every_epoch_hears_another_wearer(rendered):
    first, second = (rendered.crop(0, epoch, 8000) for epoch in (0, 1))
    assert torch.equal(first.air, second.air)
    assert not torch.equal(first.bone, second.bone)


def test_pairs_go_through_the_simulator_and_through_nothing_else(air):
    simulator = Simulator((Gain(),), RATE)
    pair = RenderedPairs(audio_files(air), air, simulator, seed=0).whole(1)
    assert torch.allclose(pair.air, pair.bone, atol=1e-7)


def test_pairs_of_another_rate_are_refused_with_line_and_remedy(stored, tmp_path):
    with pytest.raises(InputError, match=r"metadata\.jsonl line 1: pairs are 16000 Hz.* 8000"):
        StoredPairs(tmp_path / "pairs", "train", 8000, seed=0)


def test_a_missing_file_is_refused_before_work_starts(stored, tmp_path):
    next((tmp_path / "pairs").glob("train/bone/s1/*")).unlink()
    with pytest.raises(InputError, match=r"line 2: bone/s1/clip\.flac is missing"):
        StoredPairs(tmp_path / "pairs", "train", RATE, seed=0)


def test_a_link_that_comes_to_lead_elsewhere_is_not_followed(stored, tmp_path):
    """Between reading the manifest and the file, which may be hours."""
    path = stored.folder / stored.file_names[0]["bone"]
    path.rename(tmp_path / "decoy.flac")
    path.symlink_to(tmp_path / "decoy.flac")
    with pytest.raises(InputError, match=r"metadata\.jsonl: .*leads out of .* through a link"):
        stored.crop(0, 0, 1000)


def test_a_file_from_another_century_is_read_like_any_other(stored, tmp_path):
    """Of a time behind 2262, nanoseconds take more than 64 bits: it was an internal error."""
    path = stored.folder / stored.file_names[0]["bone"]
    for year_s in (13_569_465_600, -5_000_000_000):
        os.utime(path, (year_s, year_s))
        pairs = StoredPairs(tmp_path / "pairs", "train", RATE, seed=0)
        assert len(pairs.whole(0).bone)


def test_a_folder_without_pairs_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        StoredPairs(tmp_path / "nothing", "train", RATE, seed=0)
    with pytest.raises(InputError, match="no such manifest"):
        StoredPairs(tmp_path, "train", RATE, seed=0)


def test_noise_goes_by_the_talker_and_not_by_the_crop(tmp_path, sensor):
    """A crop that falls into a pause once had next to no noise."""
    noise = white_noise(torch.tensor([5]), 4 * RATE)[0].numpy()
    noise[: 3 * RATE] *= 1e-3
    write_audio(tmp_path / "a.wav", 0.1 * noise, RATE)
    simulator = Simulator((SensorNoise(sensor, Constant(0.0)),), RATE)
    rendered = RenderedPairs([tmp_path / "a.wav"], tmp_path, simulator, seed=0)
    crops = [rendered.crop(0, epoch, RATE // 2) for epoch in range(20)]
    added = [float((pair.bone - pair.air).square().mean().sqrt()) for pair in crops]
    assert max(added) < 1.3 * min(added)


def noisy_pairs(air, folder, sensor):
    """Stored pairs of a noisy place, the same opened as recordings, and rendered ones."""
    sensor.save(folder / "known.sensor")
    write_audio(folder / "noise/hiss.wav", stream(5, "hiss").standard_normal(RATE) / 10, RATE)
    noise = f"{{name: ambient_noise, noise: {folder / 'noise'}, snr_db: 10}}"
    settings = (f"effects=[{noise}, {{name: sensor_response}}]",)
    splits = ("splits.validation=0", "splits.test=0")
    name, out = str(folder / "known.sensor"), folder / "noisy"
    synthesize(plan_synthesis(air, out, name, None, settings + splits), Workers())
    simulator = resolve_simulator(name, settings=settings).simulator
    return {
        "stored": StoredPairs(out, "train", RATE, seed=0),
        "recorded": open_pairs(out, RATE, 0, "train"),
        "rendered": RenderedPairs(audio_files(air), air, simulator, seed=0),
    }


@pytest.mark.parametrize("kind", ["stored", "recorded", "rendered"])
def test_the_second_channel_is_the_noisy_air_of_the_same_crop(kind, air, tmp_path, sensor):
    """Noise 10 dB below speech: what noisy air has beside air is 10 dB weaker, at any crop."""
    pairs = noisy_pairs(air, tmp_path, sensor)[kind].with_channels(("bone", "air"))
    whole, crop = pairs.whole(2), pairs.crop(2, 0, 3000)
    assert whole.noisy_air is not None
    assert crop.noisy_air is not None
    ratio = whole.air.square().mean() / (whole.noisy_air - whole.air).square().mean()
    assert 10 * math.log10(ratio) == pytest.approx(10, abs=1.5)
    assert torch.equal(crop.inputs(("bone", "air")), torch.stack([crop.bone, crop.noisy_air]))
    if kind != "rendered":  # which draws other noise for every crop
        matches = (whole.air.unfold(0, 3000, 1) == crop.air).all(dim=1).nonzero()
        start = int(matches[0])
        assert torch.equal(whole.noisy_air[start : start + 3000], crop.noisy_air)
        assert pairs.with_channels(("bone",)).whole(2).noisy_air is None


def test_without_noisy_air_the_second_channel_is_air(stored):
    pair = stored.with_channels(("bone", "air")).whole(0)
    assert torch.equal(pair.inputs(("bone", "air")), torch.stack([pair.bone, pair.air]))


def test_what_is_kept_of_a_stored_pair_is_small(stored):
    """Whole rows took 3.5 kB a pair: 1.2 GB before the first step on 200,000 pairs."""
    (row, *_) = read_manifest(stored.folder / MANIFEST_NAME)
    rows = []
    for number in range(200):
        names = {f"{signal}_file_name": f"{signal}/{number:06d}.wav" for signal in ("bone", "air")}
        for name in names.values():
            (stored.folder / name).touch()
        rows.append(replace(row, id=f"s1/{number:06d}", **names))
    write_manifest(stored.folder / MANIFEST_NAME, rows)
    folder = stored.folder.parent
    del row, rows
    tracemalloc.start()
    try:
        pairs = StoredPairs(folder, "train", RATE, seed=0)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(pairs) == 200
    assert held < 200 * 1000
