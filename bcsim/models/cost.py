"""What a network costs: multiply-adds for a second of input, and time on one core."""

import functools
import math
import time

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bcsim.dsp.randomness import one_thread
from bcsim.models.base import Enhancer

TIMED_S = 2.0  # of input, for a real-time factor
NUM_TIMED = 3  # runs, of which the quickest counts
_PER_MULTIPLY_ADD = 2  # operations, as torch counts them


def multiply_adds_per_s(model: Enhancer) -> int:
    """Count the multiply-adds of a network for one second of input.

    Those of convolutions, matrix products and recurrent layers are counted, whatever the code
    calls them through. Transforms, normalisation and elementwise functions are not.

    Args:
        model: enhancer of any weights, on any device.

    Returns:
        Multiply-adds for the input of one second, padded to the next length that the network takes.

    Example:
        >>> from bcsim.models.envelope_mapper import EnvelopeMapper
        >>> multiply_adds_per_s(EnvelopeMapper(causal=True)) // 1_000_000
        17
    """
    try:
        with torch.device("meta"):  # shapes alone: nothing is computed
            shapes = type(model)(**model.config).to("meta").eval()
        return _counted(shapes)
    except (RuntimeError, TypeError):  # a network that looks at values, or is no torch in parts
        return _counted(type(model)(**model.config).eval())


def real_time_factor(model: Enhancer) -> float:
    """Measure the time that a network takes for its input, on one core of this machine.

    Args:
        model: enhancer in evaluation mode, on the CPU.

    Returns:
        Time of the quickest of three runs over the length of the input, 2 s; below 1 is faster
        than real time.
    """
    signal = _silence(model, TIMED_S)
    best_s = math.inf
    with one_thread(), torch.inference_mode():
        model.enhance_valid(signal)  # what the first run sets up is not timed
        for _ in range(NUM_TIMED):
            started = time.perf_counter()
            model.enhance_valid(signal)
            best_s = min(best_s, time.perf_counter() - started)
    return best_s * model.sample_rate / signal.shape[-1]


def look_ahead_ms(model: Enhancer) -> float | None:
    """Return the look-ahead of a network in milliseconds; None for the whole recording."""
    samples = model.latency_samples
    return None if samples is None else 1000 * samples / model.sample_rate


def _counted(model: Enhancer) -> int:
    """Count the multiply-adds of a network that is used for nothing else."""
    recurrent: list[int] = []
    for layer in model.modules():
        # A class of its own may return something else; it is counted step by step.
        if isinstance(layer, nn.RNNBase) and type(layer) in (nn.LSTM, nn.GRU, nn.RNN):
            layer.forward = functools.partial(_silent_layer, layer, recurrent)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.enhance_valid(_silence(model, 1.0))
    return counter.get_total_flops() // _PER_MULTIPLY_ADD + sum(recurrent)


def _silent_layer(
    layer: nn.RNNBase, counts: list[int], signal: Tensor, state: object = None
) -> tuple[Tensor, Tensor | tuple[Tensor, Tensor]]:
    """Return the output of a recurrent layer in silence, and count it without its thousand steps.

    Args:
        layer: recurrent layer.
        counts: list that gets the multiply-adds: every weight counts once a frame.
        signal: (..., features), as the layer takes it.
        state: states before the first frame, which change no count.
    """
    weights = [w.numel() for name, w in layer.named_parameters() if name.startswith("weight")]
    counts.append(sum(weights) * signal.shape[:-1].numel())
    directions = 2 if layer.bidirectional else 1
    width = layer.proj_size or layer.hidden_size
    batch = [signal.shape[0 if layer.batch_first else 1]] if signal.ndim == 3 else []
    hidden, cell = (
        signal.new_zeros(directions * layer.num_layers, *batch, size)
        for size in (width, layer.hidden_size)
    )
    output = signal.new_zeros(*signal.shape[:-1], directions * width)
    return output, (hidden, cell) if isinstance(layer, nn.LSTM) else hidden


def _silence(model: Enhancer, seconds: float) -> Tensor:
    num_samples = model.valid_length(round(seconds * model.sample_rate))
    weights = next(model.parameters(), torch.zeros(0))
    return weights.new_zeros(1, len(model.channels), num_samples)
