"""Delay, drift, polarity and level between the two channels of a pair.

Why not plain correlation, or its phase transform: a body-conduction sensor shares only a band
with the air microphone (a throat microphone some 150-650 Hz), and in that band its own phase is
not flat. So the phase that goes with the magnitude (minimum phase) is taken out first, and a delay
is fitted to the rest, each bin weighted by its coherence. How the delays of the pairs differ among
each other can be told without an expected phase; see `consensus`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bcsim.dsp.activity import active_frames, active_rms, is_active
from bcsim.dsp.delay import delay_signal
from bcsim.dsp.resample import resample_clock
from bcsim.dsp.spectra import (
    CrossSpectra,
    fill_gaps,
    fractional_octave_smooth,
    frame_power,
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
from bcsim.fitting.alignment.timing import Timing, measure_timing, without_dc
from bcsim.fitting.noise import estimate_noise_floor
from bcsim.fitting.pairs import AlignedPair, bins_above_noise, frame_size
from bcsim.sensors.recorded_pair import RecordedPair

FINE_RANGE_S = 0.005  # half-width of the phase fit around the coarse lag, whose error is some 2 ms
SMOOTHING = 6  # parts of an octave, of the magnitude behind the expected phase
COMMON_LAG_S = 0.010  # coarse lags that are closer than this to the median are taken as equal
NEGLIGIBLE_DELAY_S = 0.005  # a delay that does not matter to frames of 32 ms
LARGE_DRIFT_S = 0.0003  # over a recording: from here on it blurs its own measurement
INDIVIDUAL_GAIN = 1.1  # factor in likelihood from which individual delays are believed


def align(
    pairs: Sequence[RecordedPair], sample_rate: int, timings: Sequence[Timing] | None = None
) -> tuple[list[AlignedPair], int]:
    """Take delay, drift, polarity and level out of the pairs of one sensor.

    Polarity and drift are properties of the sensor and the recorders, so they are estimated from
    all pairs at once, and so is the delay where one recorder took both channels of all pairs. A
    pair whose delay or drift clearly differs gets its own. Of a pair whose delay jumps, the
    longest segment between jumps is used.

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
    rough = [
        _aligned(pair, overlap, 0.0, 1, sample_rate)
        for pair, overlap in zip(pairs, overlaps, strict=True)
    ]
    spectra = [pair.spectra for pair in rough]
    above_noise = bins_above_noise(rough)
    found = _agreement(spectra, above_noise, synchronised, sample_rate)
    # Now the pairs agree, and what is left is one delay and one sign for all.
    phase = _expected_phase(found.pooled, above_noise)
    polarity, common_s = _fit_polarity([found.pooled], phase, sample_rate)
    aligned = []
    for pair, overlap, timing, delay_s, sign in zip(
        pairs, overlaps, timings, found.delays_s, found.signs, strict=True
    ):
        result = _aligned(pair, overlap, delay_s + common_s, polarity * sign, sample_rate)
        aligned.append(replace(result, inverted=sign < 0, jumps=timing.jumps))
    return aligned, polarity


def synchronised(pair: RecordedPair, sample_rate: int) -> RecordedPair:
    """Return the overlap of both channels, without drift, synchronised to some milliseconds.

    A delay under 5 ms is left in: a single pair does not tell its delay finer than that from the
    sensor's phase. DC is left in, too. Of a pair whose delay jumps, the longest segment between
    jumps is returned. The pair must have passed `check_pair`.
    """
    timing = measure_timing(pair, sample_rate)
    (drift,) = _drifts([pair], [timing], sample_rate)
    lag = _clock_lag(timing, drift)
    if not drift and abs(lag) <= NEGLIGIBLE_DELAY_S * sample_rate:
        lag = 0
    overlap = _overlap(pair, timing, lag, drift)
    length = min(len(pair.air), len(pair.bone))
    air_dc, bone_dc = (float(np.mean(signal[:length])) for signal in (pair.air, pair.bone))
    return replace(pair, air=overlap.air.numpy() + air_dc, bone=overlap.bone.numpy() + bone_dc)


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

    Once the drift is taken out, bone is `lag` samples later everywhere; as recorded that held at
    the beginning, and `middle` samples on bone was later by as much as the clocks had diverged.
    """

    air: Tensor
    bone: Tensor
    lag: int
    drift_ppm: float
    middle: float

    def recorded_delay_s(self, delay_s: float, sample_rate: int) -> float:
        """Return the delay at the middle as recorded, of which `delay_s` is left here."""
        bone_place = self.middle + self.lag + delay_s * sample_rate
        return (bone_place * (1 + 1e-6 * self.drift_ppm) - self.middle) / sample_rate


def _overlaps(
    pairs: Sequence[RecordedPair], timings: Sequence[Timing], sample_rate: int
) -> tuple[list[_Overlap], list[bool]]:
    """Return the overlap of each pair, and whether its lag is the common one."""
    drifts = _drifts(pairs, timings, sample_rate)
    lags = [_clock_lag(timing, drift) for timing, drift in zip(timings, drifts, strict=True)]
    median = sorted(lags)[len(lags) // 2]
    # Lags close to the median are replaced by it: such an offset is that of the recorder.
    lags = [median if abs(lag - median) < COMMON_LAG_S * sample_rate else lag for lag in lags]
    overlaps = [
        _overlap(pair, timing, lag, drift)
        for pair, timing, lag, drift in zip(pairs, timings, lags, drifts, strict=True)
    ]
    return overlaps, [lag == median for lag in lags]


def _drifts(
    pairs: Sequence[RecordedPair], timings: Sequence[Timing], sample_rate: int
) -> list[float]:
    """Return the drift of each pair in ppm, on which the pairs agree as far as they can."""
    measured = [
        _measured_drift(pair, timing, sample_rate)
        for pair, timing in zip(pairs, timings, strict=True)
    ]
    seconds = [(timing.stop - timing.start) / sample_rate for timing in timings]
    return agreed_drifts(measured, seconds)


def _clock_lag(timing: Timing, drift_ppm: float) -> int:
    """Return the lag once the drift is taken out.

    Pairs whose recorders were started by one button have it in common, whatever their length.
    """
    middle = (timing.start + timing.stop) / 2
    return round((middle + timing.lag) / (1 + 1e-6 * drift_ppm) - middle)


def _overlap(pair: RecordedPair, timing: Timing, lag: int, drift_ppm: float) -> _Overlap:
    air, bone = without_dc(pair)
    if drift_ppm:
        bone = torch.from_numpy(resample_clock(bone.numpy(), 1e-6 * drift_ppm))
    start = max(timing.start, -lag)
    stop = min(timing.stop, len(bone) - lag)
    middle = (timing.start + timing.stop) / 2
    return _Overlap(air[start:stop], bone[start + lag : stop + lag], lag, drift_ppm, middle)


def _measured_drift(pair: RecordedPair, timing: Timing, sample_rate: int) -> Drift:
    """Measure the drift of a pair; a large one is taken out and the rest measured again."""
    seconds = (timing.stop - timing.start) / sample_rate
    drift = Drift(1e6 * timing.slope, math.inf)
    for _ in range(3):
        overlap = _overlap(pair, timing, _clock_lag(timing, drift.ppm), drift.ppm)
        rest = measure_drift(overlap.air, overlap.bone, sample_rate)
        if not math.isfinite(rest.error_ppm):
            break
        drift = Drift(drift.ppm + rest.ppm, rest.error_ppm)
        if abs(rest.ppm) * seconds < 1e6 * LARGE_DRIFT_S:
            break
    return drift


def _aligned(
    pair: RecordedPair, overlap: _Overlap, delay_s: float, polarity: int, sample_rate: int
) -> AlignedPair:
    shift = torch.tensor([-delay_s * sample_rate], dtype=torch.float64)
    air, bone = overlap.air, polarity * delay_signal(overlap.bone[None], shift)[0]
    speech = active_frames(air[None], sample_rate)
    air_rms, bone_rms = (
        max(float(active_rms(x[None], speech, sample_rate)), 1e-30) for x in (air, bone)
    )
    air, bone = air / air_rms, bone / bone_rms
    num_fft = frame_size(sample_rate)
    active = is_active(frame_power(air[None], num_fft, num_fft // 4)[0])
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
        delay_s=overlap.recorded_delay_s(delay_s, sample_rate),
        level_db=20 * math.log10(bone_rms / air_rms),
        seconds=len(air) / sample_rate,
        active_seconds=int(active.sum()) * (num_fft // 4) / sample_rate,
        drift_ppm=overlap.drift_ppm,
    )


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
