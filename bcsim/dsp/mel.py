"""Mel scales and banks of mel filters."""

import math
import warnings

import numpy as np
import torch
from torch import Tensor

MIN_WIDTH_BINS = 1.5


def hz_to_mel(hz: Tensor) -> Tensor:
    """Return frequencies on HTK's mel scale, 2595 log10(1 + f / 700)."""
    return 2595 * torch.log10(1 + hz / 700)


def mel_to_hz(mels: Tensor) -> Tensor:
    """Return the frequencies in Hz of values on HTK's mel scale."""
    return 700 * (10 ** (mels / 2595) - 1)


def mel_bank(
    sample_rate: int,
    num_fft: int,
    num_bands: int,
    *,
    f_min_hz: float = 0.0,
    f_max_hz: float | None = None,
    htk: bool = False,
    dtype: type[np.floating] = np.float32,
) -> Tensor:
    """Return triangular filters of unit area in Hz, from the bins of an FFT to mel bands.

    Args:
        sample_rate: in Hz.
        num_fft: FFT size, F = num_fft // 2 + 1.
        num_bands: number of bands, M.
        f_min_hz: lower end of the lowest band.
        f_max_hz: upper end of the highest band; half the sample rate where None.
        htk: whether centres are equally spaced on HTK's mel scale; else on Slaney's.
        dtype: NumPy type of the filters.

    Returns:
        (M, F).

    Raises:
        ValueError: if a band is so narrow that no bin of the FFT falls into it.
    """
    import librosa  # takes a second: only where mel bands are wanted

    f_max_hz = sample_rate / 2 if f_max_hz is None else f_max_hz
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of empty filters, for which an error is raised below
        filters = librosa.filters.mel(
            sr=sample_rate, n_fft=num_fft, n_mels=num_bands, fmin=f_min_hz, fmax=f_max_hz,
            htk=htk, dtype=dtype,
        )  # fmt: skip
    bank = torch.from_numpy(filters)
    if (bank.amax(dim=1) == 0).any():
        raise ValueError(
            f"{num_bands} mel bands from {f_min_hz:g} to {f_max_hz:g} Hz are narrower than the "
            f"bins of an FFT of {num_fft} at {sample_rate} Hz; use fewer num_mels or a larger "
            "fft_size"
        )
    return bank


def mel_centres(sample_rate: int, num_bands: int) -> Tensor:
    """Return the centres in Hz of bands that are equally wide on HTK's scale, (M,), float64."""
    top = hz_to_mel(torch.tensor(sample_rate / 2, dtype=torch.float64))
    return mel_to_hz(torch.arange(1, num_bands + 1, dtype=torch.float64) * top / (num_bands + 1))


def mel_means(sample_rate: int, num_fft: int, num_bands: int) -> Tensor:
    """Return filters that take the mean power in bands, triangular on HTK's mel scale.

    Unlike `mel_bank`, the triangles are linear in mel, and no band is narrower than 1.5 bins, so
    that any number of bands has a value at any FFT size.

    Returns:
        (M, F), float64, every row of sum 1; M = `num_bands`, F = `num_fft` // 2 + 1.
    """
    step = hz_to_mel(torch.tensor(sample_rate / 2, dtype=torch.float64)) / (num_bands + 1)
    centres = torch.arange(1, num_bands + 1, dtype=torch.float64)[:, None] * step
    bins_hz = torch.arange(num_fft // 2 + 1, dtype=torch.float64) * (sample_rate / num_fft)
    hz_per_mel = 10 ** (centres / 2595) * (math.log(10) / 2595) * 700
    # The step in single precision: sensors in use were fitted with such bands.
    width = torch.maximum(step.float(), MIN_WIDTH_BINS * sample_rate / num_fft / hz_per_mel)
    triangles = (1 - (hz_to_mel(bins_hz) - centres).abs() / width).clamp(min=0)
    return triangles / triangles.sum(dim=1, keepdim=True)
