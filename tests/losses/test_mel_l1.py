import math

import numpy as np
import pytest
import scipy.signal
import torch

from bcsim.losses.mel_l1 import MelL1
from bcsim.rng import stream


def speech(*names: str, num_samples: int = 8192) -> torch.Tensor:
    noise = stream(1, "mel", *names).standard_normal((2, 1, num_samples))
    return torch.from_numpy(0.1 * noise).float()


def test_a_gain_costs_its_logarithm():
    cost = MelL1().terms(2 * speech("a"), speech("a"))["mel_l1"]
    assert cost.item() == pytest.approx(math.log(2), rel=1e-5)


def slaney_bank(sample_rate: int, edges_hz: np.ndarray) -> np.ndarray:
    """Triangles of unit area between every other edge, on the bins of an FFT of 1024."""
    bins = np.fft.rfftfreq(1024, 1 / sample_rate)
    left, centre, right = (edges_hz[i : len(edges_hz) - 2 + i, None] for i in range(3))
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    return np.maximum(0, np.minimum(rising, falling)) * 2 / (right - left)


def slaney_hz(mel: np.ndarray) -> np.ndarray:
    """Linear up to 1 kHz = 15 mel, then 27 mel for a factor of 6.4."""
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))


def slaney_mel(frequency_hz: float) -> float:
    if frequency_hz < 1000:
        return frequency_hz * 3 / 200
    return 15 + 27 * math.log(frequency_hz / 1000, 6.4)


@pytest.mark.parametrize(
    ("num_mels", "f_min_hz", "f_max_hz", "sample_rate"),
    [(80, 0.0, None, 16_000), (40, 100.0, 7000.0, 22_050)],
)
def test_the_definition_computed_by_numpy_gives_the_same(num_mels, f_min_hz, f_max_hz, sample_rate):
    signal = speech("a")
    signal[..., 3000:6000] = 0  # the floors count too
    reflected = np.pad(signal[:, 0].numpy().astype(float), ((0, 0), (384, 384)), mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(reflected, 1024, axis=-1)[:, ::256]
    power = np.abs(np.fft.rfft(frames * scipy.signal.get_window("hann", 1024))) ** 2
    top = slaney_mel(f_max_hz or sample_rate / 2)
    edges_hz = slaney_hz(np.linspace(slaney_mel(f_min_hz), top, num_mels + 2))
    mel = np.sqrt(power + 1e-9) @ slaney_bank(sample_rate, edges_hz).T
    expected = np.log(np.maximum(mel, 1e-5)).transpose(0, 2, 1)
    loss = MelL1(num_mels, f_min_hz=f_min_hz, f_max_hz=f_max_hz, sample_rate=sample_rate)
    found = loss.log_mel(signal)
    assert found.shape == (2, num_mels, 8192 // 256)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"hop_size": 2000}, "it wants 0 < hop"),
        ({"f_max_hz": 9000.0}, "it wants 0 <= f_min_hz < f_max_hz <= 8000"),
        ({"num_mels": 0}, "num_mels is 0"),
        ({"num_mels": 400}, "use fewer num_mels"),
    ],
)
def test_settings_that_make_no_bands_are_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        MelL1(**settings)


def test_the_shortest_crop_is_one_more_than_the_reflection():
    MelL1().terms(speech("a", num_samples=385), speech("b", num_samples=385))
    with pytest.raises(ValueError, match="use longer crops"):
        MelL1().terms(speech("a", num_samples=384), speech("b", num_samples=384))
