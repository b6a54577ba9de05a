"""Delay, drift, polarity and level between the two channels of a pair.

Why not plain correlation, or its phase transform: a body-conduction sensor shares only a band
with the air microphone (a throat microphone some 150-650 Hz), and in that band its own phase is
not flat. So the phase that goes with the magnitude (minimum phase) is taken out first, and the
rest is fitted by a delay where, and as far as, the channels are coherent. Which band that is, the
recordings say. How the pairs differ among each other needs no such supposition; see `consensus`.
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
from bcsim.fitting.alignment.consensus import advanced, apart, peak_delay, phase_trust, together
from bcsim.fitting.alignment.drift import Drift, agreed_drifts, measure_drift
from bcsim.fitting.alignment.timing import Timing, coarse_lag, timing, without_dc
from bcsim.fitting.noise_floor import estimate_noise_floor
from bcsim.fitting.pairs import AlignedPair, bins_above_noise, frame_size
from bcsim.sensors.recorded_pair import RecordedPair

__all__ = ["align", "coarse_lag", "supposed_phase", "synchronised"]

FINE_RANGE_S = 0.005  # of the phase fit around the coarse lag, whose own error is some 2 ms
SMOOTHING = 6  # parts of an octave, of the magnitude behind the supposed phase
IN_STEP_S = 0.010  # coarse lags that lie so close are one
LEFT_ALONE_S = 0.005  # a delay that does not matter to frames of 32 ms
LARGE_DRIFT_S = 0.0003  # over a recording: from here on it blurs its own measurement
APART_GAIN = 1.1  # in likelihood, that delays of their own must win for the pairs


def align(
    pairs: Sequence[RecordedPair], sample_rate: int, timings: Sequence[Timing] | None = None
) -> tuple[list[AlignedPair], int]:
    """Take delay, drift, polarity and level out of the pairs of one sensor.

    Polarity and drift are those of the sensor and the recorders, so all pairs decide on them
    together, and so they do on the delay where one recorder took them all. A pair that clearly
    has its own is given it. Of a pair whose delay jumps, the longest stretch is left.

    Args:
        pairs: already checked by `check_pair`.
        sample_rate: in Hz, of all of them.
        timings: of the pairs, where they are known.

    Returns:
        The aligned pairs, in the order given, and the polarity that was taken out.
    """
    if timings is None:
        timings = [timing(pair, sample_rate) for pair in pairs]
    measured = [
        _measured_drift(pair, kept, sample_rate) for pair, kept in zip(pairs, timings, strict=True)
    ]
    seconds = [(kept.stop - kept.start) / sample_rate for kept in timings]
    drifts = agreed_drifts(measured, seconds)
    lags = [_clock_lag(kept, drift) for kept, drift in zip(timings, drifts, strict=True)]
    middle, common = _common_lags(lags, sample_rate)
    cuts = [
        _cut(pair, kept, lag, drift)
        for pair, kept, lag, drift in zip(pairs, timings, common, drifts, strict=True)
    ]
    rough = [
        _aligned(pair, cut, 0.0, 1, sample_rate) for pair, cut in zip(pairs, cuts, strict=True)
    ]
    spectra = [pair.spectra for pair in rough]
    # Two suppositions, told apart by how well one filter explains all pairs together:
    # the channels were recorded in step, or each pair has an offset of its own.
    heard = bins_above_noise(rough)
    phase = supposed_phase(CrossSpectra.pooled(spectra), heard)
    polarity, _ = _fit_polarity(spectra, phase, sample_rate)
    starts_s = [_fit_delay(part, phase, sample_rate, polarity)[0] for part in spectra]
    out_of_step = [lag != middle for lag in common]
    found = together(spectra, sample_rate, out_of_step)
    loose = apart(spectra, starts_s, sample_rate)
    if loose.likelihood > APART_GAIN * found.likelihood:
        found = loose
    pooled = CrossSpectra.pooled(
        [
            advanced(part, delay_s, sign, sample_rate)
            for part, delay_s, sign in zip(spectra, found.delays_s, found.signs, strict=True)
        ]
    )
    # Now the spectra are in step, and what is left is one delay and one sign for all.
    polarity, common_s = _fit_polarity([pooled], supposed_phase(pooled, heard), sample_rate)
    aligned = [
        _aligned(pair, cut, delay_s + common_s, polarity * sign, sample_rate)
        for pair, cut, delay_s, sign in zip(pairs, cuts, found.delays_s, found.signs, strict=True)
    ]
    return [
        replace(pair, inverted=sign < 0, jumps=kept.jumps)
        for pair, sign, kept in zip(aligned, found.signs, timings, strict=True)
    ], polarity


def synchronised(pair: RecordedPair, sample_rate: int) -> RecordedPair:
    """Return the pair cut to its overlap, without drift, and in step to some milliseconds.

    A few milliseconds are left as they are: a single pair does not tell its delay finer than that
    from the sensor's phase. DC stays too. Of a pair whose delay jumps, the longest stretch is left.

    Args:
        pair: already checked by `check_pair`.
        sample_rate: in Hz.
    """
    kept = timing(pair, sample_rate)
    (drift,) = agreed_drifts(
        [_measured_drift(pair, kept, sample_rate)], [(kept.stop - kept.start) / sample_rate]
    )
    lag = _clock_lag(kept, drift)
    if not drift and abs(lag) <= LEFT_ALONE_S * sample_rate:
        lag = 0
    cut = _cut(pair, kept, lag, drift)
    length = min(len(pair.air), len(pair.bone))
    air_dc, bone_dc = (float(np.mean(signal[:length])) for signal in (pair.air, pair.bone))
    return replace(pair, air=cut.air.numpy() + air_dc, bone=cut.bone.numpy() + bone_dc)


def supposed_phase(spectra: CrossSpectra, heard: Tensor) -> Tensor:
    """Return the minimum phase that goes with the magnitude of H1, (F,).

    Of H1, for it is the coherent part whose phase is in question.

    Args:
        spectra: of air and bone.
        heard: (F,) of bool; the magnitude of other bins is taken from their neighbours.
    """
    tiny = torch.finfo(spectra.xx.dtype).tiny
    product = spectra.xx * spectra.yy / max(spectra.num_averages, 1.0)
    cross, chance, air = (
        fractional_octave_smooth(values, SMOOTHING)
        for values in (spectra.xy.abs().square(), product, spectra.xx.square())
    )
    # Of n averages, unrelated parts leave 1/n of the product in the square of the cross-spectrum.
    ratio = torch.maximum(cross - chance, 0.1 * chance) / air.clamp(min=tiny)
    ratio = fill_gaps(ratio, heard)
    return minimum_phase(ratio.clamp(min=max(1e-12 * float(ratio.max()), tiny)).log() / 2)


def _common_lags(lags: list[int], sample_rate: int) -> tuple[int, list[int]]:
    """Replace lags close to the median by it: such an offset is that of the recorder."""
    middle = sorted(lags)[len(lags) // 2]
    return middle, [middle if abs(lag - middle) < IN_STEP_S * sample_rate else lag for lag in lags]


@dataclass(frozen=True, eq=False)
class _Cut:
    """Both channels without DC and drift, cut to where they overlap once bone is in step.

    Once a drift is taken out, bone is `lag` samples later everywhere; as recorded it was so at
    the beginning, and `middle` samples on it was later by as much as the clocks had diverged.
    """

    air: Tensor
    bone: Tensor
    lag: int
    drift_ppm: float
    middle: float

    def recorded_delay_s(self, delay_s: float, sample_rate: int) -> float:
        """Return the delay at the middle as recorded, where `delay_s` is left of it here."""
        heard = self.middle + self.lag + delay_s * sample_rate
        return (heard * (1 + 1e-6 * self.drift_ppm) - self.middle) / sample_rate


def _clock_lag(kept: Timing, drift_ppm: float) -> int:
    """Return the lag once the drift is taken out: the moment that bone heard moves with its clock.

    Pairs that one button started together have it in common, whatever their length.
    """
    middle = (kept.start + kept.stop) / 2
    return round((middle + kept.lag) / (1 + 1e-6 * drift_ppm) - middle)


def _cut(pair: RecordedPair, kept: Timing, lag: int, drift_ppm: float) -> _Cut:
    air, bone = without_dc(pair)
    if drift_ppm:
        bone = torch.from_numpy(resample_clock(bone.numpy(), 1e-6 * drift_ppm))
    start = max(kept.start, -lag)
    stop = min(kept.stop, len(bone) - lag)
    middle = (kept.start + kept.stop) / 2
    return _Cut(air[start:stop], bone[start + lag : stop + lag], lag, drift_ppm, middle)


def _measured_drift(pair: RecordedPair, kept: Timing, sample_rate: int) -> Drift:
    """Measure the drift of a pair, of a large one the rest once it is taken out."""
    seconds = (kept.stop - kept.start) / sample_rate
    ppm = 1e6 * kept.slope
    drift = Drift(ppm, math.inf)
    for _ in range(3):
        cut = _cut(pair, kept, _clock_lag(kept, ppm), ppm)
        left = measure_drift(cut.air, cut.bone, sample_rate)
        if not math.isfinite(left.error_ppm):
            return drift
        drift = Drift(ppm + left.ppm, left.error_ppm)
        ppm = drift.ppm
        if abs(left.ppm) * seconds < 1e6 * LARGE_DRIFT_S:
            break
    return drift


def _aligned(
    pair: RecordedPair, cut: _Cut, delay_s: float, polarity: int, sample_rate: int
) -> AlignedPair:
    shift = torch.tensor([-delay_s * sample_rate], dtype=torch.float64)
    air, bone = cut.air, polarity * delay_signal(cut.bone[None], shift)[0]
    speech = active_frames(air[None], sample_rate)
    air_rms, bone_rms = (
        max(float(active_rms(x[None], speech, sample_rate)), 1e-30) for x in (air, bone)
    )
    air, bone = air / air_rms, bone / bone_rms
    num_fft = frame_size(sample_rate)
    power = frame_power(air[None], num_fft, num_fft // 4)[0]
    active = is_active(power)
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
        delay_s=cut.recorded_delay_s(delay_s, sample_rate),
        level_db=20 * math.log10(bone_rms / air_rms),
        seconds=len(air) / sample_rate,
        active_seconds=int(active.sum()) * (num_fft // 4) / sample_rate,
        drift_ppm=cut.drift_ppm,
    )


def _fit_polarity(
    spectra: Sequence[CrossSpectra], phase: Tensor, sample_rate: int
) -> tuple[int, float]:
    """Return the polarity that fits all spectra better, each with its own delay; and the first."""
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
    """Return the delay that fits best beside the supposed phase, and how well it fits."""
    phasor = polarity * torch.exp(1j * (torch.angle(spectra.xy) - phase))
    # The measured phase errs alike per hertz, the supposed one rather per octave: a compromise.
    bins = torch.arange(len(phase), dtype=torch.float64).clamp(min=1)
    weighted = phasor * phase_trust(spectra) / bins.sqrt()
    weighted[[0, -1]] = 0  # no phase there
    return peak_delay(weighted, sample_rate, FINE_RANGE_S)
