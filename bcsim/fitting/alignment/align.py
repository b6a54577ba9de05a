"""Delay, drift, polarity and level between the two channels of a pair.

Why not plain correlation, or its phase transform: a body-conduction sensor shares only a band
with the air microphone (a throat microphone some 150-650 Hz), and in that band its own phase is
not flat. So the phase that goes with the magnitude (minimum phase) is taken out first, and a delay
is fitted to the rest, each bin weighted by its coherence. How the delays of the pairs differ among
each other can be told without an expected phase; see `consensus`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bcsim.dsp.activity import frame_energies_of, is_active, rms_of, rms_of_speech
from bcsim.dsp.delay import delayed
from bcsim.dsp.lazy_signal import LazySignal, Samples, computed, is_long, part_of
from bcsim.dsp.resample import on_clock
from bcsim.dsp.spectra import (
    CrossSpectra,
    fill_gaps,
    fractional_octave_smooth,
    minimum_phase,
)
from bcsim.fitting.alignment.consensus import (
    Agreement,
    common_delay,
    individual_delays,
    peak_delay,
    phase_weight,
)
from bcsim.fitting.alignment.drift import Drift, agreed_drifts, measure_drift
from bcsim.fitting.alignment.time_map import Part, bone_on_air_clock, joined
from bcsim.fitting.alignment.timing import Timing, measure_timing, without_dc
from bcsim.fitting.alignment.trajectory import LEAST_DRIFT_S
from bcsim.fitting.noise import estimate_noise_floor
from bcsim.fitting.pairs import (
    AlignedPair,
    bins_above_noise,
    frame_size,
    frames_with_speech,
)
from bcsim.sensors.recorded_pair import RecordedPair

FINE_RANGE_S = 0.005  # half-width of the phase fit around the coarse lag, whose error is some 2 ms
SMOOTHING = 6  # parts of an octave, of the magnitude behind the expected phase
COMMON_LAG_S = 0.010  # coarse lags that are closer than this to the median are taken as equal
NEGLIGIBLE_DELAY_S = 0.005  # a delay that does not matter to frames of 32 ms
SEGMENTS_ERROR_S = 0.001  # over a recording, of the drift that its segments tell
LARGE_DRIFT_S = 0.0003  # over a recording: from here on it blurs its own measurement
SAME_START_S = 0.001  # delays that lie further from the median are those of recorders
LARGEST_DELAY_S = 0.020  # and so are delays that are longer
NEGLIGIBLE_RECORDER_S = 0.0005  # a delay beside the sensor's that is left in for training
INDIVIDUAL_GAIN = 1.1  # factor in likelihood from which individual delays are believed


def align(
    pairs: Sequence[RecordedPair], sample_rate: int, timings: Sequence[Timing] | None = None
) -> tuple[list[AlignedPair], int]:
    """Take delay, drift, polarity and level out of the pairs of one sensor.

    Polarity and drift are properties of the sensor and the recorders, so they are estimated from
    all pairs at once, and so is the delay where one recorder took both channels of all pairs. A
    pair whose delay or drift clearly differs gets its own. Of a pair whose delay jumps, the parts
    between jumps are joined, without what is unsure beside the jumps.

    Args:
        pairs: pairs that passed `check_pair`.
        sample_rate: sample rate of all pairs in Hz.
        timings: timing of each pair; None to measure it.

    Returns:
        The aligned pairs, in the order given, and the polarity that was taken out.
    """
    if timings is None:
        timings = [measure_timing(pair, sample_rate) for pair in pairs]
    overlaps, synchronised = _overlaps(pairs, timings, sample_rate)
    shifts = [(0.0, 1)] * len(pairs)
    rough = _all_aligned(pairs, overlaps, shifts, sample_rate)
    measured = [(pair.spectra, pair.air_noise_power) for pair in rough]  # and no signals
    spectra = [own for own, _ in measured]
    above_noise = bins_above_noise(spectra, [noise for _, noise in measured])
    found = _agreement(spectra, above_noise, synchronised, sample_rate)
    # Now the pairs agree, and what is left is one delay and one sign for all.
    phase = _expected_phase(found.pooled, above_noise)
    polarity, common_s = _fit_polarity([found.pooled], phase, sample_rate)
    shifts = [
        (delay_s + common_s, polarity * sign)
        for delay_s, sign in zip(found.delays_s, found.signs, strict=True)
    ]
    results = _all_aligned(pairs, overlaps, shifts, sample_rate)
    aligned = [
        replace(result, inverted=sign < 0, jumps=timing.jumps)
        for result, timing, sign in zip(results, timings, found.signs, strict=True)
    ]
    return aligned, polarity


def _all_aligned(
    pairs: Sequence[RecordedPair],
    overlaps: "Sequence[_Overlap]",
    shifts: Sequence[tuple[float, int]],
    sample_rate: int,
) -> Iterator[AlignedPair]:
    """Yield the pairs, aligned by delay and sign (`shifts`) of each."""
    for pair, overlap, (delay_s, sign) in zip(pairs, overlaps, shifts, strict=True):
        yield _aligned(pair, overlap, delay_s, sign, sample_rate)


def synchronised(
    pair: RecordedPair, sample_rate: int, timing: Timing | None = None
) -> RecordedPair:
    """Return the overlap of both channels, without drift, synchronised to some milliseconds.

    A delay under 5 ms is left in: a single pair does not tell its delay finer than that from the
    sensor's phase. DC is left in, too. Of a pair whose delay jumps, the parts between jumps are
    joined. The pair must have passed `check_pair`; its timing is measured where it is not given.
    """
    timing = timing or measure_timing(pair, sample_rate)
    (drift,) = _drifts([pair], [timing], sample_rate)
    lag = _clock_lag(timing, drift)
    if not drift and abs(lag) <= NEGLIGIBLE_DELAY_S * sample_rate:
        lag = 0
    overlap = _overlap(pair, timing, lag, drift, sample_rate)
    air_dc, bone_dc = (float(np.mean(signal)) for signal in (pair.air, pair.bone))
    air, bone = overlap.air[:].numpy() + air_dc, overlap.bone[:].numpy() + bone_dc
    return replace(pair, air=air, bone=bone)


@dataclass(frozen=True, eq=False)
class Recorder:
    """What two recorders did to a pair, beside what the sensor did.

    Args:
        parts: where in bone the samples of air are, but for the sensor's own delay; none where
            nothing is known.
        sign: -1 where the polarity is opposite to that of most pairs, else 1.
    """

    parts: tuple[Part, ...]
    sign: int

    @property
    def is_neutral(self) -> bool:
        """Whether both channels of the pair can be used as they were recorded."""
        if not self.parts:
            return True
        first, *others = self.parts
        ends = np.array([first.start, first.stop])
        moved = np.abs(first.bone_at(ends) - ends).max()
        return not others and self.sign > 0 and bool(moved < 0.5)


def recorders_of(
    pairs: Sequence[RecordedPair], sample_rate: int, timings: Sequence[Timing]
) -> tuple[list[Recorder], int]:
    """Tell what the recorders of each pair did, as `align` takes it out.

    Args:
        pairs: pairs that passed `check_pair`.
        sample_rate: sample rate of all pairs in Hz.
        timings: timing of each pair.

    Returns:
        What each pair's recorders did, and the polarity of most pairs.
    """
    aligned, polarity = align(pairs, sample_rate, timings)
    own = sensor_delay_s(aligned) or 0.0
    found = []
    for pair, result in zip(pairs, aligned, strict=True):
        parts = [part.delayed(-own * sample_rate) for part in result.parts]
        near = abs(result.delay_s - own) < NEGLIGIBLE_RECORDER_S
        if len(parts) == 1 and near and not result.drift_ppm:
            places = np.array([0.0, 1.0])
            parts = [Part(0, min(len(pair.air), len(pair.bone)), places, places)]
        parts = tuple(part.within(len(pair.air), len(pair.bone)) for part in parts)
        found.append(Recorder(parts, -1 if result.inverted else 1))
    return found, polarity


def sensor_delay_s(pairs: Sequence[AlignedPair]) -> float | None:
    """Return the sensor's delay: the one that most pairs have, if a sensor can have it.

    A delay of tens of milliseconds is that of recorders which were not started together, and so
    are delays that differ from pair to pair: None. Of a pair of which most is left out, the delay
    says little.
    """
    delays_s = np.array([pair.delay_s for pair in pairs if pair.left_out_s < pair.seconds])
    if len(delays_s) == 0:
        return None
    delay_s = float(np.median(delays_s))
    agree = np.count_nonzero(np.abs(delays_s - delay_s) < SAME_START_S)
    return delay_s if abs(delay_s) < LARGEST_DELAY_S and 2 * agree >= len(delays_s) else None


def _expected_phase(spectra: CrossSpectra, above_noise: Tensor) -> Tensor:
    """Return the minimum phase that goes with the magnitude of H1, (F,).

    Of H1, for it is the phase of the coherent part that is to be explained. The magnitude of bins
    that are not above the noise is taken from their neighbours.
    """
    tiny = torch.finfo(spectra.xx.dtype).tiny
    product = spectra.xx * spectra.yy / max(spectra.num_averages, 1.0)
    cross, chance, air = (
        fractional_octave_smooth(values, SMOOTHING)
        for values in (spectra.xy.abs().square(), product, spectra.xx.square())
    )
    # Of n averages, unrelated parts leave 1/n of the product in the square of the cross-spectrum.
    ratio = torch.maximum(cross - chance, 0.1 * chance) / air.clamp(min=tiny)
    ratio = fill_gaps(ratio, above_noise)
    return minimum_phase(ratio.clamp(min=max(1e-12 * float(ratio.max()), tiny)).log() / 2)


def _agreement(
    spectra: Sequence[CrossSpectra],
    above_noise: Tensor,
    synchronised: Sequence[bool],
    sample_rate: int,
) -> Agreement:
    """Return the delays and signs under the better of two hypotheses.

    Either both channels were recorded synchronously, or each pair has a delay of its own. They
    are told apart by how well one filter explains all pairs.
    """
    phase = _expected_phase(CrossSpectra.pooled(list(spectra)), above_noise)
    polarity, _ = _fit_polarity(spectra, phase, sample_rate)
    starts_s = [_fit_delay(part, phase, sample_rate, polarity)[0] for part in spectra]
    common = common_delay(spectra, sample_rate, synchronised)
    individual = individual_delays(spectra, starts_s, sample_rate)
    return individual if individual.likelihood > INDIVIDUAL_GAIN * common.likelihood else common


@dataclass(frozen=True, eq=False)
class _Overlap:
    """The part that both channels have, without DC and drift.

    Args:
        air: (T,).
        bone: (T,), synchronised to some milliseconds.
        parts: where in the recordings these samples are.
        lag: samples by which bone was later at the first sample of air, once the drift is taken
            out.
        drift_ppm: growth of bone's delay, in microseconds a second, on average.
    """

    air: LazySignal
    bone: Samples
    parts: tuple[Part, ...]
    lag: int
    drift_ppm: float


def _overlaps(
    pairs: Sequence[RecordedPair], timings: Sequence[Timing], sample_rate: int
) -> tuple[list[_Overlap], list[bool]]:
    """Return the overlap of each pair, and whether its lag is the common one."""
    drifts = _drifts(pairs, timings, sample_rate)
    lags = [_clock_lag(timing, drift) for timing, drift in zip(timings, drifts, strict=True)]
    median = sorted(lags)[len(lags) // 2]
    near = sum(abs(lag - median) < FINE_RANGE_S * sample_rate for lag in lags)
    is_common = 2 * near > len(lags)  # else the recorders of each pair were started apart
    if is_common:
        # Lags close to the median are replaced by it: such an offset is that of the recorder.
        lags = [median if abs(lag - median) < COMMON_LAG_S * sample_rate else lag for lag in lags]
    overlaps = [
        _overlap(pair, timing, lag, drift, sample_rate)
        for pair, timing, lag, drift in zip(pairs, timings, lags, drifts, strict=True)
    ]
    return overlaps, [is_common and lag == median for lag in lags]


def _drifts(
    pairs: Sequence[RecordedPair], timings: Sequence[Timing], sample_rate: int
) -> list[float]:
    """Return the drift of each pair in ppm, on which the pairs agree as far as they can."""
    measured = [
        _measured_drift(pair, timing, sample_rate)
        for pair, timing in zip(pairs, timings, strict=True)
    ]
    seconds = [(timing.stop - timing.start) / sample_rate for timing in timings]
    agreed = agreed_drifts(measured, seconds)
    # Parts between jumps, or of a drift that changes, have been measured by themselves.
    return [
        _own_drift_ppm(timing, sample_rate) if timing.parts else drift
        for timing, drift in zip(timings, agreed, strict=True)
    ]


def _own_drift_ppm(timing: Timing, sample_rate: int) -> float:
    seconds = (timing.stop - timing.start) / sample_rate
    return 1e6 * timing.slope if abs(timing.slope) * seconds > LEAST_DRIFT_S else 0.0


def _clock_lag(timing: Timing, drift_ppm: float) -> int:
    """Return the lag once the drift is taken out.

    Pairs whose recorders were started by one button have it in common, whatever their length.
    """
    if timing.parts:
        return round(float(timing.parts[0].bone_at(0.0)) / (1 + 1e-6 * drift_ppm))
    return round((timing.middle + timing.lag) / (1 + 1e-6 * drift_ppm) - timing.middle)


def _overlap(
    pair: RecordedPair, timing: Timing, lag: int, drift_ppm: float, sample_rate: int
) -> _Overlap:
    air, bone = without_dc(pair)
    if timing.parts:
        shift = _clock_lag(timing, drift_ppm) - lag
        parts = tuple(part.delayed(-shift).within(len(air), len(bone)) for part in timing.parts)
        joined_air = joined([air.part(part.start, part.stop) for part in parts], sample_rate)
        joined_bone = joined([bone_on_air_clock(bone, part) for part in parts], sample_rate)
        return _Overlap(joined_air, computed(joined_bone), parts, lag, drift_ppm)
    on_air_clock = on_clock(bone, 1e-6 * drift_ppm)
    start = max(timing.start, -lag)
    stop = max(start, min(timing.stop, len(air), len(on_air_clock) - lag))
    places = np.array([start, start + 1.0])
    part = Part(start, stop, places, (places + lag) * (1 + 1e-6 * drift_ppm))
    own_bone = part_of(on_air_clock, start + lag, stop + lag)
    return _Overlap(air.part(start, stop), own_bone, (part,), lag, drift_ppm)


def _measured_drift(pair: RecordedPair, timing: Timing, sample_rate: int) -> Drift:
    """Measure the drift of a pair; a large one is taken out and the rest measured again."""
    seconds = (timing.stop - timing.start) / sample_rate
    drift = Drift(1e6 * timing.slope, math.inf)
    if timing.parts:
        return drift
    for _ in range(3):
        overlap = _overlap(pair, timing, _clock_lag(timing, drift.ppm), drift.ppm, sample_rate)
        rest = measure_drift(overlap.air, overlap.bone, sample_rate)
        if not math.isfinite(rest.error_ppm):
            # What the segments said of a large drift is known to about a millisecond.
            known = timing.slope != 0 and math.isinf(drift.error_ppm)
            return Drift(drift.ppm, 1e6 * SEGMENTS_ERROR_S / seconds) if known else drift
        drift = Drift(drift.ppm + rest.ppm, rest.error_ppm)
        if abs(rest.ppm) * seconds < 1e6 * LARGE_DRIFT_S:
            break
    return drift


def _aligned(
    pair: RecordedPair, overlap: _Overlap, delay_s: float, polarity: int, sample_rate: int
) -> AlignedPair:
    parts = tuple(part.delayed(delay_s * sample_rate) for part in overlap.parts)
    air, bone = overlap.air, delayed(overlap.bone, -delay_s * sample_rate)
    level, speech = frame_energies_of(air, sample_rate)
    air_rms = max(float(rms_of_speech(level, speech, sample_rate)), 1e-30)
    level, _ = frame_energies_of(bone, sample_rate)
    bone_rms = max(float(rms_of(level, is_active(speech), sample_rate)), 1e-30)
    air, bone = air * (1 / air_rms), bone * (polarity / bone_rms)
    if not is_long(len(air)):
        air, bone = air[:], bone[:]
    num_fft = frame_size(sample_rate)
    active = frames_with_speech(air, sample_rate)
    return AlignedPair(
        name=pair.name,
        talker=pair.talker,
        air=air,
        bone=bone,
        sample_rate=sample_rate,
        active=active,
        num_fft=num_fft,
        noise=estimate_noise_floor(air, bone, sample_rate, num_fft),
        air_noise=estimate_noise_floor(air, air, sample_rate, num_fft),
        delay_s=_start_delay_s(pair, parts[0], sample_rate),
        level_db=20 * math.log10(bone_rms / air_rms),
        seconds=len(air) / sample_rate,
        active_seconds=int(active.sum()) * (num_fft // 4) / sample_rate,
        drift_ppm=overlap.drift_ppm,
        parts=parts,
        left_out_s=_left_out_s(pair, overlap, sample_rate),
    )


def _start_delay_s(pair: RecordedPair, part: Part, sample_rate: int) -> float:
    """Return the delay where both recordings begin, told by their first part that is used."""
    start = _extended(pair, part).start
    return (float(part.bone_at(start)) - start) / sample_rate


def _extended(pair: RecordedPair, part: Part) -> Part:
    """Return a part as if it were all that both recordings hold."""
    return replace(part, start=0, stop=len(pair.air)).within(len(pair.air), len(pair.bone))


def _left_out_s(pair: RecordedPair, overlap: _Overlap, sample_rate: int) -> float:
    """Return the seconds that both recordings hold and that are not used."""
    first, last = (_extended(pair, part) for part in (overlap.parts[0], overlap.parts[-1]))
    return max(0, last.stop - first.start - len(overlap.air)) / sample_rate


def _fit_polarity(
    spectra: Sequence[CrossSpectra], phase: Tensor, sample_rate: int
) -> tuple[int, float]:
    """Return the polarity that fits all spectra better, and the delay of the first of them."""
    fits = {
        polarity: [_fit_delay(part, phase, sample_rate, polarity) for part in spectra]
        for polarity in (1, -1)
    }
    totals = {polarity: sum(score for _, score in fit) for polarity, fit in fits.items()}
    polarity = 1 if totals[1] >= totals[-1] else -1
    return polarity, fits[polarity][0][0]


def _fit_delay(
    spectra: CrossSpectra, phase: Tensor, sample_rate: int, polarity: int
) -> tuple[float, float]:
    """Return the delay that fits best beside the expected phase, and how well it fits."""
    phasor = polarity * torch.exp(1j * (torch.angle(spectra.xy) - phase))
    # The measured phase errs alike per hertz, the expected one rather per octave: a compromise.
    bins = torch.arange(len(phase), dtype=torch.float64).clamp(min=1)
    weighted = phasor * phase_weight(spectra) / bins.sqrt()
    weighted[[0, -1]] = 0  # no phase there
    return peak_delay(weighted, sample_rate, FINE_RANGE_S)
