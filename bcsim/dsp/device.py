"""The device that tensors are computed on."""

import torch

from bcsim.errors import UsageError


def choose_device(device: str) -> str:
    """Return "cuda" or "cpu" for "auto", "cuda" or "cpu".

    Raises:
        UsageError: if CUDA is asked for and not there.
    """
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise UsageError("device cuda: torch sees no CUDA device here; use cpu")
    return "cuda" if available and device == "auto" else device.replace("auto", "cpu")
