"""EBEN's and MelGAN's discriminators against the published ones."""

import json

import numpy as np
import pytest
import torch

from bcsim.discriminators.eben import EBENMultiBand
from bcsim.discriminators.melgan import MelGAN
from bcsim.dsp.pqmf import PQMF
from bcsim.losses.adversarial.feature_matching import FeatureMatching
from bcsim.losses.adversarial.hinge import Hinge


@pytest.fixture(scope="module")
def golden(shared):
    return np.load(shared / "golden/eben_p1.npz")


@pytest.fixture(scope="module")
def discriminator(golden) -> EBENMultiBand:
    """With the weights that ../shared/golden/README.md says how to make."""
    weights = {}
    shapes = json.loads(str(golden["discriminator_shapes"]))
    for index, key in enumerate(sorted(shapes)):
        drawn = np.random.default_rng([int(golden["seed"]) + 1, index])
        x = drawn.standard_normal(shapes[key])
        if key.endswith("original0"):
            x = 1 + 0.1 * x
        elif not key.endswith("original1"):
            x = 0.1 * x
        weights[key] = torch.tensor(x, dtype=torch.float32)
    made = EBENMultiBand()
    made.load_state_dict(weights)  # all 93 keys, and no other
    return made


@pytest.fixture(scope="module")
def sides(golden, discriminator):
    cut = torch.tensor(golden["input"])[None, None, : int(golden["valid_length"])]
    with torch.no_grad():
        real = discriminator(cut)
        fake = discriminator(torch.tensor(golden["speech"])[None, None], bands_of(golden))
    return real, fake


def bands_of(golden) -> torch.Tensor:
    return torch.tensor(golden["bands"])[None]


@pytest.mark.shared
def test_published_weights_give_the_published_scores(golden, sides):
    scores = torch.cat([network[-1].flatten() for network in sides[1]]).numpy()
    np.testing.assert_allclose(scores, golden["discriminator_scores"], rtol=1e-4, atol=1e-5)


@pytest.mark.shared
def test_published_weights_give_the_published_features(golden, sides):
    bands, speech = bands_of(golden), torch.tensor(golden["speech"])
    # the published networks return their input before their features
    inputs = [bands, bands, bands, speech]
    features = [f for x, network in zip(inputs, sides[1], strict=True) for f in (x, *network)]
    found = np.array([[f.double().mean(), f.double().std()] for f in features])
    np.testing.assert_allclose(
        found, golden["discriminator_feature_mean_std"], rtol=1e-4, atol=1e-6
    )


@pytest.mark.shared
def test_the_published_losses_are_ours(golden, sides):
    real, fake = sides
    hinge = Hinge()
    found = {
        "hinge_generator": hinge.generator_loss(fake),
        "hinge_discriminator": hinge.discriminator_loss(real, fake),
        "feature_matching": FeatureMatching("eben")(real, fake),
    }
    for name, value in found.items():
        assert value.item() == pytest.approx(float(golden[name]), rel=1e-4), name


@pytest.mark.parametrize(
    ("settings", "count"), [({}, 23_161_344), ({"q": 3, "min_channels": 30}, 27_796_938)]
)
def test_eben_has_the_published_number_of_weights(settings, count):
    with torch.device("meta"):
        made = EBENMultiBand(**settings)
    assert sum(weights.numel() for weights in made.parameters()) == count


@pytest.mark.parametrize(
    ("settings", "count"),
    [({}, 16_924_086), ({"num_scales": 1, "groups": (4, 4, 4, 4)}, 18_866_322)],
)
def test_melgan_has_the_published_number_of_weights(settings, count):
    with torch.device("meta"):
        made = MelGAN(**settings)
    assert sum(weights.numel() for weights in made.parameters()) == count


def test_without_bands_eben_splits_the_speech_itself():
    made = EBENMultiBand(min_channels=4, melgan_width=4)
    speech = torch.linspace(-1, 1, 4000).sin()[None, None]
    bands = PQMF(4, 32).analysis(speech)
    for ours, given in zip(made(speech), made(speech, bands), strict=True):
        assert torch.equal(ours[-1], given[-1])


def test_eben_looks_at_the_upper_bands_alone():
    made = EBENMultiBand(q=2, min_channels=4, melgan_width=4)
    speech, bands = torch.zeros(1, 1, 4000), torch.zeros(1, 4, 1008)
    lower, upper = bands.clone(), bands.clone()
    lower[:, :2] += 1
    upper[:, 2:] += 1
    before = made(speech, bands)[0][-1]
    assert torch.equal(made(speech, lower)[0][-1], before)
    assert not torch.equal(made(speech, upper)[0][-1], before)
    with pytest.raises(ValueError, match="given 3 bands and looks at 4"):
        made(speech, bands[:, :3])


def test_melgan_scores_get_shorter_with_the_scale():
    scores = [network[-1] for network in MelGAN(width=16)(torch.zeros(1, 1, 8192))]
    assert [score.shape[-1] for score in scores] == [32, 16, 8]
