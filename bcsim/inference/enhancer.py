"""Enhancement of recordings of any length and rate with a trained model."""

import logging
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bcsim.audio.resampling import resample
from bcsim.errors import UsageError
from bcsim.models.base import Enhancer

CHUNK_S = 20.0

log = logging.getLogger(__name__)


def enhance(
    model: Enhancer,
    samples: NDArray[np.float64],
    sample_rate: int,
    chunk_s: float = CHUNK_S,
) -> NDArray[np.float64]:
    """Enhance one recording.

    The model runs at its own rate over chunks that overlap by all that it looks back and ahead,
    so memory does not grow with the length, and the result is that of one piece up to rounding.

    Args:
        model: in evaluation mode, on the device that it is to run on; it takes `bone` alone.
        samples: (T,), the bone signal.
        sample_rate: of `samples`, in Hz; another than the model's is converted to it and back.
        chunk_s: length of a chunk without its overlap.

    Returns:
        (T,), at `sample_rate`, in time with `samples`. At rates above the model's, there is
        nothing above half of the model's.

    Raises:
        UsageError: if the model wants other channels than `bone`.
        ValueError: if `samples` is not (T,).
    """
    if model.channels != ("bone",):
        raise UsageError(f"the model wants {', '.join(model.channels)}; there is bone alone")
    if samples.ndim != 1:
        raise ValueError(f"samples have shape {samples.shape}; one channel (T,) is wanted")
    bone = torch.from_numpy(resample(samples, sample_rate, model.sample_rate)).float()
    enhanced = torch.cat([torch.empty(0), *_chunks(model, bone, chunk_s)])
    restored = resample(enhanced.double().numpy(), model.sample_rate, sample_rate)
    # A round trip through another rate may end a sample early or late.
    return np.pad(restored[: len(samples)], (0, max(0, len(samples) - len(restored))))


def _chunks(model: Enhancer, bone: Tensor, chunk_s: float) -> Iterator[Tensor]:
    """Enhance (T,) piece by piece.

    A piece begins on a frame of the model, for that is where the model gives what it would give
    within the whole. Its margins are thrown away: they saw the cut.
    """
    frame, device = model.frame_samples, next(model.parameters()).device
    core = max(1, round(chunk_s * model.sample_rate / frame)) * frame
    margin = -(-model.history_samples // frame) * frame
    for start in range(0, len(bone), core):
        stop = min(start + core, len(bone))
        first = max(0, start - margin)
        piece = bone[first : stop + model.latency_samples + frame]
        with torch.inference_mode():
            enhanced = model(piece[None, None].to(device))[0, 0].float().cpu()
        yield enhanced[start - first : stop - first]
