import numpy as np
import pytest
import torch

from bcsim.dsp.features import deltas, pitch
from bcsim.dsp.spectra import sine_window

RATE, LENGTH = 16_000, 512
WINDOW = torch.from_numpy(sine_window(LENGTH))


def voice(f0_hz: float | np.ndarray, num_samples: int = 8000) -> np.ndarray:
    """A sum of harmonics below 1 kHz, as a sensor picks them up, the fundamental faint."""
    phase = 2 * np.pi * np.cumsum(np.full(num_samples, f0_hz) / RATE)
    number = np.arange(1, int(1000 / np.max(f0_hz)) + 1)[:, None]
    amplitude = np.where(number == 1, 0.2, 1 / number)
    return 0.05 * (amplitude * np.sin(number * phase + number)).sum(axis=0)


def framed(signal: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(signal).unfold(-1, LENGTH, LENGTH // 2) * WINDOW


@pytest.mark.parametrize("f0_hz", [85.0, 120.0, 213.3, 330.0])
def test_the_pitch_of_a_voice_is_its_fundamental(f0_hz):
    found, voicing = pitch(framed(voice(f0_hz)), WINDOW, RATE)
    np.testing.assert_allclose(found, f0_hz, rtol=0.02)
    assert voicing.min() > 0.9


def test_a_gliding_pitch_is_that_of_the_middle_of_a_frame():
    f0_hz = np.linspace(110, 220, 16_000)
    found, _ = pitch(framed(voice(f0_hz, 16_000)), WINDOW, RATE)
    middles = LENGTH // 2 * np.arange(1, len(found) + 1)
    np.testing.assert_allclose(found, f0_hz[middles], rtol=0.02)


def test_noise_is_less_voiced_than_a_voice_and_silence_not_at_all():
    noise = 0.1 * np.random.default_rng(0).standard_normal(16_000)
    assert pitch(framed(noise), WINDOW, RATE)[1].mean() < 0.5
    frequency_hz, voicing = pitch(framed(np.zeros(2000)), WINDOW, RATE)
    assert (voicing == 0).all()
    assert frequency_hz.isfinite().all()


def test_the_gain_does_not_matter():
    frames = framed(voice(150.0))
    one, other = pitch(frames, WINDOW, RATE), pitch(10 * frames, WINDOW, RATE)
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_frequencies_that_a_frame_cannot_tell_are_refused():
    with pytest.raises(ValueError, match="it wants rising ones"):
        pitch(torch.zeros(1, 128), torch.ones(128), RATE)


@pytest.mark.parametrize("num_frames", [1, 2, 3, 6])
def test_deltas_are_the_change_over_two_frames(num_frames):
    features = torch.arange(num_frames, dtype=torch.float64)[None, :, None].square()
    wanted = [0 if t < 2 else t**2 - (t - 2) ** 2 for t in range(num_frames)]
    assert deltas(features)[0, :, 0].tolist() == wanted
