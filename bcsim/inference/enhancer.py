"""Enhancement of recordings of any length and rate with a trained model."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from bcsim.dsp.resample import BlockResampler
from bcsim.dsp.signals import Signal, as_batch, check_rate
from bcsim.errors import InputError, UsageError
from bcsim.models.base import Enhancer

CHUNK_S = 5.0  # longer ones save little time, and take memory for every layer
# For outputs that depend on all that came before, or on all: what counts is within seconds.
UNBOUNDED_CHUNK_S, UNBOUNDED_CONTEXT_S = 60.0, 20.0
OVERLAPPING_FRAMES = 8  # that a window may be long, in hops


def enhance(
    model: Enhancer,
    bone: Signal,
    sample_rate: int,
    air: Signal | None = None,
    *,
    chunk_s: float | None = None,
) -> NDArray[np.float64]:
    """Enhance one recording; see `BlockEnhancer`, which does it block by block.

    Args:
        model: enhancer in evaluation mode, on the device that it is to run on.
        bone: signal of the sensor, (T,), NumPy array or tensor, float32 or float64.
        sample_rate: sample rate of the signals in Hz; they are resampled to that of the model, and
            its output back.
        air: signal of the noisy air microphone, (T,), for a model that takes it; else None.
        chunk_s: length of a chunk without its overlap, in seconds; None for that of the model.

    Returns:
        Enhanced speech, (T,), at `sample_rate`, in time with `bone`. At rates above the model's
        there is nothing above half of the model's rate.

    Raises:
        UsageError: if the model takes the air microphone and `air` is None, or the other way round.
        InputError: if a signal is not (T,), empty, not finite, or neither float32 nor float64, or
            the model's output is not finite.
    """
    check_rate(sample_rate)
    signals = {"bone": bone} if air is None else {"bone": bone, "air": air}
    if model.channels != tuple(signals):
        raise UsageError(
            f"the model takes {' and '.join(model.channels)}, and was given "
            f"{' and '.join(signals)}; give it the recordings of these channels"
        )
    batches = [as_batch(signal, name) for name, signal in signals.items()]
    if any(s.ndim != 1 or s.shape != bone.shape for s in signals.values()):
        shapes = ", ".join(f"{name} {tuple(signal.shape)}" for name, signal in signals.items())
        raise InputError(f"signals have shapes {shapes}; give one channel (T,) each, equally long")
    whole = torch.cat([batch.detach().cpu().double() for batch in batches]).numpy()
    loudness = measure_loudness(model, sample_rate, [whole])
    blocks = BlockEnhancer(model, sample_rate, chunk_s, loudness)
    first = blocks(whole)
    return np.concatenate([first, blocks.finish()])


class BlockEnhancer:
    """Enhances a recording that arrives in blocks, to the same result whatever their lengths.

    The model runs at its own rate over chunks that overlap by its receptive field, so memory does
    not grow with the length, and the result is that of one piece up to rounding. A chunk begins on
    a frame of the model, where the model gives what it would give within the whole. Its margins are
    dropped, since they depend on where the chunk ends.

    A model whose outputs depend on all that came before (`history_samples` None) or on the whole
    recording (`latency_samples` None) runs over chunks of a minute with 20 s on that side: a
    shorter recording is enhanced as one piece, of a longer one each minute nearly so.

    Args:
        model: enhancer in evaluation mode, on the device that it is to run on.
        sample_rate: sample rate of the recording in Hz.
        chunk_s: length of a chunk without its overlap, in seconds; None for that of the model.
        loudness: what the model takes from the whole recording (`measure_loudness`); None where it
            takes nothing, or from each chunk what that holds.
    """

    def __init__(
        self,
        model: Enhancer,
        sample_rate: int,
        chunk_s: float | None = None,
        loudness: Tensor | None = None,
    ) -> None:
        if model.training:
            raise UsageError("the model is in training mode, where its output varies; call eval()")
        self.model, self.loudness = model, loudness
        self._chunks = _Chunks(model, sample_rate, chunk_s)
        self._from_model = BlockResampler(model.sample_rate, sample_rate)
        self._num_given = self._num_returned = 0  # samples at the recording's rate

    def __call__(self, signals: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the enhanced samples that the blocks so far decide.

        Args:
            signals: next samples of the channels that the model takes, (C, T).

        Raises:
            InputError: if the model's output is not finite.
        """
        self._num_given += signals.shape[1]
        return self._enhance(signals, last=False)

    def finish(self) -> NDArray[np.float64]:
        """Return all samples that are left, once the recording has ended."""
        rest = self._enhance(np.zeros((len(self.model.channels), 0)), last=True)
        # A round trip through another rate may end a sample early or late.
        return np.pad(rest, (0, self._num_given - self._num_returned))

    def _enhance(self, signals: NDArray[np.float64], last: bool) -> NDArray[np.float64]:
        enhanced = [np.zeros(0), *(self._run(chunk) for chunk in self._chunks(signals, last))]
        restored = self._from_model(np.concatenate(enhanced), last)
        restored = restored[: self._num_given - self._num_returned]
        self._num_returned += len(restored)
        return restored

    def _run(self, chunk: "_Chunk") -> NDArray[np.float64]:
        device = next(self.model.parameters()).device
        with torch.inference_mode(), self.model.at_loudness(self.loudness):
            enhanced = self.model(chunk.signal[None].to(device))[0, 0].float().cpu()
        enhanced = enhanced[chunk.begin : chunk.end]
        if not bool(enhanced.isfinite().all()):
            raise InputError("the model's output is not finite; take the weights of another run")
        return enhanced.double().numpy()


def measure_loudness(
    model: Enhancer, sample_rate: int, blocks: Iterable[NDArray[np.float64]]
) -> Tensor | None:
    """Return what the model takes from the whole of a recording, or None where it takes nothing.

    Args:
        model: enhancer in evaluation mode.
        sample_rate: sample rate of the recording in Hz.
        blocks: blocks of the recording, (C, T) each; none is read where nothing is taken.
    """
    device = next(model.parameters()).device
    frame = model.frame_samples
    chunks = _Chunks(model, sample_rate, CHUNK_S, (frame * OVERLAPPING_FRAMES, frame))
    silence = torch.zeros(1, len(model.channels), frame, device=device)
    with torch.inference_mode():
        if model.loudness_of_frames(silence) is None:
            return None
        end = (np.zeros((len(model.channels), 0)), True)
        found = []
        for signals, is_last in itertools.chain(zip(blocks, itertools.repeat(False)), [end]):
            for chunk in chunks(signals, is_last):
                missing = -chunk.signal.shape[1] % frame
                whole = pad(chunk.signal[None].to(device), (0, missing))
                power = model.loudness_of_frames(whole)
                assert power is not None
                # What lies behind the last frame of the recording belongs to no other chunk.
                last = None if chunk.is_last else chunk.end // frame
                found.append(power[..., chunk.begin // frame : last])
    return torch.cat(found, dim=-1)


@dataclass(frozen=True, eq=False)
class _Chunk:
    """A part of a recording at the model's rate.

    Args:
        signal: (C, T), the part and what lies around it.
        begin: place of the part in `signal`, on a frame of the model.
        end: place of the sample behind it.
        is_last: whether the recording ends with it.
    """

    signal: Tensor
    begin: int
    end: int
    is_last: bool


class _Chunks:
    """Takes a recording in blocks, and gives it in chunks that overlap.

    Args:
        model: enhancer.
        sample_rate: sample rate of the recording in Hz.
        chunk_s: length of a chunk without its overlap, in seconds; None for that of the model.
        margins: samples at the model's rate before and behind a chunk; None for what the output of
            the model depends on.
    """

    def __init__(
        self,
        model: Enhancer,
        sample_rate: int,
        chunk_s: float | None,
        margins: tuple[int, int] | None = None,
    ) -> None:
        frame = model.frame_samples
        history, look_ahead = model.history_samples, model.latency_samples
        context = round(UNBOUNDED_CONTEXT_S * model.sample_rate)
        if chunk_s is None:
            chunk_s = UNBOUNDED_CHUNK_S if None in (history, look_ahead) else CHUNK_S
        before = -(-(context if history is None else history) // frame) * frame
        after = (context if look_ahead is None else look_ahead) + frame
        self._before, self._after = margins or (before, after)
        self._core = max(1, round(chunk_s * model.sample_rate / frame)) * frame
        self._to_model = BlockResampler(sample_rate, model.sample_rate, len(model.channels))
        self._held = np.zeros((0, len(model.channels)), dtype=np.float32)  # input of the model
        self._first = 0  # place of the first of these samples in the recording
        self._start = 0  # place of the next chunk

    def __call__(self, signals: NDArray[np.float64], last: bool) -> Iterator[_Chunk]:
        """Yield the chunks that the blocks (C, T) so far decide; `last` for the last block."""
        # soxr takes one channel as (T,), more as (T, C).
        block = signals[0] if len(signals) == 1 else np.ascontiguousarray(signals.T)
        arrived = self._to_model(block, last).reshape(-1, len(signals)).astype(np.float32)
        self._held = np.concatenate([self._held, arrived])
        while (left := self._first + len(self._held) - self._start) > 0:
            if not last and left < self._core + self._after:
                break
            yield self._next(min(self._core, left), last and left <= self._core)

    def _next(self, num_samples: int, is_last: bool) -> _Chunk:
        """Return the next `num_samples`, and forget what no later chunk depends on."""
        begin, end = self._start - self._first, self._start - self._first + num_samples
        signal = torch.from_numpy(np.ascontiguousarray(self._held[: end + self._after].T))
        self._start += num_samples
        first = max(0, self._start - self._before)
        self._held, self._first = self._held[first - self._first :], first
        return _Chunk(signal, begin, end, is_last)
