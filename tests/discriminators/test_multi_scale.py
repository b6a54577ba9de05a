import pytest
import torch
from torch import nn
from torch.nn.functional import conv1d, pad

from bcsim.discriminators.multi_scale import MultiScale
from bcsim.dsp.randomness import torch_stream
from bcsim.rng import stream


def small() -> MultiScale:
    with torch_stream(1, "multi_scale"):
        return MultiScale(width=16).double().eval()


def noise(num_samples: int) -> torch.Tensor:
    samples = stream(1, "multi_scale").standard_normal((2, 1, num_samples))
    return torch.from_numpy(samples)


def convs_at(discriminator: MultiScale, scale: int) -> list[nn.Conv1d]:
    network = discriminator.discriminators[scale]
    return [conv for conv in network.modules() if isinstance(conv, nn.Conv1d)]


def test_there_are_as_many_weights_as_published():
    with torch.device("meta"):
        discriminator = MultiScale()
    assert sum(weights.numel() for weights in discriminator.parameters()) == 29_618_821


def test_the_tensors_have_the_names_of_the_published_checkpoints():
    with torch.device("meta"):
        names = set(MultiScale().state_dict())
    spectral = ("original", "0._u", "0._v")  # there weight_orig, weight_u and weight_v
    weight = ("original0", "original1")  # there weight_g and weight_v
    convs = [*(f"convs.{layer}" for layer in range(7)), "conv_post"]
    assert names == {
        f"discriminators.{scale}.{conv}.{tensor}"
        for scale, normalisation in enumerate((spectral, weight, weight))
        for conv in convs
        for tensor in ["bias", *(f"parametrizations.weight.{part}" for part in normalisation)]
    }
    assert len(names) == 80


@torch.no_grad()
def test_lengths_halve_from_scale_to_scale_and_each_network_strides_by_64():
    features = small()(noise(8192))
    assert [inner[0].shape[-1] for inner in features] == [8192, 4097, 2049]
    assert [inner[-1].shape for inner in features] == [(2, 1, 128), (2, 1, 65), (2, 1, 33)]
    assert [feature.shape[1] for feature in features[0]] == [16, 16, 32, 64, 128, 128, 128, 1]
    assert [inner[-1].shape[-1] for inner in small()(noise(1))] == [1, 1, 1]


@torch.no_grad()
def test_each_layer_is_a_convolution_and_a_leaky_relu_of_the_one_before():
    discriminator, hidden = small(), noise(1000)
    *convs, post = convs_at(discriminator, scale=0)
    *inner, score = discriminator(hidden)[0]
    strides, groups = (1, 2, 2, 4, 4, 1, 1), (1, 4, 16, 16, 16, 16, 1)
    for conv, stride, parts, feature in zip(convs, strides, groups, inner, strict=True):
        half = conv.weight.shape[-1] // 2
        hidden = conv1d(hidden, conv.weight, conv.bias, stride, half, groups=parts)
        hidden = hidden.where(hidden > 0, 0.1 * hidden)
        torch.testing.assert_close(feature, hidden, rtol=1e-9, atol=1e-12)
    expected = conv1d(hidden, post.weight, post.bias, padding=1)
    torch.testing.assert_close(score, expected, rtol=1e-9, atol=1e-12)


@torch.no_grad()
def test_the_second_network_sees_means_of_four_at_every_other_sample():
    speech = noise(1001)
    silent_around = pad(speech, (2, 2))
    means = torch.stack([silent_around[..., i : i + 4].mean(-1) for i in range(0, 1002, 2)], -1)
    discriminator = small()
    for ours, theirs in zip(
        discriminator(speech)[1], discriminator.discriminators[1](means), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@torch.no_grad()
def test_training_drives_the_gain_of_the_full_rate_layers_to_one():
    discriminator = small().train()
    for _ in range(200):
        discriminator.discriminators[0](noise(1))
    for conv in convs_at(discriminator.eval(), scale=0):
        # SVD, which shares nothing with the power iteration
        assert torch.linalg.svdvals(conv.weight.flatten(1))[0].item() == pytest.approx(1, abs=5e-3)


@torch.no_grad()
def test_no_network_sees_the_scale_of_its_weights():
    discriminator, speech = small(), noise(500)
    before = discriminator(speech)
    for scale, tensor in enumerate(("original", "original1", "original1")):
        for conv in convs_at(discriminator, scale):
            conv.get_parameter(f"parametrizations.weight.{tensor}").mul_(3)
    for ours, theirs in zip(before, discriminator(speech), strict=True):
        torch.testing.assert_close(ours[-1], theirs[-1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("sizes", [{"width": 0}, {"width": 24}, {"num_scales": 0}])
def test_sizes_that_make_no_network_are_refused(sizes):
    with pytest.raises(ValueError, match="it wants"):
        MultiScale(**sizes)
