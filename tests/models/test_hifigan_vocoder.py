import math

import librosa
import numpy as np
import pytest
import torch
from scipy.signal import get_window

from bcsim.models.hifigan_vocoder import HiFiGANVocoder
from bcsim.rng import stream

V1 = {"width": 512}
V2 = {"width": 128}
V3 = {
    "width": 256,
    "strides": (8, 8, 4),
    "kernels": (3, 5, 7),
    "dilations": ((1, 2), (2, 6), (3, 12)),
    "paired": False,
}
SMALL = HiFiGANVocoder.small


@pytest.mark.parametrize(
    ("sizes", "count", "frames"),
    [(V1, 13_936_130, 13), (V2, 928_514, 13), (V3, 1_464_322, 11)],
    ids=["V1", "V2", "V3"],
)
def test_sizes_and_receptive_fields_are_those_published(sizes, count, frames):
    model = HiFiGANVocoder(**sizes)
    assert model.num_parameters == count
    if sizes is V1:
        assert len(model.state_dict()) == 234
    # Behind its own frame an output depends on so many, and on what the last one's window spans.
    assert model.latency_samples is not None
    window = (1024 + 256) // 2 - 1
    assert math.ceil((model.latency_samples - window) / 256) == frames


def test_the_spectrum_is_that_of_scipys_window_and_librosas_filters():
    signal = 0.1 * stream(1, "vocoder").standard_normal(256 * 20)
    model = HiFiGANVocoder(**{**SMALL, "num_mels": 80, "strides": (16, 16), "fft_size": 1024})
    assert model.frame_samples == 256
    found = model.log_mel(torch.from_numpy(signal).float()[None])[0].numpy()
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(signal, 384), 1024)[::256]
    spectrum = np.fft.rfft(frames * get_window("hann", 1024)).T
    bank = librosa.filters.mel(sr=16_000, n_fft=1024, n_mels=80)
    wanted = np.log(np.maximum(bank @ np.sqrt(np.abs(spectrum) ** 2 + 1e-9), 1e-5))
    assert found.shape == wanted.shape == (80, 20)
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_silence_has_the_level_that_lies_around_the_signal():
    model = HiFiGANVocoder()
    mels = model.log_mel(torch.zeros(1, 1024))
    torch.testing.assert_close(mels, torch.full_like(mels, math.log(1e-5)))


@torch.no_grad()
def test_the_phase_of_the_sensor_is_not_used():
    model = HiFiGANVocoder(**SMALL).eval()
    signal = torch.from_numpy(0.1 * stream(2, "vocoder").standard_normal((1, 1, 800))).float()
    torch.testing.assert_close(model(-signal), model(signal))


@torch.no_grad()
def test_a_mapper_that_predicts_nothing_leaves_the_vocoder_as_it_is():
    """So the vocoder may learn from air alone, and the mapper begin from its weights."""
    model = HiFiGANVocoder(**SMALL, mapper_units=3).eval()
    for weights in model.get_submodule("mapper.levels").parameters():
        weights.zero_()
    plain = HiFiGANVocoder(**SMALL).eval()
    plain.generator.load_state_dict(model.generator.state_dict())
    signal = torch.rand(1, 1, 500) - 0.5
    assert torch.equal(model(signal), plain(signal))


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ({"strides": (3, 2)}, "they have to be even"),
        ({"width": 12, "strides": (2, 2, 2)}, "halve it to a whole number"),
        ({"kernels": (3, 4, 5)}, "they have to be odd"),
        ({"kernels": (3, 5)}, "give some for each of 2"),
        ({"dilations": ((1,), (), (1,))}, "give some for each of 3"),
        ({"fft_size": 128}, "it wants 256 or more"),
        ({"num_mels": 400}, "narrower than the bins"),
        ({"mapper_units": -1}, "mapper_units 0 or more"),
    ],
)
def test_what_makes_no_network_is_refused(sizes, told):
    with pytest.raises(ValueError, match=told):
        HiFiGANVocoder(**sizes)
