import json

import pytest
import torch

from bcsim.errors import InputError, UsageError
from bcsim.files.hashing import hash_file
from bcsim.losses.deep_features import DeepFeatures
from bcsim.losses.sound_classifier import (
    SoundClassifier,
    build_classifier,
    load_classifier,
    save_classifier,
)
from bcsim.rng import stream

CLASSES = {"signal": ["air", "bone"], "snr": ["low", "middle", "high"]}


def signal(*names: str) -> torch.Tensor:
    return torch.from_numpy(0.1 * stream(1, *names).standard_normal((2, 1, 4000))).float()


@pytest.fixture
def folder(tmp_path):
    save_classifier(tmp_path, build_classifier({"classes": CLASSES, "width": 2}, seed=3))
    return tmp_path


def test_one_layer_that_passes_every_other_sample_on_gives_their_mean_difference(tmp_path):
    """Without statistics the norm divides by the root of 1 + 0.001."""
    net = build_classifier({"classes": {}, "width": 1}, seed=0)
    first = net.layers[0]
    weight = first.get_parameter("conv.weight")
    weight.data.copy_(torch.tensor([[[0.0, 1.0, 0.0]]]))
    save_classifier(tmp_path, net)
    loss = DeepFeatures(str(tmp_path), num_layers=1)
    target = torch.linspace(0.1, 0.5, 1000)[None, None]
    estimate = target.clone()
    estimate[..., 0::2] += 0.25
    estimate[..., 1::2] += 7
    assert loss(estimate, target).item() == pytest.approx(0.25 / 1.001**0.5, rel=1e-5)
    # Below zero the rectifier leaves a fifth.
    assert loss(-estimate, -target).item() == pytest.approx(0.05 / 1.001**0.5, rel=1e-5)


def distance(estimate: torch.Tensor, target: torch.Tensor) -> float:
    return DeepFeatures(num_layers=6)(estimate, target).item()


def test_after_the_warm_up_every_layer_counts_as_one():
    loss = DeepFeatures(warmup_batches=4, averaged_batches=2)
    target, near, far = signal("a"), signal("a") + 0.1 * signal("b"), signal("b")
    for estimate in (far, far, near):
        expected = distance(estimate, target)
        assert loss(estimate.requires_grad_(), target).item() == pytest.approx(expected)
    assert loss(near, target).item() == pytest.approx(distance(near, target))  # of the warm-up yet
    assert loss(near, target).item() == pytest.approx(6)
    assert loss(far, target).item() > 6
    assert loss(near, target).item() == pytest.approx(6)  # and the weights stay


def test_only_what_is_trained_on_counts():
    loss = DeepFeatures(warmup_batches=2, averaged_batches=1)
    for _ in range(5):
        loss(signal("b"), signal("a"))
    assert loss.num_batches == 0
    loss.eval()
    loss(signal("b").requires_grad_(), signal("a"))
    assert loss.num_batches == 0


def test_the_classifier_does_not_learn_and_its_statistics_stay(folder):
    loss = DeepFeatures(str(folder), warmup_batches=100).train()
    before = {name: value.clone() for name, value in loss.classifier.state_dict().items()}
    loss(signal("b").requires_grad_(), signal("a")).backward()
    assert not any(weights.requires_grad for weights in loss.parameters())
    for name, value in loss.classifier.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_random_weights_are_told_of(caplog):
    DeepFeatures()
    assert "random weights" in caplog.text


@pytest.mark.parametrize(
    "numbers",
    [
        {"num_layers": 0},
        {"num_layers": 15},
        {"averaged_batches": 0},
        {"warmup_batches": 5, "averaged_batches": 6},
    ],
)
def test_numbers_that_make_no_loss_are_refused(numbers):
    with pytest.raises(ValueError, match="it wants 1 to 14 layers"):
        DeepFeatures(**numbers)


def test_a_classifier_of_another_rate_is_refused(folder):
    with pytest.raises(ValueError, match=r"at 16000 Hz, and sample_rate is 8000"):
        DeepFeatures(str(folder), sample_rate=8000)


@torch.no_grad()
def test_a_saved_classifier_is_the_same_classifier(folder):
    saved, loaded = (
        build_classifier({"classes": CLASSES, "width": 2}, seed=3),
        load_classifier(folder),
    )
    found = loaded(signal("a"))
    assert {label: logits.shape for label, logits in found.items()} == {
        "signal": (2, 2),
        "snr": (2, 3),
    }
    for label, logits in saved.eval()(signal("a")).items():
        assert torch.equal(found[label], logits)


def test_layers_halve_the_rate_but_for_the_last():
    frames = [f.shape[1:] for f in SoundClassifier({}).features(signal("a"), 14)]
    lengths = [-(-4000 // 2**layer) for layer in range(1, 14)]
    assert [length for _, length in frames] == [*lengths, lengths[-1]]
    assert [width for width, _ in frames] == [32] * 5 + [64] * 5 + [128] * 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["classifier"].update(width=4), r"other weights than the model has"),
        (lambda c: c["classifier"].update(width=10**9), "it wants a width from 1 to 1024"),
        (lambda c: c["classifier"].update(width="wide"), "it wants width and sample_rate"),
        (lambda c: c["classifier"].update(depth=3), "it wants width and sample_rate"),
        (lambda c: c["classifier"].update(classes=[1]), "lists of names by label"),
        (lambda c: c["classifier"]["classes"].update(snr=[]), "a class or more of each label"),
        (lambda c: c["classifier"]["classes"].update({"a.b": ["c"]}), "lists of names by label"),
        (lambda c: c.update(format="bcsim-enhancer"), "not the config of a bcsim classifier"),
    ],
)
def test_a_damaged_classifier_is_refused_in_one_line(folder, change, message):
    path = folder / "classifier.json"
    config = json.loads(path.read_text())
    change(config)
    config["weights_sha256"] = hash_file(folder / "classifier.safetensors")
    path.write_text(json.dumps(config))
    with pytest.raises(InputError, match=message) as raised:
        load_classifier(folder)
    assert "\n" not in str(raised.value)


def test_sizes_that_make_no_network_are_refused():
    with pytest.raises(UsageError, match="it wants a width"):
        build_classifier({"classes": {}, "width": 0}, seed=0)
