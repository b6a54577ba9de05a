"""Delay, polarity and level between the two channels of a pair.

Why not plain correlation, or its phase transform: a body-conduction sensor shares only a band
with the air microphone (a throat microphone some 150-650 Hz), and in that band its own phase is
not flat. So the phase that goes with the magnitude (minimum phase) is taken out first, and the
rest is fitted by a delay where, and as far as, the channels are coherent. Which band that is, the
recordings say.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bcsim.dsp.delay import delay_signal
from bcsim.dsp.fir import fast_length
from bcsim.dsp.levels import active_frames, active_rms
from bcsim.dsp.spectra import (
    CrossSpectra,
    chance_coherence,
    fill_gaps,
    fractional_octave_smooth,
    frame_power,
    minimum_phase,
)
from bcsim.sensors.estimators.noise_floor import estimate_noise_floor
from bcsim.sensors.pairs import AlignedPair, RecordedPair, frame_size, heard_bins

ACTIVE_RANGE_DB = 35.0
MAX_OFFSET_S = 1.2  # of the coarse search
FINE_RANGE_S = 0.020  # of the phase fit around it
COARSE_SECONDS = 60.0  # of signal that the coarse search looks at
SMOOTHING = 6  # parts of an octave, of the magnitude behind the supposed phase
IN_STEP_S = 0.010  # coarse lags that lie so close are one
STEP_S = 0.0015  # how far a pair may move in one round of refinement
OVERSAMPLING = 16  # of the correlation whose peak is sought


def align(pairs: Sequence[RecordedPair], sample_rate: int) -> tuple[list[AlignedPair], int]:
    """Take delay, polarity and level out of the pairs of one sensor.

    Polarity is that of the sensor, so all pairs decide on it together; the delay is each pair's.

    Args:
        pairs: already checked by `check_pair`.
        sample_rate: in Hz, of all of them.

    Returns:
        The aligned pairs, in the order given, and the polarity that was taken out.
    """
    lags = _common_lags([coarse_lag(pair, sample_rate) for pair in pairs], sample_rate)
    cuts = [_cut(pair, lag) for pair, lag in zip(pairs, lags, strict=True)]
    rough = [
        _aligned(pair, cut, 0.0, 1, sample_rate) for pair, cut in zip(pairs, cuts, strict=True)
    ]
    spectra = [pair.spectra for pair in rough]
    # Two suppositions, told apart by how well one filter explains all pairs together:
    # the channels were recorded in step, or each pair has an offset of its own.
    heard = heard_bins(rough)
    phase = supposed_phase(CrossSpectra.pooled(spectra), heard)
    polarity, _ = _fit_polarity(spectra, phase, sample_rate)
    starts = [
        [0.0] * len(spectra),
        [_fit_delay(part, phase, sample_rate, polarity)[0] for part in spectra],
    ]
    fits = [_refine(spectra, start, sample_rate) for start in starts]
    pooled, delays_s = max(fits, key=lambda fit: _likelihood(fit[0]))
    # Now the spectra are in step, and what is left is one delay and one sign for all.
    polarity, common_s = _fit_polarity([pooled], supposed_phase(pooled, heard), sample_rate)
    return [
        _aligned(pair, cut, delay_s + common_s, polarity, sample_rate)
        for pair, cut, delay_s in zip(pairs, cuts, delays_s, strict=True)
    ], polarity


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


def _common_lags(lags: list[int], sample_rate: int) -> list[int]:
    """Replace lags close to the median by it: such an offset is that of the recorder."""
    middle = sorted(lags)[len(lags) // 2]
    return [middle if abs(lag - middle) < IN_STEP_S * sample_rate else lag for lag in lags]


def _refine(
    spectra: Sequence[CrossSpectra], delays_s: list[float], sample_rate: int
) -> tuple[CrossSpectra, list[float]]:
    """Hold each pair against the measured phase of all, and return their pool and delays.

    A phase that all pairs have in common, whatever it is, says nothing about their differences.
    """

    def pool() -> CrossSpectra:
        parts = zip(spectra, delays_s, strict=True)
        return CrossSpectra.pooled([_advanced(part, d, sample_rate) for part, d in parts])

    for _ in range(4 if len(spectra) > 1 else 0):
        pooled = pool()
        phase, trust = torch.angle(pooled.xy), _trust(pooled)
        advanced = [
            _advanced(part, d, sample_rate) for part, d in zip(spectra, delays_s, strict=True)
        ]
        steps = [_fit_delay(part, phase, sample_rate, 1, trust, STEP_S)[0] for part in advanced]
        middle = sorted(steps)[len(steps) // 2]  # a shift of all is not to be decided here
        delays_s = [d + step - middle for d, step in zip(delays_s, steps, strict=True)]
    return pool(), delays_s


def _likelihood(spectra: CrossSpectra) -> float:
    """Return the log likelihood ratio, per average, that one filter made bone from air."""
    return -float(torch.log1p(-spectra.coherence.clamp(max=1 - 1e-9)).sum())


@dataclass(frozen=True, eq=False)
class _Cut:
    """Both channels without DC, cut to where they overlap once bone is `lag` samples earlier."""

    air: Tensor
    bone: Tensor
    lag: int


def _cut(pair: RecordedPair, lag: int) -> _Cut:
    air, bone = _without_dc(pair)
    start, stop = max(0, -lag), len(air) - max(0, lag)
    return _Cut(air[start:stop], bone[start + lag : stop + lag], lag)


def _without_dc(pair: RecordedPair) -> tuple[Tensor, Tensor]:
    length = min(len(pair.air), len(pair.bone))
    air, bone = (
        torch.from_numpy(np.array(samples[:length], dtype=np.float64))
        for samples in (pair.air, pair.bone)
    )
    return air - air.mean(), bone - bone.mean()


def coarse_lag(pair: RecordedPair, sample_rate: int) -> int:
    r"""Find by how many samples bone is later than air, to within some milliseconds.

    In each octave, whitened, the two channels have the analytic cross-correlation
    :math:`\rho_b(\tau)`, whose magnitude knows neither phase nor polarity. A Gaussian signal of
    n samples has the log likelihood ratio :math:`-n\log(1-|\rho_b|^2)` of being shared; the lag
    with the greatest sum over octaves wins. Octaves without coherence add next to nothing.

    Args:
        pair: as recorded.
        sample_rate: in Hz.
    """
    air, bone = _without_dc(pair)
    length = min(len(air), round(COARSE_SECONDS * sample_rate))
    if length < len(air):  # where the most speech is
        energy = torch.nn.functional.pad(air.square().cumsum(0), (1, 0))
        start = int((energy[length:] - energy[:-length]).argmax())
        air, bone = air[start : start + length], bone[start : start + length]
    max_lag = min(round(MAX_OFFSET_S * sample_rate), length // 2)
    size = fast_length(length + max_lag)
    x, y = (_whitened(torch.fft.rfft(signal, size)) for signal in (air, bone))
    frequencies = torch.fft.rfftfreq(size, 1 / sample_rate, dtype=torch.float64)
    likelihood = torch.zeros(2 * max_lag + 1, dtype=torch.float64)
    low = 100.0
    while low < 0.9 * sample_rate / 2:
        high = min(2 * low, 0.95 * sample_rate / 2)
        band = slice(*torch.searchsorted(frequencies, torch.tensor([low, high])).tolist())
        product = x.new_zeros(size)
        product[band] = y[band] * x[band].conj()
        norm = x[band].abs().square().sum() * y[band].abs().square().sum()
        correlation = torch.fft.ifft(product) * size
        correlation = torch.cat([correlation[-max_lag:], correlation[: max_lag + 1]])
        shared = (correlation.abs().square() / norm.clamp(min=1e-30)).clamp(max=1 - 1e-9)
        likelihood -= (band.stop - band.start) * torch.log1p(-shared)
        low = high
    return int(likelihood.argmax()) - max_lag


def _whitened(spectrum: Tensor) -> Tensor:
    """Divide by the magnitude, smoothed over a sixth of an octave."""
    smooth = fractional_octave_smooth(spectrum.abs().square(), 6).clamp(min=0).sqrt()
    return spectrum / smooth.clamp(min=1e-12 * float(smooth.max()) + 1e-300)


def _aligned(
    pair: RecordedPair, cut: _Cut, delay_s: float, polarity: int, sample_rate: int
) -> AlignedPair:
    shift = torch.tensor([-delay_s * sample_rate], dtype=torch.float64)
    air, bone = cut.air, polarity * delay_signal(cut.bone[None], shift)[0]
    speech = active_frames(air[None])
    air_rms, bone_rms = (max(float(active_rms(x[None], speech)), 1e-30) for x in (air, bone))
    air, bone = air / air_rms, bone / bone_rms
    num_fft = frame_size(sample_rate)
    power = frame_power(air[None], num_fft, num_fft // 4)[0]
    active = power > torch.quantile(power, 0.98) * 10 ** (-ACTIVE_RANGE_DB / 10)
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
        delay_s=cut.lag / sample_rate + delay_s,
        level_db=20 * math.log10(bone_rms / air_rms),
        seconds=len(air) / sample_rate,
        active_seconds=int(active.sum()) * (num_fft // 4) / sample_rate,
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
    spectra: CrossSpectra,
    phase: Tensor,
    sample_rate: int,
    polarity: int,
    weight: Tensor | float = 1.0,
    range_s: float = FINE_RANGE_S,
) -> tuple[float, float]:
    r"""Return the delay within +-`range_s` that fits best, and how well it fits.

    It maximises :math:`\sum_f w(f)\,\mathrm{Re}\{p\,u(f) e^{-j\phi(f)} e^{j2\pi f\tau}\}` with u
    the cross-spectrum's phase as a phasor, by a finely interpolated inverse transform.
    """
    phasor = polarity * torch.exp(1j * (torch.angle(spectra.xy) - phase))
    # The measured phase errs alike per hertz, the supposed one rather per octave: a compromise.
    bins = torch.arange(len(phase), dtype=torch.float64).clamp(min=1)
    weighted = phasor * _trust(spectra) * weight / bins.sqrt()
    weighted[[0, -1]] = 0  # no phase there
    size = OVERSAMPLING * 2 * (len(phase) - 1)
    score = torch.fft.irfft(weighted, size) * size / 2
    reach = round(range_s * sample_rate * OVERSAMPLING)
    score = torch.cat([score[-reach:], score[: reach + 1]])
    best = int(score.argmax())
    offset = 0.0
    if 0 < best < len(score) - 1:  # the peak of the parabola through three points
        before, at, after = (float(score[best + k]) for k in (-1, 0, 1))
        curvature = before - 2 * at + after
        offset = (before - after) / (2 * curvature) if curvature < 0 else 0.0
    return (best + offset - reach) / (OVERSAMPLING * sample_rate), float(score[best])


def _trust(spectra: CrossSpectra) -> Tensor:
    r"""Return the weight of a bin's phase, :math:`\gamma^2/(1-\gamma^2)`: one over its variance.

    Coherence that chance alone gives once in 20 times counts for nothing, and a bin for at most
    20, lest a noiseless tone decide alone.
    """
    chance = chance_coherence(spectra.num_averages)
    coherence = spectra.coherence
    trust = coherence / (1 - coherence).clamp(min=0.05)
    return torch.where(coherence > chance, trust, 0.0)


def _advanced(spectra: CrossSpectra, delay_s: float, sample_rate: int) -> CrossSpectra:
    """Return the spectra after bone was made earlier by `delay_s`."""
    frequencies = torch.linspace(0, sample_rate / 2, len(spectra.xx), dtype=torch.float64)
    return replace(spectra, xy=spectra.xy * torch.exp(2j * math.pi * frequencies * delay_s))
