import pytest
import torch
from scipy import signal as scipy_signal

from bcsim.losses.complex_stft import ComplexSTFT
from bcsim.rng import stream


def speech(*names: str, num_samples: int = 2048) -> torch.Tensor:
    return torch.from_numpy(0.1 * stream(1, "ri", *names).standard_normal((2, 1, num_samples)))


def cost(estimate: torch.Tensor, target: torch.Tensor, **settings) -> float:
    return ComplexSTFT(**settings).double().terms(estimate, target)["complex_stft"].item()


def scipy_spectrum(signal: torch.Tensor, fft_size: int, hop: int, window: int) -> torch.Tensor:
    """The centred STFT by way of scipy, frames with a reflection of half a frame at the ends."""
    hann = scipy_signal.get_window("hann", window)
    taper = torch.zeros(fft_size, dtype=torch.float64)
    start = (fft_size - window) // 2
    taper[start : start + window] = torch.from_numpy(hann)
    frames = scipy_signal.ShortTimeFFT(
        taper.numpy(), hop, fs=1, mfft=fft_size, phase_shift=None
    ).stft(
        torch.nn.functional.pad(signal, (fft_size // 2,) * 2, mode="reflect").numpy()[:, 0],
        p0=0,
        k_offset=fft_size // 2,
        p1=signal.shape[-1] // hop + 1,
    )
    return torch.from_numpy(frames)


@pytest.mark.parametrize("compression", [1.0, 0.3])
@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_the_definition_on_scipys_spectra_gives_the_same(compression, weight):
    sizes = {"fft_size": 256, "hop_size": 64, "win_length": 200}
    estimate, target = speech("a"), speech("b")
    ours, wanted = (scipy_spectrum(signal, 256, 64, 200) for signal in (estimate, target))
    sizes_of_ours, sizes_of_wanted = ((s.abs().square() + 1e-8).sqrt() for s in (ours, wanted))
    power = compression - 1
    expected = (ours * sizes_of_ours**power - wanted * sizes_of_wanted**power).abs().square().mean()
    difference = sizes_of_ours**compression - sizes_of_wanted**compression
    expected += weight * difference.square().mean()
    found = cost(estimate, target, **sizes, compression=compression, magnitude_weight=weight)
    assert found == pytest.approx(float(expected), rel=1e-6)  # ours has a window of float32


def test_compression_is_a_power_of_the_gain():
    """Of g s against s the spectra compressed by c differ by g^c - 1."""
    unit = cost(torch.zeros_like(speech("a")), speech("a"), compression=0.5)
    found = cost(16 * speech("a"), speech("a"), compression=0.5)
    assert found == pytest.approx(unit * (16**0.5 - 1) ** 2, rel=1e-3)


def test_magnitudes_forgive_a_wrong_sign_and_real_and_imaginary_parts_do_not():
    plain, both = (
        cost(-speech("a"), speech("a"), magnitude_weight=weight) for weight in (0.0, 5.0)
    )
    assert plain > 0
    assert both == pytest.approx(plain)


@pytest.mark.parametrize(
    "settings",
    [{"hop_size": 0}, {"win_length": 1024}, {"compression": 0.0}, {"magnitude_weight": -1.0}],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match="it wants"):
        ComplexSTFT(**settings)


def test_a_crop_too_short_for_a_frame_is_refused():
    with pytest.raises(ValueError, match="use longer crops"):
        cost(speech("a", num_samples=256), speech("b", num_samples=256))


def test_silence_has_finite_slopes_when_compressed():
    estimate = torch.zeros(1, 1, 2048, requires_grad=True)
    loss = ComplexSTFT(compression=0.3, magnitude_weight=1.0)
    loss.terms(estimate, speech("a")[:1].float())["complex_stft"].backward()
    assert estimate.grad is not None
    assert estimate.grad.isfinite().all()
    assert estimate.grad.abs().max() > 0
