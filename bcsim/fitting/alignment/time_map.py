"""Where in the sensor's recording each moment of the air recording is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import soxr
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from bcsim.dsp.interpolation import HALF_WIDTH, interpolate

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


def bone_on_air_clock(bone: Tensor, part: Part) -> Tensor:
    """Return the sensor's signal at each sample of air in a part, (stop - start,), float64.

    Args:
        bone: (T,), the sensor's recording.
        part: part that both recordings hold.
    """
    first, last = part.bone_at(np.array([part.start, part.stop - 1]))
    is_whole = last - first == part.stop - 1 - part.start and first == round(first)
    if is_whole and (np.diff(part.bone_places) == np.diff(part.places)).all():
        return bone[round(first) : round(first) + part.stop - part.start].double()
    blocks = []
    for start in range(part.start, part.stop, BLOCK):
        places = part.bone_at(np.arange(start, min(start + BLOCK, part.stop), dtype=np.float64))
        begin = max(0, int(places[0]) - HALF_WIDTH)
        end = min(len(bone), int(places[-1]) + HALF_WIDTH + 2)
        positions = torch.from_numpy(places - begin)
        blocks.append(interpolate(bone[begin:end].double()[None], positions[None])[0])
    return torch.cat(blocks) if blocks else bone.new_zeros(0, dtype=torch.float64)


def roughly_on_air_clock(bone: Tensor, part: Part) -> Tensor:
    """Return what `bone_on_air_clock` does, fast, and exact to some per cent below 4 kHz only."""
    first, last = part.bone_at(np.array([part.start, part.stop - 1]))
    begin, end = max(0, int(first) - ROUGH_MARGIN), int(last) + ROUGH_MARGIN
    twice = soxr.resample(bone[begin:end].float().numpy(), 1.0, 2.0, quality="HQ")
    positions = 2 * (part.bone_at(np.arange(part.start, part.stop, dtype=np.float64)) - begin)
    return torch.from_numpy(np.interp(positions, np.arange(len(twice)), twice))


def joined(parts: Sequence[Tensor], sample_rate: int) -> Tensor:
    """Join the parts of one channel, each faded at a join, lest a step sound there."""
    size = round(FADE_S * sample_rate)
    rise = torch.sin(torch.linspace(0, torch.pi / 2, size, dtype=torch.float64)).square()
    faded = []
    for number, part in enumerate(parts):
        part = part.clone()
        count = min(size, len(part))
        if number > 0:
            part[:count] *= rise[:count]
        if number < len(parts) - 1:
            part[len(part) - count :] *= rise[:count].flip(0)
        faded.append(part)
    return torch.cat(faded)
