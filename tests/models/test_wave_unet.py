import pytest
import torch
from torch.nn.functional import interpolate

from bcsim.models.wave_unet import WaveUNet, _interpolate


def test_the_size_is_that_published():
    assert WaveUNet().num_parameters == 10_132_802


def test_the_receptive_field_is_that_of_kernels_and_interpolations():
    """7 taps each side in the encoder, 2 in the decoder, and a neighbour for each odd sample."""
    model = WaveUNet(width=1)
    encoder, middle, decoder = 7 * 4095, 7 * 4096, 2 * 4095
    assert model.latency_samples == encoder + middle + decoder + 4095
    assert model.frame_samples == 4096


def test_interpolated_samples_lie_between_those_that_were_kept():
    hidden = torch.rand(2, 3, 17)
    found = _interpolate(hidden)
    assert torch.equal(found[..., ::2], hidden)
    # Of an odd number of samples torch's even spread is the same.
    spread = interpolate(hidden, size=33, mode="linear", align_corners=True)
    torch.testing.assert_close(found[..., :-1], spread)


@torch.no_grad()
def test_the_input_can_pass_by_all_levels():
    model = WaveUNet(levels=2, width=2).eval()
    for weights in model.last_conv.parameters():
        weights.zero_()
    model.last_conv.weight[0, -1] = 1
    signal = torch.rand(1, 1, 37) - 0.5
    torch.testing.assert_close(model(signal), signal.tanh())


def test_a_training_step_on_one_sample_has_something_to_normalise():
    model = WaveUNet(levels=4, width=1).train()
    model(torch.rand(1, 1, 1)).sum().backward()
    for weights in model.parameters():
        assert weights.grad is not None
        assert weights.grad.isfinite().all()


@pytest.mark.parametrize("sizes", [{"levels": 0}, {"levels": 15}, {"width": 0}])
def test_sizes_that_make_no_network_are_refused(sizes):
    with pytest.raises(ValueError, match="it wants 1 to 14 levels"):
        WaveUNet(**sizes)
