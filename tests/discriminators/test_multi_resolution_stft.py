import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, pad

from bcsim.discriminators.multi_resolution_stft import MultiResolutionSTFT
from bcsim.dsp.randomness import torch_stream
from bcsim.rng import stream

FFT_SIZES = (256, 512, 128)


def small() -> MultiResolutionSTFT:
    with torch_stream(1, "multi_resolution_stft"):
        return MultiResolutionSTFT(width=2, fft_sizes=FFT_SIZES)


def noise(num_samples: int, batch: int = 2) -> torch.Tensor:
    samples = stream(1, "stft discriminator").standard_normal((batch, 1, num_samples))
    return torch.from_numpy(samples).float()


def spectra(speech: torch.Tensor) -> dict[int, torch.Tensor]:
    """What the first convolution of each network is given."""
    discriminator = small()
    seen = []
    for network in range(len(FFT_SIZES)):
        conv = discriminator.get_submodule(f"discriminators.{network}.convs.0")
        conv.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    discriminator(speech)
    return dict(zip(FFT_SIZES, seen, strict=True))


def test_there_are_as_many_weights_as_the_layers_of_the_paper_have():
    def conv(inputs: int, outputs: int, taps: int) -> int:
        return inputs * outputs * taps + 2 * outputs  # a gain and a bias for each channel

    network = conv(2, 32, 27) + 3 * conv(32, 32, 27) + conv(32, 32, 9) + conv(32, 1, 9)
    with torch.device("meta"):
        discriminator = MultiResolutionSTFT()
    assert sum(weights.numel() for weights in discriminator.parameters()) == 3 * network


def test_the_networks_see_the_frames_as_numpy_transforms_them():
    speech = noise(2000)
    for size, spectrum in spectra(speech).items():
        starts = range(0, 2000 - size + 1, size // 4)
        frames = np.stack([speech[:, 0, i : i + size].double().numpy() for i in starts], axis=1)
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
        expected = np.fft.rfft(frames * window) / np.sqrt((window**2).sum())
        ours = torch.complex(spectrum[:, 0], spectrum[:, 1])
        np.testing.assert_allclose(ours.numpy(), expected, atol=1e-5)


def test_white_noise_of_power_one_has_bins_of_power_one_at_every_resolution():
    for spectrum in spectra(noise(100_000, batch=1)).values():
        power = spectrum.square().sum(dim=1)[..., 1:-1].mean()
        assert power.item() == pytest.approx(1, abs=0.03)  # 100,000 samples: within 1%, 3 sigma


@torch.no_grad()
def test_time_and_frequency_stay_where_they_are():
    """Frames run along the third dimension, bins, halved three times, along the fourth."""
    for size, (*inner, score) in zip(FFT_SIZES, small()(noise(4096)), strict=True):
        frames, bins = (4096 - size) * 4 // size + 1, size // 2 + 1
        halves = [bins, size // 4 + 1, size // 8 + 1, size // 16 + 1, size // 16 + 1]
        assert [tuple(feature.shape) for feature in inner] == [(2, 2, frames, n) for n in halves]
        assert score.shape == (2, 1, frames, halves[-1])


@torch.no_grad()
def test_each_layer_is_a_convolution_and_a_leaky_relu_of_the_one_before():
    discriminator = small()
    hidden = spectra(noise(2000))[FFT_SIZES[0]]
    network = discriminator.discriminators[0]
    *convs, post = (conv for conv in network.modules() if isinstance(conv, nn.Conv2d))
    *inner, score = discriminator(noise(2000))[0]
    strides, dilations, paddings = (1, 2, 2, 2, 1), (1, 1, 2, 4, 1), (4, 4, 4, 4, 1)
    for conv, stride, dilation, padding, feature in zip(
        convs, strides, dilations, paddings, inner, strict=True
    ):
        edges = (dilation, padding)  # the kernels have three taps in time
        hidden = conv2d(hidden, conv.weight, conv.bias, (1, stride), edges, (dilation, 1))
        hidden = hidden.where(hidden > 0, 0.2 * hidden)
        torch.testing.assert_close(feature, hidden)
    torch.testing.assert_close(score, conv2d(hidden, post.weight, post.bias, padding=1))


@torch.no_grad()
def test_scores_reach_ten_frames_back_and_ahead():
    """3 taps at dilations 1, 1, 2, 4, 1, 1: frames 1 + 1 + 2 + 4 + 1 + 1 = 10 to either side."""
    network = small().discriminators[0].double()
    (hop, middle), speech = (64, 20), noise(256 + 64 * 40, batch=1).double()
    # A quarter of a frame that four frames contain: 17 to 20.
    changed = speech.clone()
    changed[..., hop * middle : hop * (middle + 1)] += 1
    touched = (network(speech)[-1] != network(changed)[-1]).any(dim=3)[0, 0].nonzero()
    assert (touched.min().item(), touched.max().item()) == (middle - 3 - 10, middle + 10)


@torch.no_grad()
def test_speech_shorter_than_a_frame_is_a_frame_that_ends_in_silence():
    speech = noise(100)
    for size, features in zip(FFT_SIZES, small()(speech), strict=True):
        alone = MultiResolutionSTFT(width=2, fft_sizes=[size])
        alone.discriminators[0].load_state_dict(
            small().discriminators[FFT_SIZES.index(size)].state_dict()
        )
        (filled,) = alone(pad(speech, (0, size - 100)))
        assert features[-1].shape[2] == 1
        assert torch.equal(features[-1], filled[-1])


@torch.no_grad()
def test_speech_in_half_precision_is_transformed_in_full():
    speech = noise(2000).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        scores = zip(small()(speech), small()(speech.float()), strict=True)
    for ours, theirs in scores:
        assert torch.equal(ours[-1], theirs[-1])


@pytest.mark.parametrize("sizes", [{"width": 0}, {"fft_sizes": []}, {"fft_sizes": [512, 3]}])
def test_sizes_that_make_no_network_are_refused(sizes):
    with pytest.raises(ValueError, match="it wants"):
        MultiResolutionSTFT(**sizes)
