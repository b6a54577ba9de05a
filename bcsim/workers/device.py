"""The device that tensors are computed on."""

import torch

from bcsim.errors import UsageError


def choose_device(device: str) -> str:
    """Return "cuda" or "cpu" for "auto", "cuda" or "cpu".

    Raises:
        UsageError: if CUDA is asked for and not there.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device cuda: torch sees no CUDA device here; use cpu")
    return device
