"""Noise by seed: the waveform is a function of the seed alone, on every machine."""

import torch
from torch import Tensor

from bcsim.rng import stream


def white_noise(seeds: Tensor, num_samples: list[int], like: Tensor) -> list[Tensor]:
    """Return one white Gaussian waveform of unit variance per seed.

    Args:
        seeds: (B,) of integers.
        num_samples: B lengths. A longer waveform of the same seed starts with the shorter one.
        like: gives the device; samples are drawn in float64.

    Returns:
        B tensors (num_samples,), float64.
    """
    return [
        torch.from_numpy(stream(seed, "white noise").standard_normal(length)).to(like.device)
        for seed, length in zip(seeds.tolist(), num_samples, strict=True)
    ]


def stack_ragged(rows: list[Tensor], num_samples: int) -> Tensor:
    """Put waveforms of different lengths into one (B, num_samples), zeros behind each."""
    stacked = rows[0].new_zeros(len(rows), num_samples)
    for row, waveform in zip(stacked, rows, strict=True):
        row[: len(waveform)] = waveform
    return stacked
