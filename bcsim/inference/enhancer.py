"""Enhancement of recordings of any length and rate with a trained model."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bcsim.dsp.resample import resample
from bcsim.dsp.signals import as_batch
from bcsim.errors import InputError, UsageError
from bcsim.models.base import Enhancer

CHUNK_S = 20.0


def enhance(
    model: Enhancer,
    bone: NDArray[np.float64],
    sample_rate: int,
    air: NDArray[np.float64] | None = None,
    *,
    chunk_s: float = CHUNK_S,
) -> NDArray[np.float64]:
    """Enhance one recording.

    The model runs at its own rate over chunks that overlap by its receptive field, so memory does
    not grow with the length, and the result is that of one piece up to rounding.

    Args:
        model: enhancer in evaluation mode, on the device that it is to run on.
        bone: signal of the sensor, (T,).
        sample_rate: sample rate of the signals in Hz; they are resampled to that of the model, and
            its output back.
        air: signal of the noisy air microphone, (T,), for a model that takes it; else None.
        chunk_s: length of a chunk without its overlap, in seconds.

    Returns:
        Enhanced speech, (T,), at `sample_rate`, in time with `bone`. At rates above the model's
        there is nothing above half of the model's rate.

    Raises:
        UsageError: if the model takes the air microphone and `air` is None, or the other way round.
        InputError: if a signal is not finite, or neither float32 nor float64, or the model's
            output is not finite.
        ValueError: if the signals are not (T,) each.
    """
    signals = {"bone": bone} if air is None else {"bone": bone, "air": air}
    if model.channels != tuple(signals):
        raise UsageError(
            f"the model takes {' and '.join(model.channels)}, and was given "
            f"{' and '.join(signals)}; give it the recordings of these channels"
        )
    if bone.ndim != 1 or any(signal.shape != bone.shape for signal in signals.values()):
        shapes = ", ".join(f"{name} {signal.shape}" for name, signal in signals.items())
        raise ValueError(f"signals have shapes {shapes}; one channel (T,) each is wanted")
    if bone.size:  # an empty recording comes back empty
        for name, signal in signals.items():
            as_batch(signal, name)
    resampled = [resample(signal, sample_rate, model.sample_rate) for signal in signals.values()]
    inputs = torch.from_numpy(np.stack(resampled)).float()
    enhanced = torch.cat([torch.empty(0), *_chunks(model, inputs, chunk_s)])
    restored = resample(enhanced.double().numpy(), model.sample_rate, sample_rate)
    # A round trip through another rate may end a sample early or late.
    return np.pad(restored[: len(bone)], (0, max(0, len(bone) - len(restored))))


def _chunks(model: Enhancer, inputs: Tensor, chunk_s: float) -> Iterator[Tensor]:
    """Enhance (C, T) chunk by chunk.

    A chunk begins on a frame of the model, where the model gives what it would give within the
    whole. Its margins are dropped, since they depend on where the chunk ends.
    """
    frame, device = model.frame_samples, next(model.parameters()).device
    core = max(1, round(chunk_s * model.sample_rate / frame)) * frame
    margin = -(-model.history_samples // frame) * frame
    num_samples = inputs.shape[-1]
    for start in range(0, num_samples, core):
        stop = min(start + core, num_samples)
        first = max(0, start - margin)
        chunk = inputs[:, first : stop + model.latency_samples + frame]
        with torch.inference_mode():
            enhanced = model(chunk[None].to(device))[0, 0].float().cpu()
        if not bool(enhanced.isfinite().all()):
            raise InputError("the model's output is not finite; take the weights of another run")
        yield enhanced[start - first : stop - first]
