"""Levels in dB."""

import math

import torch
from torch import Tensor


def db_to_amplitude(db: Tensor) -> Tensor:
    """Return 10^(db/20)."""
    return torch.exp(db * (math.log(10) / 20))
