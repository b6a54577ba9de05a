import numpy as np
import pytest
import torch

from bcsim.models.micro_crn import LATENCIES_MS, MicroCRN, erb_interpolation


@pytest.mark.parametrize("latency_ms", LATENCIES_MS)
def test_its_window_is_the_latency_that_was_asked_for(latency_ms):
    with torch.device("meta"):
        model = MicroCRN(latency_ms)
    assert model.causal
    assert model.latency_samples == latency_ms * 16 - 1
    assert model.frame_samples == latency_ms * 8
    assert model.num_parameters < 30_000


@torch.no_grad()
@pytest.mark.parametrize("channels", [("bone",), ("bone", "air")])
def test_frame_by_frame_with_its_state_it_says_what_it_says_of_the_whole(channels):
    model = MicroCRN(8, width=4, channels=channels).double().eval()
    noise = np.random.default_rng(0).standard_normal((2, len(channels), 512))
    spectra = model.frames.spectra(torch.from_numpy(noise))
    whole = model.enhance_spectra(spectra)
    state = model.initial_state(2)
    parts = []
    for frames in spectra.split([1, 1, 3, 1, spectra.shape[2] - 6], dim=2):
        enhanced, state = model.advance(frames, state)
        parts.append(enhanced)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=0, atol=1e-12)


def test_the_state_is_as_large_as_its_three_parts_say():
    state = MicroCRN().initial_state(1)
    shapes = [tuple(part.shape) for part in state]
    assert shapes == [(1, 16, 32, 33), (6, 1, 16), (2, 1, 33, 16)]


@pytest.mark.parametrize("fft_size", [128, 512])
def test_bands_are_bins_below_and_three_in_one_above(fft_size):
    """A quarter of the bins stay themselves, and a constant over bands is one over bins."""
    spread = erb_interpolation(fft_size, 16_000)
    lowest = fft_size // 8
    assert spread.shape == (fft_size // 4 + 1, fft_size // 2 + 1)
    np.testing.assert_allclose(spread.sum(0), 1)
    np.testing.assert_allclose(spread[:lowest, :lowest], np.eye(lowest), atol=1e-12)
    width_bins = spread.sum(1)
    assert width_bins[lowest + 1] < width_bins[-2]  # wider, the higher
    assert 1 < width_bins[lowest + 1] < 2
    assert width_bins[lowest + 1 : -1].mean() == pytest.approx(3, abs=0.4)


@torch.no_grad()
def test_a_network_that_predicts_nothing_leaves_the_signal_as_it_is():
    model = MicroCRN(8, width=4).double().eval()
    for weights in model.factors.parameters():
        weights.zero_()
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 1, 640)))
    torch.testing.assert_close(model(noise), noise)


@pytest.mark.parametrize("sizes", [{"latency_ms": 10}, {"width": 6}, {"num_paths": 0}])
def test_sizes_that_make_no_network_are_refused(sizes):
    with pytest.raises(ValueError, match="it wants"):
        MicroCRN(**sizes)
