"""Relative delay and polarity of the pairs of one sensor.

The phase that all pairs have in common, whatever it is, does not change how they differ. So each
pair is compared with the measured phase of the other pairs. No band decides alone: every octave
has about the same weight, for a sensor's phase below 1 kHz differs between talkers by up to 100
degrees, which taken for a delay would be a millisecond.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from bcsim.dsp.spectra import CrossSpectra, chance_coherence

RANGE_S = 0.020  # largest delay of a pair relative to the others
UNSYNCHRONISED_RANGE_S = 0.003  # the same for a pair whose coarse lag was taken out by itself
ROUND_RANGE_S = 0.0015  # largest step of one round in which every pair may move
ROUNDS = 4
OVERSAMPLING = 16  # of the correlation whose peak is sought
# A pair gets an individual delay if the gain in agreement exceeds what then still lacks of full
# agreement, times this. On the 16 throat pairs the ratio is at most 0.52; with a delay of 0.5 ms
# put in, it exceeds 1.0 on 13 of them.
INDIVIDUAL_DELAY = 0.75
# A pair with the common delay is inverted if its best agreement upright and its best agreement
# inverted, both within NEAR_S of that delay, add up to less than INVERTED. Of random subsets of
# the 16 throat pairs, all reach 0.2.
NEAR_S = 0.0001
INVERTED = -0.05
# Factor in likelihood from which one more sign is turned: of random subsets of the 16 throat pairs
# with the right signs, 1.03 at most; of three with a wrong one 1.9.
TURN_GAIN = 1.15


@dataclass(frozen=True, eq=False)
class Agreement:
    """Delays and signs that bring the pairs into agreement.

    Args:
        delays_s: delay of each pair's bone in seconds, to be taken out.
        signs: -1 for each pair whose polarity is opposite to that of most, else 1.
        pooled: average of the pairs' spectra without these delays and signs.
    """

    delays_s: list[float]
    signs: list[int]
    pooled: CrossSpectra

    @cached_property
    def likelihood(self) -> float:
        """Log likelihood ratio, per average, of one filter behind all pairs."""
        return -float(torch.log1p(-self.pooled.coherence.clamp(max=1 - 1e-9)).sum())


def common_delay(
    spectra: Sequence[CrossSpectra], sample_rate: int, synchronised: Sequence[bool]
) -> Agreement:
    """Find delays and signs where one recorder took all pairs: one delay, with clear exceptions.

    A pair that is not `synchronised` has a delay of its own, taken out to some milliseconds.
    """
    phasors = octave_phasors(spectra)
    signs = _common_signs(phasors)
    delays_s = [0.0] * len(spectra)
    for _ in range(ROUNDS if len(spectra) > 1 else 0):
        before = (list(delays_s), list(signs))
        moved = _moved(phasors, delays_s, signs, sample_rate)
        # One by one: two pairs that both moved to where the other was would change places.
        for index, phasor in enumerate(phasors):
            others = _phase([*moved[:index], *moved[index + 1 :]])
            range_s = RANGE_S if synchronised[index] else UNSYNCHRONISED_RANGE_S
            curve = _agreement_curve(phasor, others, sample_rate, range_s)
            decide = _common_or_individual if synchronised[index] else _individual
            delays_s[index], signs[index] = decide(curve, sample_rate)
            moved[index] = signs[index] * _advanced(phasor, delays_s[index], sample_rate)
        signs = _majority_upright(signs, phasors)
        if (delays_s, signs) == before:
            break
    best = _agreement(spectra, delays_s, signs, sample_rate)
    # Among few pairs the rounds may settle on a wrong sign, from which no single step leads away.
    for index in range(len(spectra) if len(spectra) > 2 else 0):
        turned = [-sign if k == index else sign for k, sign in enumerate(signs)]
        turned = _majority_upright(turned, phasors)
        other = _agreement(spectra, delays_s, turned, sample_rate)
        if other.likelihood > TURN_GAIN * max(best.likelihood, 0.0):
            best = other
    return best


def individual_delays(
    spectra: Sequence[CrossSpectra], starts_s: Sequence[float], sample_rate: int
) -> Agreement:
    """Find delays and signs where the two recorders of each pair were started separately.

    `starts_s` are first estimates of the delays in seconds, right to `ROUND_RANGE_S`.
    """
    phasors = octave_phasors(spectra)
    delays_s, signs = list(starts_s), [1] * len(spectra)
    for _ in range(ROUNDS if len(spectra) > 1 else 0):
        before_s = list(delays_s)
        moved = _moved(phasors, delays_s, signs, sample_rate)
        for index, phasor in enumerate(phasors):
            others = _phase([*moved[:index], *moved[index + 1 :]])
            own = _advanced(phasor, delays_s[index], sample_rate)
            curve = _agreement_curve(own, others, sample_rate, ROUND_RANGE_S)
            step_s, signs[index] = _individual(curve, sample_rate)
            delays_s[index] += step_s
            moved[index] = signs[index] * _advanced(phasor, delays_s[index], sample_rate)
        steps = [delay - before for delay, before in zip(delays_s, before_s, strict=True)]
        median = sorted(steps)[len(steps) // 2]  # a delay of all pairs cannot be told here
        delays_s = [delay_s - median for delay_s in delays_s]
        signs = _majority_upright(signs, phasors)
    return _agreement(spectra, delays_s, signs, sample_rate)


def advanced(spectra: CrossSpectra, delay_s: float, sign: int, sample_rate: int) -> CrossSpectra:
    """Return the spectra after bone was made earlier by `delay_s` and multiplied with `sign`."""
    return replace(spectra, xy=sign * _advanced(spectra.xy, delay_s, sample_rate))


def phase_weight(spectra: CrossSpectra) -> Tensor:
    r"""Return the weight of a bin's phase, :math:`\gamma^2/(1-\gamma^2)`: one over its variance.

    The weight is 0 where chance alone would give as much coherence once in 20 times, and at most
    20, lest a noiseless tone decide alone.
    """
    coherence = spectra.coherence
    weight = coherence / (1 - coherence).clamp(min=0.05)
    return torch.where(coherence > chance_coherence(spectra.num_averages), weight, 0.0)


def peak_delay(weighted: Tensor, sample_rate: int, range_s: float) -> tuple[float, float]:
    r"""Return the delay within +-`range_s` that undoes a phase best, and how well.

    Of `weighted`, (F,), phasors times weights, it maximises
    :math:`\sum_f \mathrm{Re}\{w(f) e^{j2\pi f\tau}\}`.
    """
    curve = _curve(weighted, sample_rate, range_s)
    return _peak_s(curve, sample_rate), float(curve.max())


def _agreement(
    spectra: Sequence[CrossSpectra], delays_s: list[float], signs: list[int], sample_rate: int
) -> Agreement:
    upright = [
        advanced(part, delay_s, sign, sample_rate)
        for part, delay_s, sign in zip(spectra, delays_s, signs, strict=True)
    ]
    return Agreement(delays_s, signs, CrossSpectra.pooled(upright))


def octave_phasors(spectra: Sequence[CrossSpectra]) -> list[Tensor]:
    """Return each pair's phase as weighted phasors, every octave of about the same weight."""
    phasors = []
    for part in spectra:
        bins = torch.arange(len(part.xx), dtype=torch.float64).clamp(min=1)
        weight = (phase_weight(part) / bins).sqrt()
        weight[[0, -1]] = 0  # no phase there
        phasors.append(torch.polar(weight, torch.angle(part.xy)))
    return phasors


def _common_signs(phasors: Sequence[Tensor]) -> list[int]:
    """Return the signs with which the pairs agree best: those of the leading eigenvector."""
    stack = torch.stack([phasor / phasor.norm().clamp(min=1e-30) for phasor in phasors])
    _, vectors = torch.linalg.eigh((stack @ stack.conj().T).real)
    leading = vectors[:, -1].tolist()
    return _majority_upright([-1 if value < 0 else 1 for value in leading], phasors)


def _majority_upright(signs: list[int], phasors: Sequence[Tensor]) -> list[int]:
    votes = sum(signs) or sum(
        sign * float(phasor.abs().sum()) for sign, phasor in zip(signs, phasors, strict=True)
    )
    return signs if votes >= 0 else [-sign for sign in signs]


def _moved(
    phasors: Sequence[Tensor], delays_s: list[float], signs: list[int], sample_rate: int
) -> list[Tensor]:
    """Return the phasors of each pair without its delay and sign."""
    return [
        sign * _advanced(phasor, delay_s, sample_rate)
        for phasor, delay_s, sign in zip(phasors, delays_s, signs, strict=True)
    ]


def _phase(phasors: Sequence[Tensor]) -> Tensor:
    """Return the phase of the sum of phasors, as unit phasors."""
    total = sum(phasors[1:], phasors[0])
    return torch.polar(torch.ones_like(total.real), torch.angle(total))


def _agreement_curve(phasor: Tensor, others: Tensor, sample_rate: int, range_s: float) -> Tensor:
    """Return the agreement of a pair with the others at every delay, between -1 and 1."""
    weight = phasor.abs().sum().clamp(min=1e-30)
    return _curve(phasor * others.conj(), sample_rate, range_s) / weight


def _common_or_individual(curve: Tensor, sample_rate: int) -> tuple[float, int]:
    """Return delay 0 and the sign there; the delay and sign of `_individual` if far better."""
    delay_s, sign = _individual(curve, sample_rate)
    centre, near = len(curve) // 2, round(NEAR_S * sample_rate * OVERSAMPLING)
    at_common, best = abs(float(curve[centre])), float((sign * curve).max())
    if best - at_common > INDIVIDUAL_DELAY * (1 - best):
        return delay_s, sign
    around = curve[centre - near : centre + near + 1]
    return 0.0, -1 if float(around.max() + around.min()) < INVERTED else 1


def _individual(curve: Tensor, sample_rate: int) -> tuple[float, int]:
    """Return the delay and the sign at which a pair agrees best with the others.

    Half a period of delay looks much like an inversion, so only a clear case counts as inverted.
    """
    upright, inverted = float(curve.max()), float(-curve.min())
    sign = -1 if inverted - upright > 1 - inverted else 1
    return _peak_s(sign * curve, sample_rate), sign


def _advanced(values: Tensor, delay_s: float, sample_rate: int) -> Tensor:
    frequencies = torch.linspace(0, sample_rate / 2, len(values), dtype=torch.float64)
    return values * torch.exp(2j * math.pi * frequencies * delay_s)


def _curve(weighted: Tensor, sample_rate: int, range_s: float) -> Tensor:
    size = OVERSAMPLING * 2 * (len(weighted) - 1)
    score = torch.fft.irfft(weighted, size) * size / 2
    half_length = min(round(range_s * sample_rate * OVERSAMPLING), size // 2 - 1)
    return torch.cat([score[-half_length:], score[: half_length + 1]])


def _peak_s(curve: Tensor, sample_rate: int) -> float:
    """Return the delay of the maximum, by the parabola through three points."""
    best = int(curve.argmax())
    offset = 0.0
    if 0 < best < len(curve) - 1:
        before, at, after = (float(curve[best + k]) for k in (-1, 0, 1))
        curvature = before - 2 * at + after
        offset = (before - after) / (2 * curvature) if curvature < 0 else 0.0
    return (best + offset - len(curve) // 2) / (OVERSAMPLING * sample_rate)
