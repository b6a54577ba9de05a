"""Files that are too long for the memory, rendered in stretches.

What is drawn is drawn once for the whole file. Every stretch sees some of the recording before and
behind it, the effects know where in the file it lies and how loud speech is in all of it, and waves
of noise go on from one stretch into the next: no seam is left.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bcsim.audio.open import AudioInfo
from bcsim.audio.read import read_blocks
from bcsim.datasets.speech_level import speech_level
from bcsim.dsp.filter_bank import FilterBank
from bcsim.effects.base import Draw, Scene
from bcsim.effects.peak_limit import PeakLimit
from bcsim.effects.spectral import SpectralEffect
from bcsim.errors import InputError
from bcsim.simulator import Simulator

LONGEST_WHOLE = 1 << 21  # samples of a clip that is rendered in one piece: 131 s at 16 kHz
LONGEST_AT_ALL = 1 << 24  # the same where an effect has to see the whole clip: 17 min
STRETCH_FRAMES = 2048  # of the filter bank, 16 s
CONTEXT_FRAMES = 160  # before and behind, 1.3 s, and what the spectral effects reach on top


def is_long(path: Path, info: AudioInfo, simulator: Simulator) -> bool:
    """Tell whether a file has to be rendered in stretches.

    Args:
        path: of the file.
        info: what the file says about itself.
        simulator: that is to render it.

    Raises:
        InputError: if it has to and cannot be, since an effect needs the whole of a clip.
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


def render_stretches(
    simulator: Simulator, draws: Mapping[str, Draw], path: Path, factor: float = 1.0
) -> Iterator[Scene]:
    """Yield a long file's stretches, one behind the other, each a scene of one clip.

    Args:
        simulator: whose effects, but for a last `PeakLimit`, can do with stretches.
        draws: what it drew for the file.
        path: of the recording.
        factor: that every signal is multiplied by, in place of a last `PeakLimit`: how loud the
            whole file gets is known when all of it has been rendered (`needed_factor`).

    Raises:
        InputError: if it cannot be read.
    """
    body, _ = _split(simulator)
    rate = simulator.sample_rate
    level = speech_level(path, rate)
    for samples, start, before, kept in _windows(path, rate, _context(body)):
        air = torch.from_numpy(samples)[None]
        scene = replace(Scene.from_air(air, rate), start=start, level=level)
        inside = slice(before, before + kept)
        yield body.apply(scene, [draws]).each(
            lambda signal, inside=inside: factor * signal[:, inside], torch.tensor([kept])
        )


def needed_factor(simulator: Simulator, loudest: float) -> float:
    """Return what a file that reaches `loudest` has to be multiplied by, for a last `PeakLimit`."""
    _, limit = _split(simulator)
    return 1.0 if limit is None else limit.peak / max(limit.peak, loudest)


def _split(simulator: Simulator) -> tuple[Simulator, PeakLimit | None]:
    """Return the simulator without a last `PeakLimit`, which takes a pass of its own, and that."""
    last = simulator.effects[-1] if simulator.effects else None
    if not isinstance(last, PeakLimit):
        return simulator, None
    return replace(simulator, effects=simulator.effects[:-1]), last


def _context(simulator: Simulator) -> int:
    """Return how many samples before and behind a stretch make themselves felt in it."""
    hop = FilterBank(simulator.sample_rate).hop
    reach = sum(
        effect.half_length(simulator.sample_rate)
        for effect in simulator.effects
        if isinstance(effect, SpectralEffect)
    )
    return (CONTEXT_FRAMES + math.ceil(reach / hop)) * hop


def _windows(
    path: Path, sample_rate: int, context: int
) -> Iterator[tuple[NDArray[np.float64], int, int, int]]:
    """Yield stretches with their surroundings: samples, their start, samples before, and of it."""
    # Whole frames of the filter bank, so that frames fall alike in all stretches.
    length = STRETCH_FRAMES * FilterBank(sample_rate).hop
    held, first, start = np.zeros(0), 0, 0  # samples, where they begin, where the stretch does
    for block in read_blocks(path, sample_rate):
        held = np.concatenate([held, block])
        while first + len(held) >= start + length + context:
            yield held[: start + length + context - first], first, start - first, length
            start += length
            held, first = held[max(0, start - context) - first :], max(0, start - context)
    if (left := first + len(held) - start) > 0:
        yield held, first, start - first, left
