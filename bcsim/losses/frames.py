"""The frames that spectral losses cut signals into."""

import torch
from torch import Tensor

MAX_FFT_SIZE = 1 << 16  # samples: more than a second at any usual rate


def spectrum_parts(
    signal: Tensor, fft_size: int, hop_size: int, window: Tensor, center: bool = True
) -> Tensor:
    """Return real and imaginary parts of the spectra of (B, T), (B, F, frames, 2)."""
    spectrum = torch.stft(
        signal, fft_size, hop_size, len(window), window, center=center, return_complex=True
    )
    return torch.view_as_real(spectrum)


def both_spectra(
    estimate: Tensor, target: Tensor, fft_size: int, hop_size: int, window: Tensor
) -> tuple[Tensor, Tensor]:
    """Return `spectrum_parts` of an estimate and a target, (B, 1, T) each.

    Raises:
        ValueError: if they are too short to be reflected at their ends by half a frame.
    """
    check_length(estimate, fft_size // 2 + 1, fft_size)
    ours, wanted = (
        spectrum_parts(signal[:, 0], fft_size, hop_size, window) for signal in (estimate, target)
    )
    return ours, wanted


def magnitude_of(parts: Tensor, min_power: float = 1e-8) -> Tensor:
    """Return magnitudes (...) of real and imaginary parts (..., 2).

    `min_power` is added under the root, whose slope is then finite in silence.
    """
    return (parts.square().sum(-1) + min_power).sqrt()


def check_frames(fft_size: int, hop_size: int, win_length: int) -> None:
    """Raise a ValueError unless 0 < hop <= window <= fft size <= 65,536."""
    if not 0 < hop_size <= win_length <= fft_size <= MAX_FFT_SIZE:
        raise ValueError(
            f"fft size {fft_size}, hop {hop_size}, window {win_length}; "
            f"it wants 0 < hop <= window <= fft size <= {MAX_FFT_SIZE}"
        )


def check_length(signal: Tensor, min_samples: int, fft_size: int) -> None:
    """Raise a ValueError for a signal too short to be reflected at its ends by half a frame."""
    if signal.shape[-1] < min_samples:
        raise ValueError(
            f"{signal.shape[-1]} samples are too few for an STFT of {fft_size}; "
            "use longer crops or a smaller fft size"
        )
