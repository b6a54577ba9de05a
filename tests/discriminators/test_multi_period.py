import pytest
import torch
from torch import nn
from torch.nn.functional import conv1d, leaky_relu

from bcsim.discriminators.multi_period import MultiPeriod
from bcsim.dsp.randomness import torch_stream
from bcsim.rng import stream


def small(period: int) -> MultiPeriod:
    with torch_stream(1, "multi_period"):
        return MultiPeriod(width=1, periods=[period]).double()


def noise(num_samples: int) -> torch.Tensor:
    samples = stream(1, "multi_period").standard_normal((2, 1, num_samples))
    return torch.from_numpy(samples)


def test_there_are_as_many_weights_as_published():
    with torch.device("meta"):
        discriminator = MultiPeriod()
    assert sum(weights.numel() for weights in discriminator.parameters()) == 41_105_770
    for network in discriminator.discriminators:
        assert sum(weights.numel() for weights in network.parameters()) == 8_221_154


def test_the_tensors_have_the_names_of_the_published_checkpoints():
    with torch.device("meta"):
        names = set(MultiPeriod().state_dict())
    ours = {"bias": "bias", "weight_g": "original0", "weight_v": "original1"}
    assert names == {
        f"discriminators.{network}.{conv}."
        + ("bias" if theirs == "bias" else f"parametrizations.weight.{ours[theirs]}")
        for network in range(5)
        for conv in [*(f"convs.{layer}" for layer in range(5)), "conv_post"]
        for theirs in ours
    }


@torch.no_grad()
@pytest.mark.parametrize("period", [2, 3, 5, 7, 11])
def test_a_column_is_what_a_network_in_one_dimension_makes_of_every_pth_sample(period):
    discriminator = small(period)
    speech = noise(period * 200)
    (features,) = discriminator(speech)
    *convs, post = (conv for conv in discriminator.modules() if isinstance(conv, nn.Conv2d))
    for column in range(period):
        hidden = speech[..., column::period]
        for conv, stride, feature in zip(convs, (3, 3, 3, 3, 1), features[:-1], strict=True):
            hidden = conv1d(hidden, conv.weight[..., 0], conv.bias, stride, padding=2)
            hidden = leaky_relu(hidden, 0.1)
            torch.testing.assert_close(feature[..., column], hidden, rtol=1e-9, atol=1e-12)
        score = conv1d(hidden, post.weight[..., 0], post.bias, padding=1)
        torch.testing.assert_close(features[-1][..., column], score, rtol=1e-9, atol=1e-12)


@torch.no_grad()
def test_what_repeats_with_the_period_scores_the_same_all_along():
    """And what repeats with another period does not."""
    for repeats, constant in ((7, True), (5, False)):
        speech = noise(repeats).repeat(1, 1, 7 * 81 * 40)
        score = small(7)(speech)[0][-1]
        inside = score[:, :, 5:-5]
        assert inside.shape[2] > 100
        change = (inside - inside[:, :, :1]).abs().max() / inside.abs().max()
        assert (change < 1e-9) == constant


@torch.no_grad()
def test_a_last_row_that_is_not_full_is_filled_with_a_reflection():
    speech = noise(7 * 100 + 3)
    filled = torch.cat([speech, speech[..., -5:-1].flip(-1)], dim=-1)
    assert filled.shape[-1] == 7 * 101
    for ours, theirs in zip(small(7)(speech)[0], small(7)(filled)[0], strict=True):
        assert torch.equal(ours, theirs)


@torch.no_grad()
def test_the_score_map_has_a_row_for_81_periods():
    for num_samples, rows in ((11, 1), (11 * 81, 1), (11 * 81 + 1, 2), (11 * 81 * 6, 6)):
        assert small(11)(noise(num_samples))[0][-1].shape == (2, 1, rows, 11)


def test_speech_shorter_than_a_period_is_refused():
    with pytest.raises(ValueError, match="given 10 samples, less than its period of 11"):
        small(11)(noise(10))


@pytest.mark.parametrize("sizes", [{"width": 0}, {"periods": []}, {"periods": [2, 0]}])
def test_sizes_that_make_no_network_are_refused(sizes):
    with pytest.raises(ValueError, match="it wants"):
        MultiPeriod(**sizes)
