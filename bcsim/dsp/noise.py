"""Noise by seed: the waveform is a function of the seed alone, on every machine and device.

A counter-based generator hashes the number of a sample with a key, so any segment of any clip's
noise can be made by itself, in any batch and without asking the host. torch and numpy have none
that can be keyed by row.
"""

import math

import torch
from torch import Tensor

BLOCK = 1 << 15  # pairs of samples at a time on a CPU, so that they stay in its cache


def white_noise(
    seeds: Tensor, num_samples: int, start: int = 0, dtype: torch.dtype = torch.float64
) -> Tensor:
    r"""Return a segment of each seed's endless white Gaussian noise of unit variance.

    Two hashes make a pair of samples (Box and Muller 1958):

    .. math:: n_{2i} + j\,n_{2i+1} = \sqrt{-2 \ln u_{2i}}\; e^{2\pi j\,u_{2i+1}}

    Args:
        seeds: (B,) of int64.
        num_samples: T.
        start: number of the first sample; may be negative.
        dtype: data type of the noise. float32 is within 2e-4 of float64.

    Returns:
        (B, T) on the device of `seeds`; no sample exceeds 6.7.

    Example:
        >>> whole = white_noise(torch.tensor([1, 2]), 100)
        >>> bool((white_noise(torch.tensor([2]), 50, start=50) == whole[1:, 50:]).all())
        True
    """
    first = start // 2
    num_pairs = (start + num_samples + 1) // 2 - first
    low, high = _keys(seeds[:, None])
    on_cpu = seeds.device.type == "cpu"
    step = max(1, BLOCK // max(1, len(seeds)) if on_cpu else num_pairs)
    out = torch.empty(len(seeds), num_pairs, 2, dtype=dtype, device=seeds.device)
    for begin in range(0, num_pairs, step):
        end = min(begin + step, num_pairs)
        # Counters wrap at 2^32: after 74 hours at 16 kHz.
        numbers = 2 * torch.arange(first + begin, first + end, device=seeds.device)
        numbers = numbers.to(torch.int32)
        # Never 0, and with a fine tail in float32 too: small integers are exact in it.
        uniform = _hash(numbers, low, high).bitwise_and_(0x7FFFFFFF).to(dtype).add_(0.5)
        radius = uniform.mul_(2.0**-31).log_().mul_(-2).sqrt_()
        angle = _hash(numbers + 1, low, high).to(dtype).mul_(2 * math.pi / 2**32)
        torch.mul(radius, angle.cos(), out=out[:, begin:end, 0])
        torch.mul(radius, angle.sin_(), out=out[:, begin:end, 1])
    skipped = start - 2 * first
    return out.view(len(seeds), 2 * num_pairs)[:, skipped : skipped + num_samples]


def _hash(numbers: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Hash int32 numbers under two int32 keys: Wellons' `triple32`, keyed before and amid."""
    x = numbers ^ low
    x = _fold(x, 17).mul_(_signed(0xED5AD4BB, 32)).bitwise_xor_(high)
    x = _fold(x, 11).mul_(_signed(0xAC4C1B51, 32))
    x = _fold(x, 15).mul_(_signed(0x31848BAB, 32))
    return _fold(x, 14)


def _keys(seeds: Tensor) -> tuple[Tensor, Tensor]:
    """Return two int32 keys a seed: the halves of SplitMix64 (Steele et al. 2014)."""
    z = seeds + _signed(0x9E3779B97F4A7C15, 64)
    z = _fold(z, 30, 64) * _signed(0xBF58476D1CE4E5B9, 64)
    z = _fold(z, 27, 64) * _signed(0x94D049BB133111EB, 64)
    z = _fold(z, 31, 64)
    return z.to(torch.int32), (z >> 32).to(torch.int32)


def _fold(x: Tensor, shift: int, bits: int = 32) -> Tensor:
    """Return x ^ (x >> shift), the shift without sign."""
    return (x >> shift).bitwise_and_((1 << (bits - shift)) - 1).bitwise_xor_(x)


def _signed(constant: int, bits: int) -> int:
    return constant - (1 << bits) if constant >> (bits - 1) else constant
