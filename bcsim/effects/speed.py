"""Faster or slower speech, both sides of a pair alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from bcsim.dsp.fir import fast_length
from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Effect, Limits, Scene
from bcsim.effects.distributions import Parameter, Uniform

GUARD = 256  # samples of silence between a clip's end and, round the circle, its start


@EFFECTS.register("speed")
@dataclass(frozen=True)
class Speed(Effect):
    r"""Play every channel faster or slower, pitch and all, as a tape would.

    .. math:: y(t) = x(vt)

    A clip of T samples comes out with T / v. The delay between the two sides is divided by v, too.

    Args:
        factor: speed v; above 1 is faster, shorter and higher.
    """

    keeps_length: ClassVar[bool] = False
    needs_whole_clip: ClassVar[bool] = True
    limits: ClassVar[Limits] = {"factor": (0.1, 10.0)}

    factor: Parameter = Uniform(0.9, 1.1)

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        factors = drawn["factor"].tolist()
        lengths = scene.lengths.tolist()
        after = scene.lengths.new_tensor(
            [sped_length(n, factor) for n, factor in zip(lengths, factors, strict=True)]
        )
        return scene.each(lambda signal: _each_clip(signal, lengths, factors), after)


def change_speed(clip: Tensor, factor: float) -> Tensor:
    r"""Resample a clip so that it plays faster, :math:`y(t) = x(vt)`.

    In the frequency domain: the spectrum of T samples, cut or continued with zeros, is that of
    T / v. What would exceed half the sample rate is cut off. Transforms have whole lengths; of a
    few, those are taken whose ratio is nearest to v.

    Args:
        clip: (T,).
        factor: speed v, kept to within a quarter of a sample over the clip, mostly much less.

    Returns:
        (`sped_length`,).
    """
    if factor == 1:
        return clip
    after = sped_length(len(clip), factor)
    size, size_after = _sizes(after + GUARD, factor)
    spectrum = torch.fft.rfft(clip, size)
    # Without the bin at half the lower rate, which is two bins in one.
    kept = spectrum[: (min(size, size_after) + 1) // 2]
    return torch.fft.irfft(kept, size_after)[:after] * (size_after / size)


def sped_length(num_samples: int, factor: float) -> int:
    """Return how many samples a clip has at another speed, at least one."""
    return max(1, round(num_samples / factor))


def _sizes(at_least: int, factor: float) -> tuple[int, int]:
    """Return the lengths of transforms before and after, `at_least` so many samples after."""
    candidates = [fast_length(at_least)]
    for _ in range(7):
        candidates.append(fast_length(candidates[-1] + 1))
    after = min(candidates, key=lambda size: abs(size * factor - round(size * factor)))
    return round(after * factor), after


def _each_clip(signal: Tensor, lengths: Sequence[int], factors: Sequence[float]) -> Tensor:
    clips = zip(signal, lengths, factors, strict=True)
    return pad_sequence([change_speed(row[:n], v) for row, n, v in clips], batch_first=True)
