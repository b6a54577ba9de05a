"""The classifier of the deep feature loss learns what the simulator knows, of the right clips."""

import numpy as np
import pytest
import soundfile
import torch

from bcsim.datasets.noise_folder import NoiseFolder
from bcsim.datasets.rendered_pairs import RenderedPairs
from bcsim.effects.ambient_noise import AmbientNoise
from bcsim.effects.distributions import Uniform
from bcsim.effects.gain import Gain
from bcsim.errors import UsageError
from bcsim.files.hashing import hash_file
from bcsim.losses.sound_classifier import WEIGHTS_FILE, save_classifier
from bcsim.rng import stream
from bcsim.simulator import Simulator
from bcsim.training.classifier import (
    UNKNOWN,
    ClassifierConfig,
    LabelledClips,
    accuracies,
    train_classifier,
)

CONFIG = ClassifierConfig(
    num_steps=3, effects=[], width=2, snr_edges_db=[0.0, 10.0], crop_s=0.5, batch_size=3
)


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> LabelledClips:
    """Pairs whose sensor is the microphone 20 dB softer, with two kinds of noise."""
    folder = tmp_path_factory.mktemp("clips")
    for name in ("air/s0/a.wav", "air/s1/a.wav", "noise/hiss/a.wav", "noise/hum.wav"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        samples = 0.1 * stream(0, name).standard_normal(16_000)
        if "hum" in name:
            samples = 0.1 * np.sin(0.05 * np.arange(16_000))
        soundfile.write(folder / name, samples, 16_000)
    noise = AmbientNoise(NoiseFolder(folder / "noise"), snr_db=Uniform(-10.0, 20.0))
    simulator = Simulator((noise, Gain(-20.0)), 16_000)
    files = sorted((folder / "air").rglob("*.wav"))
    return LabelledClips(RenderedPairs(files, folder, simulator, seed=0), CONFIG)


def test_labels_are_what_the_clips_are(clips):
    assert clips.classes["noise"] == ["hiss", "hum"]
    assert clips.classes["snr"] == ["below 0 dB", "from 0 dB", "from 10 dB"]
    picks = [(index, epoch) for index in (0, 1) for epoch in range(8)]
    signals, labels = clips.at(picks)
    air, bone, noisy = signals[:, 0].split(len(picks))
    assert labels["signal"].tolist() == [0] * 16 + [1] * 16 + [2] * 16
    torch.testing.assert_close(bone, 0.1 * air)
    added = noisy - air
    snr_db = 10 * (air.square().sum(-1) / added.square().sum(-1)).log10()
    expected = [0 if snr < 0 else 1 if snr < 10 else 2 for snr in snr_db]
    assert labels["snr"].tolist() == [UNKNOWN] * 32 + expected
    # A hum changes little from sample to sample.
    is_hum = added.diff().square().mean(-1) < 0.1 * added.square().mean(-1)
    assert labels["noise"].tolist() == [UNKNOWN] * 32 + is_hum.long().tolist()
    assert len(set(expected)) == 3
    assert 0 < is_hum.sum() < 16


def test_every_epoch_takes_each_item_once(clips):
    picked = []

    class Noted:
        classes, config, pairs = clips.classes, clips.config, clips.pairs

        def at(self, picks):
            picked.extend(picks)

    for step in range(4):
        LabelledClips.of_step(Noted(), step)  # type: ignore[arg-type]
    assert sorted(picked) == [(index, epoch) for index in (0, 1) for epoch in range(6)]


def test_the_same_training_gives_the_same_weights(clips, tmp_path):
    hashes = set()
    for run in ("a", "b"):
        with torch.random.fork_rng():
            torch.rand(len(hashes) + 1)  # nothing else that was drawn matters
            save_classifier(tmp_path / run, train_classifier(CONFIG, clips))
        hashes.add(hash_file(tmp_path / run / WEIGHTS_FILE))
    assert len(hashes) == 1


def test_the_accuracy_counts_what_is_known(clips):
    classifier = train_classifier(CONFIG, clips)
    for head in classifier.heads.values():
        head.get_parameter("weight").data.zero_()
        bias = head.get_parameter("bias").data
        bias.copy_(torch.arange(len(bias), 0.0, -1.0))  # the first class, always
    found = accuracies(classifier, clips)
    assert (found["signal"].accuracy, found["signal"].most_frequent) == (1 / 3, 1 / 3)
    assert (found["signal"].num_clips, found["snr"].num_clips) == (6, 2)
    labels = clips.at([(0, 0), (1, 0)]).labels["snr"][-2:]
    assert found["snr"].accuracy == (labels == 0).float().mean()


def test_without_noise_there_is_nothing_to_tell(clips):
    pairs = RenderedPairs(
        clips.pairs.files, clips.pairs.files[0].parents[2], Simulator((Gain(-20.0),), 16_000), 0
    )
    with pytest.raises(UsageError, match=r"set effects\.ambient_noise\.noise"):
        LabelledClips(pairs, CONFIG)


@pytest.mark.parametrize("edges", [[], [10.0, 0.0], [0.0, 0.0]])
def test_edges_that_do_not_rise_are_refused(edges):
    with pytest.raises(ValueError, match="one SNR or more, rising"):
        ClassifierConfig(1, [], snr_edges_db=edges)
