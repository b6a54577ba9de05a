"""Signals that callers hand in as arrays: checked once, then tensors (B, T)."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bcsim.errors import InputError

Signal = Tensor | NDArray[np.floating]  # (T,) or (B, T), float32 or float64
PRECISIONS = {"float32", "float64"}
MIN_RATE, MAX_RATE = 1000, 384_000  # Hz


def as_batch(signal: Signal, name: str) -> Tensor:
    """Check a signal and return it as a batch.

    Args:
        signal: (T,) or (B, T), NumPy array or tensor, float32 or float64; full scale is 1.
        name: what the signal is called in messages, such as "air".

    Returns:
        (B, T), in the precision and on the device of `signal`; a tensor keeps its gradient.

    Raises:
        InputError: if the signal is no array, of another precision or shape, empty, or not finite.

    Example:
        >>> as_batch(np.zeros(3), "air").shape
        torch.Size([1, 3])
        >>> as_batch(np.zeros(3, dtype=np.int16), "air")
        Traceback (most recent call last):
            ...
        bcsim.errors.InputError: air is int16; scale it to -1...1 and give float32 or float64
    """
    if not isinstance(signal, Tensor | np.ndarray):
        kind = type(signal).__name__
        raise InputError(f"{name} is a {kind}; give a NumPy array or a tensor")
    if isinstance(signal, np.ndarray):
        _check_precision(signal.dtype.name, name)
        # a copy in native byte order
        signal = torch.from_numpy(np.array(signal, dtype=signal.dtype.name))
    if signal.ndim not in (1, 2) or signal.numel() == 0:
        _check_precision(str(signal.dtype), name)
        shape = tuple(signal.shape)
        raise InputError(f"{name} has shape {shape}; give (T,) or (B, T) with at least one sample")
    check_samples(signal, name)
    return signal if signal.ndim == 2 else signal[None]


def check_wave(signal: object, name: str) -> None:
    """Raise an InputError if something is no tensor (T,) of float32 or float64.

    Its samples may be any: a metric has a value for those that are not finite, or none at all.
    """
    if not isinstance(signal, Tensor):
        raise InputError(f"{name} is a {type(signal).__name__}; give a tensor")
    _check_precision(str(signal.dtype), name)
    if signal.ndim != 1:
        raise InputError(f"{name} has shape {tuple(signal.shape)}; give (T,)")


def check_samples(signal: Tensor, name: str) -> None:
    """Check a tensor of samples of any shape.

    Raises:
        InputError: if it is neither float32 nor float64, is empty, or not finite.
    """
    _check_precision(str(signal.dtype), name)
    if signal.numel() == 0:
        raise InputError(f"{name} has shape {tuple(signal.shape)}; give at least one sample")
    if not bool(signal.isfinite().all()):
        raise InputError(f"{name} has samples that are NaN or infinite; repair or leave it out")


def check_fits(signal: Tensor, network: nn.Module, name: str) -> None:
    """Raise an InputError if a signal has another precision than the weights of a network."""
    weights = next(network.parameters(), signal)
    if signal.dtype != weights.dtype:
        raise InputError(f"{name} is {signal.dtype}, the weights {weights.dtype}; convert it")


def check_rate(sample_rate: object) -> None:
    """Raise an InputError if a sample rate is not a whole number of Hz that audio may have."""
    if (
        isinstance(sample_rate, bool)
        or not isinstance(sample_rate, int | np.integer)
        or not MIN_RATE <= sample_rate <= MAX_RATE
    ):
        raise InputError(
            f"sample_rate is {sample_rate!r}; give a whole number of Hz, {MIN_RATE} to {MAX_RATE}"
        )


def _check_precision(dtype: str, name: str) -> None:
    precision = dtype.removeprefix("torch.")
    if precision not in PRECISIONS:
        whole = precision.startswith(("int", "uint", "bool"))
        remedy = "scale it to -1...1 and give" if whole else "convert it to"
        raise InputError(f"{name} is {precision}; {remedy} float32 or float64")
