"""Timing of two recorders: where bone belongs relative to air, and where its delay jumps.

First the lag is sought over the whole of both recordings, then followed from segment to segment
on a clock without bone's drift, then measured finely where it jumps or drifts unevenly.
"""

import bisect
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from bcsim.dsp.lazy_signal import LazySignal, Samples, part_of
from bcsim.dsp.resample import on_clock
from bcsim.fitting.alignment.envelopes import Place, find_place
from bcsim.fitting.alignment.likelihood import CELL_S
from bcsim.fitting.alignment.time_map import Part, joined, roughly_on_air_clock
from bcsim.fitting.alignment.tracking import (
    LAG_ERROR_S,
    LEAST_SLOPE_S,
    RELATED_SCORE,
    SURE_EVIDENCE,
    Track,
    best_track,
    better,
    coarse_lag,
    jump_place,
)
from bcsim.fitting.alignment.trajectory import (
    BEND_LEAST_S,
    LEAST_BEND_S,
    Measured,
    Trajectory,
    offsets,
    smoothed,
    window_delays,
)
from bcsim.fitting.pairs import Jump, frame_size, frames_with_speech
from bcsim.sensors.recorded_pair import RecordedPair

JUMP_MARGIN_S = 0.05  # that is left out beside a jump, and the jump's size
LEAST_PART_S = 0.1  # beside what is left out, shorter parts tell nothing
LEAST_JUMP_S = 0.001  # a smaller one, measured finely, is none
OVERLAP_MARGIN_S = 0.3  # by which the envelopes may misplace an overlap
FINE_ERROR_S = 0.00004  # of a window of the fine measurement
REFINEMENTS = 6  # of the fine measurement, whose windows are compared with each other, at most
CONVERGED_S = 0.00003  # what the last of them changes


@dataclass(frozen=True, eq=False)
class Timing:
    """How the channels of one pair belong together in time, to within some milliseconds.

    Args:
        lag: samples by which bone is later than air, at `middle`.
        middle: sample of air in the middle of what both recordings hold.
        start: first sample of air that is used.
        stop: sample of air after the last one that is used.
        slope: slope of the lag, in seconds a second: a first estimate of a large drift, or 0.
        jumps: jumps of the delay, in order of time.
        evidence: likelihood of the coarse lag over that of an ordinary one (the 99th
            percentile of all lags). Unrelated recordings stay under 7; 16 throat pairs exceed 17.
        likelihood_rate: log likelihood of the lags found over ordinary ones, per second.
        parts: parts between jumps, of a pair whose delay jumps or whose drift changes; their
            delays relative to each other are fine ones. Empty where lag and slope say all.
        doubted_s: seconds that are in no part: their lag is another, but too little speech is
            there to tell it twice, or to tell where it jumps.
    """

    lag: int
    middle: float
    start: int
    stop: int
    slope: float
    jumps: tuple[Jump, ...]
    evidence: float
    likelihood_rate: float
    parts: tuple[Part, ...] = ()
    doubted_s: float = 0.0

    def moved(self, air: int, bone: int, sample_rate: int) -> "Timing":
        """Return the timing of recordings that begin so many samples earlier."""
        parts = tuple(
            replace(
                part,
                start=part.start + air,
                stop=part.stop + air,
                places=part.places + air,
                bone_places=part.bone_places + bone,
            )
            for part in self.parts
        )
        return replace(
            self,
            lag=self.lag + bone - air,
            middle=self.middle + air,
            start=self.start + air,
            stop=self.stop + air,
            jumps=tuple(jump.moved(air / sample_rate) for jump in self.jumps),
            parts=parts,
        )


def measure_timing(pair: RecordedPair, sample_rate: int) -> Timing:
    """Find where bone belongs relative to air, at any lag that leaves an overlap."""
    air, bone = without_dc(pair)
    coarse = coarse_lag(air, bone, sample_rate)
    place = find_place(air, bone, sample_rate)
    overlap = None if place is None else _overlap(place, len(air), len(bone), sample_rate)
    if overlap is None or coarse[1] > SURE_EVIDENCE:
        found = best_track(air, bone, coarse, place, sample_rate)
        return _timing_of(air, bone, found, coarse, sample_rate)
    # What surrounds the overlap hides it: it is looked at alone.
    own_air = part_of(air, overlap[0].start, overlap[0].stop)
    own_bone = part_of(bone, overlap[1].start, overlap[1].stop)
    own_coarse = coarse_lag(own_air, own_bone, sample_rate)
    own_place = find_place(own_air, own_bone, sample_rate)
    own = best_track(own_air, own_bone, own_coarse, own_place, sample_rate)
    assert place is not None
    if own_coarse[1] < SURE_EVIDENCE and place.score < RELATED_SCORE:
        whole = best_track(air, bone, coarse, place, sample_rate)
        if own is not better(whole, own):
            return _timing_of(air, bone, whole, coarse, sample_rate)
    timing = _timing_of(own_air, own_bone, own, own_coarse, sample_rate)
    return timing.moved(overlap[0].start, overlap[1].start, sample_rate)


def _overlap(
    place: Place, num_air: int, num_bone: int, sample_rate: int
) -> tuple[slice, slice] | None:
    """Return what both recordings hold of each other, or None where that is nearly all."""
    speed = 1 + place.rate
    first_s, last_s = place.lags_s[0], place.lags_s[-1]
    start_s = max(0.0, -first_s - OVERLAP_MARGIN_S)
    stop_s = min(num_air / sample_rate, num_bone / sample_rate / speed - last_s + OVERLAP_MARGIN_S)
    air = slice(round(start_s * sample_rate), round(stop_s * sample_rate))
    bone_first = speed * (start_s + first_s) - OVERLAP_MARGIN_S
    bone_last = speed * (stop_s + last_s) + OVERLAP_MARGIN_S
    bone = slice(
        max(0, round(bone_first * sample_rate)), min(num_bone, round(bone_last * sample_rate))
    )
    spare = max(num_air - (air.stop - air.start), num_bone - (bone.stop - bone.start))
    is_short = min(air.stop - air.start, bone.stop - bone.start) < sample_rate
    return None if is_short or spare < 2 * OVERLAP_MARGIN_S * sample_rate else (air, bone)


def _timing_of(
    air: Samples, bone: Samples, found: Track, coarse: tuple[int, float], sample_rate: int
) -> Timing:
    """Return the timing of a track."""
    seconds = len(air) / sample_rate
    num_parts = len(found.breaks) + 1
    measured = found.measured(sample_rate)
    line = smoothed(measured, seconds, num_parts, LAG_ERROR_S, LEAST_SLOPE_S, CELL_S)
    places, jumps = _jumps(air, bone, found, line, sample_rate)
    parts = _parts(air, bone, found, line, places, jumps, sample_rate)
    # What contradicts its neighbours is left out, and what the lag does beside it is not told.
    is_whole = not found.doubted.any()
    firsts = [0, *found.breaks]
    lengths = [
        0 if found.doubted[first] else part.stop - part.start
        for part, first in zip(parts, firsts, strict=True)
    ]
    shortest = 0 if is_whole else min(LEAST_PART_S * sample_rate, max(lengths))
    kept = [number for number, length in enumerate(lengths) if length >= shortest]
    # A jump that both sides tell is claimed; what lies between its likely places is not used.
    told = [after == before + 1 for before, after in itertools.pairwise(kept)]
    parts, jumps = [parts[number] for number in kept], [jumps[number - 1] for number in kept[1:]]
    if jumps or not line.is_straight or seconds >= BEND_LEAST_S or not is_whole:
        parts, jumps, is_straight = _refined(air, bone, parts, jumps, sample_rate)
        certain = [
            abs(jump.size_s) >= LEAST_JUMP_S or not is_told
            for jump, is_told in zip(jumps, told, strict=True)
        ]
        if not all(certain):  # a drift, or a sound, that looked like a jump to whole segments
            small = {firsts[k] for k, is_jump in zip(kept[1:], certain, strict=True) if not is_jump}
            breaks = [k for k in found.breaks if k not in small]
            return _timing_of(air, bone, replace(found, breaks=breaks), coarse, sample_rate)
    else:
        is_straight = True
    jumps = [jump for jump, is_told in zip(jumps, told, strict=True) if is_told]
    is_straight = is_straight and is_whole
    timing = _timing(air, bone, found, parts, jumps, is_straight, coarse, sample_rate)
    doubted = int(np.diff(found.edges)[found.doubted].sum())
    for number, is_told in zip(kept[1:], told, strict=True):
        if not is_told and number - 1 in kept:
            doubted += places[number - 1][1] - places[number - 1][0]
    return replace(timing, doubted_s=doubted / sample_rate)


def without_dc(pair: RecordedPair) -> tuple[LazySignal, LazySignal]:
    """Return both channels without DC."""
    air, bone = (
        LazySignal.of(samples, offset=float(np.mean(samples, dtype=np.float64)))
        for samples in (pair.air, pair.bone)
    )
    return air, bone


def synchronised_channels(
    pair: RecordedPair, timing: Timing
) -> tuple[LazySignal, LazySignal, Callable[[int], int]]:
    """Return both channels synchronised to some milliseconds.

    A drift is followed in whole samples: that leaves digital silence and held samples as they are.

    Returns:
        Air and bone, equally long, and a function that gives the place of their samples in air.
    """
    air, bone = without_dc(pair)
    inside = [
        _inside(part, len(air), len(bone)) for part in timing.parts or (_straight_part(timing),)
    ]
    bounds = [0, *itertools.accumulate(part.stop - part.start for part in inside)]

    def place(sample: int) -> int:
        number = min(bisect.bisect_right(bounds, sample), len(inside)) - 1
        return inside[number].start + sample - bounds[number]

    joined_air = LazySignal.joined([air.part(part.start, part.stop) for part in inside])
    return joined_air, LazySignal.joined([_nearest(bone, part) for part in inside]), place


def _bone_place(part: Part, place: ArrayLike) -> NDArray[np.int64]:
    """Return the whole sample of bone at samples of air."""
    return np.rint(part.bone_at(place)).astype(np.int64)


def _inside(part: Part, num_air: int, num_bone: int) -> Part:
    """Return what both recordings hold of a part, to the sample."""
    places = range(part.start, min(part.stop, num_air))
    first, last = (
        bisect.bisect_left(places, bound, key=lambda place: int(_bone_place(part, place)))
        for bound in (0, num_bone)
    )
    start = part.start + first
    return replace(part, start=start, stop=max(start, part.start + last))


def _nearest(bone: LazySignal, part: Part) -> LazySignal:
    """Return the sample of bone that is nearest to each sample of air in a part."""

    def read(start: int, stop: int) -> Tensor:
        places = _bone_place(part, np.arange(part.start + start, part.start + stop))
        if len(places) == 0:
            return bone[:0]
        return bone[int(places[0]) : int(places[-1]) + 1][places - places[0]]

    return LazySignal(part.stop - part.start, read)


def _straight_part(timing: Timing) -> Part:
    places = np.array([timing.middle, timing.middle + 1.0])
    bone = places + timing.lag + timing.slope * (places - timing.middle)
    return Part(timing.start, timing.stop, places, bone)


def _jumps(
    air: Samples, bone: Samples, track: Track, line: Trajectory, sample_rate: int
) -> tuple[list[tuple[int, int]], list[Jump]]:
    """Return the jumps, and between which samples of air each may be."""
    places, jumps = [], []
    on_track = on_clock(bone, track.rate) if track.breaks else bone
    bounds = [0, *track.breaks, len(track.path)]
    for number, segment in enumerate(track.breaks):
        # A segment in which the lag jumps may be taken for either side.
        first = int(track.edges[max(bounds[number], segment - 2)])
        last = int(track.edges[min(bounds[number + 2], segment + 2)])
        at = np.array([track.edges[segment] / sample_rate])
        before, after = (float(line.at(at, part)[0]) * sample_rate for part in (number, number + 1))
        first, likeliest, last = jump_place(
            air, on_track, (first, last), (before, after), sample_rate
        )
        places.append((first, last))
        size_s = (after - before) / sample_rate
        jumps.append(Jump(likeliest / sample_rate, size_s, first / sample_rate, last / sample_rate))
    return places, jumps


def _parts(
    air: Samples,
    bone: Samples,
    track: Track,
    line: Trajectory,
    places: list[tuple[int, int]],
    jumps: list[Jump],
    sample_rate: int,
) -> list[Part]:
    """Return the parts between jumps, without what is unsure beside these."""
    starts = [0, *(last for _, last in places)]
    stops = [*(first for first, _ in places), len(air)]
    spare = round(JUMP_MARGIN_S * sample_rate)
    parts = []
    for number, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        stop = max(start, stop)
        # What one channel lost has no partner in the other: a place is sure up to the jump's size.
        margins = [
            min(spare + round(abs(jump.size_s) * sample_rate), (stop - start) // 4)
            for jump in jumps
        ]
        start += margins[number - 1] if number > 0 else 0
        stop -= margins[number] if number < len(jumps) else 0
        inner = line.knots_s[
            (line.knots_s > start / sample_rate) & (line.knots_s < stop / sample_rate)
        ]
        knots = np.unique(np.concatenate([[start], inner * sample_rate, [max(stop, start + 1)]]))
        lags = line.at(knots / sample_rate, number) * sample_rate
        part = Part(start, stop, knots, (1 + track.rate) * (knots + lags))
        parts.append(part.within(len(air), len(bone)))
    return parts


def _refined(
    air: Samples, bone: Samples, parts: list[Part], jumps: list[Jump], sample_rate: int
) -> tuple[list[Part], list[Jump], bool]:
    """Measure how the delays of windows differ and take that out of the parts.

    Returns:
        The parts, the jumps as they are measured now, and whether one part with an even drift is
        all there is.
    """
    for number in range(REFINEMENTS):
        # Parts first: windows of one part agree with each other, whatever its delay.
        by_part = number == 0 and len(parts) > 1
        rest = _rest(air, bone, parts, by_part, sample_rate)
        if rest is None:
            break
        # What is known to bend is followed as finely as it is measured.
        bends = any(len(part.places) > 2 for part in parts)
        least_bend_s = FINE_ERROR_S if bends else LEAST_BEND_S
        seconds = len(air) / sample_rate
        trajectory = (
            offsets(rest, seconds, len(parts))
            if by_part
            else smoothed(rest, seconds, len(parts), FINE_ERROR_S, least_bend_s=least_bend_s)
        )
        parts = [_moved(part, trajectory, k, sample_rate) for k, part in enumerate(parts)]
        moved_s = [trajectory.at(part.places / sample_rate, k) for k, part in enumerate(parts)]
        if not by_part and np.ptp(np.concatenate(moved_s)) < CONVERGED_S:
            break
    parts = [part.within(len(air), len(bone)) for part in parts]
    sizes = [
        float(after.bone_at(jump.time_s * sample_rate) - before.bone_at(jump.time_s * sample_rate))
        for (before, after), jump in zip(itertools.pairwise(parts), jumps, strict=True)
    ]
    jumps = [
        replace(jump, size_s=size / sample_rate) for jump, size in zip(jumps, sizes, strict=True)
    ]
    slopes = np.diff(parts[0].bone_places) / np.diff(parts[0].places)
    mean = (parts[0].bone_places[-1] - parts[0].bone_places[0]) / (
        parts[0].places[-1] - parts[0].places[0]
    )
    bend = (
        parts[0].bone_places
        - parts[0].bone_places[0]
        - mean * (parts[0].places - parts[0].places[0])
    )
    is_straight = len(slopes) == 1 or float(np.abs(bend).max()) < 0.1e-3 * sample_rate
    return parts, jumps, len(parts) == 1 and is_straight


def _rest(
    air: Samples, bone: Samples, parts: list[Part], by_part: bool, sample_rate: int
) -> Measured | None:
    """Measure the delays that are left in the parts, or in windows of them."""
    channels = [part_of(air, part.start, part.stop) for part in parts]
    bounds = np.concatenate([[0], np.cumsum([len(channel) for channel in channels])]).tolist()
    joined_air = joined(channels, sample_rate)
    joined_bone = joined([roughly_on_air_clock(bone, part) for part in parts], sample_rate)
    num_fft = frame_size(sample_rate)
    active = frames_with_speech(joined_air, sample_rate)
    rest = window_delays(joined_air, joined_bone, bounds, active, num_fft, sample_rate, by_part)
    if rest is None:
        return None
    # From the joined signals' time to that of air.
    starts = np.array([part.start for part in parts]) - np.array(bounds[:-1])
    times = rest.times_s + starts[rest.parts] / sample_rate
    return Measured(times, rest.parts, rest.delays_s, rest.weights)


def _moved(part: Part, trajectory: Trajectory, number: int, sample_rate: int) -> Part:
    """Return the part with bone later by a trajectory of delays."""
    inner = trajectory.knots_s * sample_rate
    inner = inner[(inner > part.places[0]) & (inner < part.places[-1])]
    places = np.unique(np.concatenate([part.places, inner]))
    delays = trajectory.at(places / sample_rate, number) * sample_rate
    return Part(part.start, part.stop, places, part.bone_at(places + delays))


def _timing(
    air: Samples,
    bone: Samples,
    track: Track,
    parts: list[Part],
    jumps: list[Jump],
    is_straight: bool,
    coarse: tuple[int, float],
    sample_rate: int,
) -> Timing:
    start, stop = parts[0].start, parts[-1].stop
    middle = (start + stop) / 2
    lag, evidence = coarse
    ends = [part.bone_at(np.array([part.start, part.stop])) for part in parts]
    kept = sum(part.stop - part.start for part in parts)
    slope = float(sum(last - first for first, last in ends)) / max(kept, 1) - 1
    if is_straight and abs(slope) * (stop - start) < LEAST_SLOPE_S * sample_rate:
        slope = 0.0
    measured = float(parts[len(parts) // 2].bone_at(middle)) - middle
    rest = abs(measured - lag) / sample_rate
    if jumps or slope or rest > LEAST_SLOPE_S:
        lag = round(measured)
    if track.rate or rest > LEAST_SLOPE_S or jumps:
        evidence = max(evidence, _evidence(air, bone, parts, sample_rate))
    return Timing(
        lag=lag,
        middle=middle,
        start=start if not is_straight else 0,
        stop=stop if not is_straight else len(air),
        slope=slope,
        jumps=tuple(jumps),
        evidence=evidence,
        likelihood_rate=track.gain / (len(air) / sample_rate),
        parts=() if is_straight else tuple(parts),
    )


def _evidence(air: Samples, bone: Samples, parts: list[Part], sample_rate: int) -> float:
    """Return the evidence of the coarse search once the parts are synchronised."""
    longest = max(parts, key=lambda part: part.stop - part.start)
    if longest.stop - longest.start < sample_rate // 4:
        return 0.0
    synchronised = roughly_on_air_clock(bone, longest)
    own = part_of(air, longest.start, longest.stop)
    lag, evidence = coarse_lag(own, synchronised, sample_rate)
    return evidence if abs(lag) < 0.01 * sample_rate else 0.0
