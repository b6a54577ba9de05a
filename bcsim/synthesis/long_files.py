"""Files that are too long for the memory, rendered segment by segment.

Every effect draws once for the whole file. Each segment is rendered with some of the recording
before and after it, the effects know its place in the file, the speech level and the mean of the
whole file, and noise continues from one segment into the next, so that no seam is heard.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bcsim.audio.read import BLOCK, AudioFile
from bcsim.audio.validation.base import AudioInfo
from bcsim.datasets.rendered_pairs import speech_level
from bcsim.dsp.filter_bank import FilterBank
from bcsim.effects.base import Draw, Effect, Scene
from bcsim.effects.spectral import SpectralEffect
from bcsim.errors import InputError
from bcsim.simulator import Simulator

LONGEST_WHOLE = 1 << 21  # samples of a clip that is rendered in one piece: 131 s at 16 kHz
LONGEST_AT_ALL = 1 << 24  # the same where an effect has to see the whole clip: 17 min
SEGMENT_FRAMES = 2048  # of the filter bank, 16 s
CONTEXT_FRAMES = 160  # before and after, 1.3 s; half-lengths of filters come on top


def is_long(path: Path, info: AudioInfo, simulator: Simulator) -> bool:
    """Tell whether a simulator has to render a file segment by segment.

    Raises:
        InputError: if it has to and cannot, since an effect needs the whole clip.
    """
    num_samples = info.frames * simulator.sample_rate / info.sample_rate
    if num_samples <= LONGEST_WHOLE:
        return False
    body, _ = _split(simulator)
    hindering = [
        name
        for name, effect in zip(body.step_names, body.effects, strict=True)
        if effect.needs_whole_clip
    ]
    if hindering and num_samples > LONGEST_AT_ALL:
        longest_s = LONGEST_AT_ALL / simulator.sample_rate
        raise InputError(
            f"{path}: lasts {info.duration_s:.0f} s, and {hindering[0]!r} needs a clip whole, up "
            f"to {longest_s:.0f} s; cut the file into pieces, or leave that effect out"
        )
    return not hindering


def render_segments(
    simulator: Simulator,
    draws: Mapping[str, Draw],
    recording: AudioFile,
    factors: Mapping[str, float] | None = None,
) -> Iterator[Scene]:
    """Yield the segments of a long file in their order, each a scene of one clip.

    Args:
        simulator: simulator of which no effect, but perhaps the last, needs the whole clip.
        draws: values that the simulator's effects drew for the file.
        recording: open recording; it is read twice.
        factors: factors by signal, in place of a last effect that scales the whole clip
            (`needed_factors`): the file's peaks are known when all of it has been rendered.

    Raises:
        InputError: if the recording cannot be read.
    """
    body, _ = _split(simulator)
    rate = simulator.sample_rate
    level, offset = speech_level(recording, rate)
    for samples, start, before, length in _windows(recording, rate, _context(body)):
        air = torch.from_numpy(samples)[None]
        inside = slice(before, before + length)
        known = {"start": start, "inside": inside, "level": level, "offset": offset}
        scene = replace(Scene.from_air(air, rate), **known)
        rendered = body.apply(scene, [draws]).each(
            lambda signal, inside=inside: signal[:, inside], torch.tensor([length])
        )
        signals = rendered.signals
        scaled = {name: factor * signals[name] for name, factor in (factors or {}).items()}
        yield replace(rendered, **scaled)


def snr_of_segments(measured: Sequence[tuple[int, Mapping[str, Tensor]]]) -> dict[str, Tensor]:
    r"""Return what was measured of the segments of a long file as that of the whole, (1,) each.

    Against speech of one level, the powers of the noise in the segments add up:

    .. math:: -10 \log_{10} \frac{\sum_k T_k\, 10^{-\mathrm{SNR}_k/10}}{\sum_k T_k}

    Args:
        measured: number of samples :math:`T_k` of each segment, and the SNR in dB, (1,), of each
            step, as `Scene.measured` holds it.
    """
    total = sum(num_samples for num_samples, _ in measured)
    power: dict[str, Tensor] = {}
    for num_samples, quantities in measured:
        for name, snr_db in quantities.items():
            part = num_samples / total * 10 ** (-snr_db.double() / 10)
            power[name] = power.get(name, torch.zeros_like(part)) + part
    return {name: -10 * torch.log10(value) for name, value in power.items()}


def needed_factors(simulator: Simulator, peaks: Mapping[str, float]) -> dict[str, float]:
    """Return the factors of a file in place of a last effect that scales the whole clip.

    Args:
        simulator: simulator of the file.
        peaks: largest magnitude in the file before that effect, by signal.
    """
    _, last = _split(simulator)
    return (None if last is None else last.factors_at_peaks(peaks)) or {}


def _split(simulator: Simulator) -> tuple[Simulator, Effect | None]:
    """Return the simulator without a last effect that scales the whole clip, and that effect."""
    last = simulator.effects[-1] if simulator.effects else None
    if last is None or last.factors_at_peaks({"air": 1.0, "bone": 1.0}) is None:
        return simulator, None
    return replace(simulator, effects=simulator.effects[:-1]), last


def _context(simulator: Simulator) -> int:
    """Return how many samples before and after a segment have an influence on it."""
    hop = FilterBank(simulator.sample_rate).hop
    half_length = sum(
        effect.half_length(simulator.sample_rate)
        for effect in simulator.effects
        if isinstance(effect, SpectralEffect)
    )
    return (CONTEXT_FRAMES + math.ceil(half_length / hop)) * hop


def _windows(
    recording: AudioFile, sample_rate: int, context: int
) -> Iterator[tuple[NDArray[np.float64], int, int, int]]:
    """Yield each segment with its context.

    Yields:
        Samples (T,), the place in the file of the first of them, the number of samples before the
        segment, and the number of samples of the segment.
    """
    # Whole frames of the filter bank, so that frames fall alike in all segments.
    length = SEGMENT_FRAMES * FilterBank(sample_rate).hop
    held, first, start = np.zeros(0), 0, 0  # samples, their start, the start of the segment
    with recording.again(whole=False) as audio:
        for block in audio.resampled_blocks(sample_rate, BLOCK, None):
            held = np.concatenate([held, block])
            while first + len(held) >= start + length + context:
                yield held[: start + length + context - first], first, start - first, length
                start += length
                held, first = held[max(0, start - context) - first :], max(0, start - context)
    if (left := first + len(held) - start) > 0:
        yield held, first, start - first, left
