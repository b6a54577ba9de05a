import pytest
import torch

from bcsim.models.seanet import PaddedConv, SEANet


def test_sizes_are_those_published():
    assert SEANet().num_parameters == 8_340_033
    assert SEANet(channels=("bone", "air")).num_parameters == 8_340_257
    streaming = SEANet(width=8, latent=128, weight_norm=False, causal=True)
    assert streaming.num_parameters == 692_848


def test_the_offline_form_looks_as_far_back_as_ahead():
    model = SEANet()
    assert model.history_samples == model.latency_samples == 3105
    assert not model.causal


def test_the_causal_form_sees_its_frame_of_16_ms_and_no_more():
    model = SEANet(width=8, weight_norm=False, causal=True)
    assert model.frame_samples == 256
    assert model.latency_samples == 255


@torch.no_grad()
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(7, 1, 1), (3, 1, 9), (16, 8, 1)])
def test_causal_convolutions_are_padded_as_encodec_pads_them(kernel, stride, dilation):
    """(k - 1) d + 1 - s zeros before the signal, none behind: output i waits for its s inputs."""
    conv = PaddedConv(1, 1, kernel, causal=True, stride=stride, dilation=dilation)
    assert conv.edges == ((kernel - 1) * dilation + 1 - stride, 0)
    early, late = torch.zeros(1, 1, 80), torch.zeros(1, 1, 80)
    late[..., 5 * stride :] = 1
    assert torch.equal(conv(early)[..., :5], conv(late)[..., :5])
    assert conv(late)[..., 5] != 0


@torch.no_grad()
@pytest.mark.parametrize("channels", [("bone",), ("bone", "air")])
def test_without_a_network_the_last_channel_comes_back(channels):
    model = SEANet(width=2, latent=2, channels=channels, weight_norm=False)
    for weights in model.last_conv.parameters():
        weights.zero_()
    signals = torch.rand(2, len(channels), 1000)
    assert torch.equal(model(signals), signals[:, -1:])


@pytest.mark.parametrize("channels", [("air",), ("air", "bone"), ("bone", "ambient"), ()])
def test_other_channels_are_refused(channels):
    with pytest.raises(ValueError, match="channels"):
        SEANet(channels=channels)


def test_a_frame_beyond_all_bounds_is_refused():
    with pytest.raises(ValueError, match="at most"):
        SEANet(strides=(1000, 1000, 1000))
