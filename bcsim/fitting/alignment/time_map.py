"""Where in the sensor's recording each moment of the air recording is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import soxr
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from bcsim.dsp.interpolation import HALF_WIDTH, interpolate
from bcsim.dsp.lazy_signal import LazySignal, Samples

ROUGH_MARGIN = 512  # samples of room for a filter
BLOCK = 1 << 18  # samples that are interpolated at a time
FADE_S = 0.005  # of both channels, on either side of a join


@dataclass(frozen=True, eq=False)
class Part:
    """A part of a pair in which bone's delay changes slowly and does not jump.

    Args:
        start: first sample of air in the part.
        stop: sample of air after the last one.
        places: (K,), samples of air, rising, at least two.
        bone_places: (K,), sample of bone that belongs to each of `places`; linear in between.
    """

    start: int
    stop: int
    places: NDArray[np.floating]
    bone_places: NDArray[np.floating]

    def bone_at(self, place: ArrayLike) -> NDArray[np.floating]:
        """Return the sample of bone at samples of air, continued linearly past the ends."""
        x, y = self.places, self.bone_places
        place = np.asarray(place, dtype=np.float64)
        first, last = ((y[k + 1] - y[k]) / (x[k + 1] - x[k]) for k in (0, len(x) - 2))
        inside = np.interp(place, x, y)
        before, after = np.minimum(place - x[0], 0.0), np.maximum(place - x[-1], 0.0)
        return inside + first * before + last * after

    def delayed(self, samples: float) -> "Part":
        """Return the part with bone later by so many samples of air's clock."""
        return replace(self, bone_places=self.bone_at(self.places + samples))

    def within(self, num_air: int, num_bone: int) -> "Part":
        """Return the part of it that both recordings hold; its length may be 0."""
        start, stop = max(self.start, 0), min(self.stop, num_air)
        slope = np.diff(self.bone_places) / np.diff(self.places)
        bone_first, bone_last = self.bone_at(np.array([start, max(stop - 1, start)]))
        if bone_first < 0:
            start += int(np.ceil(-bone_first / slope.min()))
        if bone_last > num_bone - 1:
            stop -= int(np.ceil((bone_last - (num_bone - 1)) / slope.min()))
        return replace(self, start=start, stop=max(start, stop))


def bone_on_air_clock(bone: Samples, part: Part) -> LazySignal:
    """Return the sensor's signal at each sample of air in a part, (stop - start,).

    Args:
        bone: (T,), the sensor's recording.
        part: part that both recordings hold.
    """
    first, last = part.bone_at(np.array([part.start, part.stop - 1]))
    is_whole = last - first == part.stop - 1 - part.start and first == round(first)
    is_whole = bool(is_whole and (np.diff(part.bone_places) == np.diff(part.places)).all())

    def read(start: int, stop: int) -> Tensor:
        if is_whole:
            return bone[round(first) + start : round(first) + stop].double()
        places = part.bone_at(np.arange(part.start + start, part.start + stop, dtype=np.float64))
        blocks = [torch.zeros(0, dtype=torch.float64)]
        for own in torch.from_numpy(places).split(BLOCK):
            begin = max(0, int(own[0]) - HALF_WIDTH)
            end = min(len(bone), int(own[-1]) + HALF_WIDTH + 2)
            blocks.append(interpolate(bone[begin:end].double()[None], own[None] - begin)[0])
        return torch.cat(blocks)

    return LazySignal(part.stop - part.start, read)


def roughly_on_air_clock(bone: Samples, part: Part) -> LazySignal:
    """Return what `bone_on_air_clock` does, fast, and exact to some per cent below 4 kHz only."""

    def read(start: int, stop: int) -> Tensor:
        places = part.bone_at(np.arange(part.start + start, part.start + stop, dtype=np.float64))
        if len(places) == 0:
            return torch.zeros(0, dtype=torch.float64)
        begin, end = max(0, int(places[0]) - ROUGH_MARGIN), int(places[-1]) + ROUGH_MARGIN
        twice = soxr.resample(bone[begin:end].float().numpy(), 1.0, 2.0, quality="HQ")
        return torch.from_numpy(np.interp(2 * (places - begin), np.arange(len(twice)), twice))

    return LazySignal(part.stop - part.start, read)


def joined(parts: Sequence[Samples], sample_rate: int) -> LazySignal:
    """Join the parts of one channel, each faded at a join, lest a step sound there."""
    last = len(parts) - 1
    return LazySignal.joined(
        [
            _faded(part, round(FADE_S * sample_rate), number > 0, number < last)
            for number, part in enumerate(parts)
        ]
    )


def _faded(part: Samples, size: int, at_start: bool, at_end: bool) -> LazySignal:
    """Return a part with its first or last `size` samples faded."""
    rise = torch.sin(torch.linspace(0, torch.pi / 2, size, dtype=torch.float64)).square()
    count = min(size, len(part))

    def read(start: int, stop: int) -> Tensor:
        samples = part[start:stop].clone()
        if at_start and start < count:
            few = min(stop, count) - start
            samples[:few] *= rise[start : start + few]
        first = max(start, len(part) - count)  # of the fade at the end
        if at_end and first < stop:
            place = torch.arange(len(part) - 1 - first, len(part) - 1 - stop, -1)
            samples[first - start :] *= rise[place]
        return samples

    return LazySignal(len(part), read)
