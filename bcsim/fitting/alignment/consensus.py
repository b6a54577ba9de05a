"""What pairs of one sensor know about each other's delay and polarity.

The phase that all pairs have in common, whatever it is, says nothing about their differences. So
each pair is held against the measured phase of the others. No band decides alone: every octave
counts about alike, for a sensor's phase below 1 kHz differs between talkers by up to 100 degrees,
which taken for a delay would be a millisecond.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bcsim.dsp.spectra import CrossSpectra, chance_coherence

RANGE_S = 0.020  # how far a pair may be from the others
LOOSE_S = 0.003  # where only some milliseconds are open
ROUND_S = 0.0015  # of one round, where all pairs may move
ROUNDS = 4
OVERSAMPLING = 16  # of the correlation whose peak is sought
# A pair leaves the others for a delay of its own if that explains more than it leaves open, by
# this factor. On the 16 throat pairs the ratio is at most 0.52; with 0.5 ms put in, it exceeds
# 1.0 on 13 of them.
OWN_DELAY = 0.75
# The sign of a pair in step: best agreement upright less best agreement inverted, both within
# so much of the common delay. Of random subsets of the 16 throat pairs, all reach 0.2.
NEAR_S = 0.0001
INVERTED = -0.05
# In likelihood, that one sign turned must win: of random subsets of the 16 throat pairs with the
# right signs, 1.03 at most; of three with a wrong one 1.9.
TURN_GAIN = 1.15


@dataclass(frozen=True)
class Agreement:
    """Delays and signs that bring the pairs in step.

    Args:
        delays_s: by which each bone is later than it should be.
        signs: -1 for the pairs whose polarity is opposite to that of most.
        likelihood: log likelihood ratio, per average, of one filter behind all pairs then.
    """

    delays_s: list[float]
    signs: list[int]
    likelihood: float


def together(
    spectra: Sequence[CrossSpectra], sample_rate: int, loose: Sequence[bool] | None = None
) -> Agreement:
    """Suppose that one recorder took all pairs: they have one delay, but for clear exceptions.

    Args:
        spectra: of the pairs.
        sample_rate: in Hz.
        loose: which pairs are known to be exceptions, and in step to some milliseconds only.
    """
    phasors = _phasors(spectra)
    loose = loose if loose is not None else [False] * len(spectra)
    signs = _common_signs(phasors)
    delays_s = [0.0] * len(spectra)
    for _ in range(ROUNDS if len(spectra) > 1 else 0):
        moved, turned = [], []
        for index, phasor in enumerate(phasors):
            others = _others(phasors, delays_s, signs, index, sample_rate)
            curve = _agreement(phasor, others, sample_rate, LOOSE_S if loose[index] else RANGE_S)
            delay_s, sign = _exception(curve, sample_rate)
            if not loose[index]:
                centre, near = len(curve) // 2, round(NEAR_S * sample_rate * OVERSAMPLING)
                stay, best = abs(float(curve[centre])), float((sign * curve).max())
                if best - stay <= OWN_DELAY * (1 - best):
                    around = curve[centre - near : centre + near + 1]
                    inverted = float(around.max() + around.min()) < INVERTED
                    delay_s, sign = 0.0, -1 if inverted else 1
            moved.append(delay_s)
            turned.append(sign)
        turned = _majority_upright(turned, phasors)
        settled = (moved, turned) == (delays_s, signs)
        delays_s, signs = moved, turned
        if settled:
            break
    found = _agreed(spectra, delays_s, signs, sample_rate)
    # Among few pairs the rounds may settle on a wrong sign, from which no single step leads away.
    for index in range(len(spectra) if len(spectra) > 2 else 0):
        turned = [-sign if k == index else sign for k, sign in enumerate(signs)]
        turned = _majority_upright(turned, phasors)
        other = _agreed(spectra, delays_s, turned, sample_rate)
        if other.likelihood > TURN_GAIN * max(found.likelihood, 0.0):
            found = other
    return found


def apart(
    spectra: Sequence[CrossSpectra], starts_s: Sequence[float], sample_rate: int
) -> Agreement:
    """Suppose that recorders were started apart: each pair has a delay of its own.

    Args:
        spectra: of the pairs.
        starts_s: first ideas of the delays, right to `ROUND_S`.
        sample_rate: in Hz.
    """
    phasors = _phasors(spectra)
    delays_s, signs = list(starts_s), [1] * len(spectra)
    for _ in range(ROUNDS if len(spectra) > 1 else 0):
        steps, turned = [], []
        for index, phasor in enumerate(phasors):
            others = _others(phasors, delays_s, signs, index, sample_rate)
            own = _turned(phasor, delays_s[index], sample_rate)
            curve = _agreement(own, others, sample_rate, ROUND_S)
            step, sign = _exception(curve, sample_rate)
            steps.append(step)
            turned.append(sign)
        middle = sorted(steps)[len(steps) // 2]  # a shift of all is not to be decided here
        delays_s = [d + step - middle for d, step in zip(delays_s, steps, strict=True)]
        signs = _majority_upright(turned, phasors)
    return _agreed(spectra, delays_s, signs, sample_rate)


def advanced(spectra: CrossSpectra, delay_s: float, sign: int, sample_rate: int) -> CrossSpectra:
    """Return the spectra after bone was made earlier by `delay_s` and multiplied with `sign`."""
    return replace(spectra, xy=sign * _turned(spectra.xy, delay_s, sample_rate))


def phase_trust(spectra: CrossSpectra) -> Tensor:
    r"""Return the weight of a bin's phase, :math:`\gamma^2/(1-\gamma^2)`: one over its variance.

    Coherence that chance alone gives once in 20 times counts for nothing, and a bin for at most
    20, lest a noiseless tone decide alone.
    """
    coherence = spectra.coherence
    trust = coherence / (1 - coherence).clamp(min=0.05)
    return torch.where(coherence > chance_coherence(spectra.num_averages), trust, 0.0)


def peak_delay(weighted: Tensor, sample_rate: int, range_s: float) -> tuple[float, float]:
    r"""Return the delay within +-`range_s` that undoes a phase best, and how well.

    It maximises :math:`\sum_f \mathrm{Re}\{w(f) e^{j2\pi f\tau}\}`.

    Args:
        weighted: (F,), phasors by weight.
        sample_rate: in Hz.
        range_s: of the search.
    """
    curve = _curve(weighted, sample_rate, range_s)
    return _place(curve, sample_rate), float(curve.max())


def _agreed(
    spectra: Sequence[CrossSpectra], delays_s: list[float], signs: list[int], sample_rate: int
) -> Agreement:
    pooled = CrossSpectra.pooled(
        [
            advanced(part, delay_s, sign, sample_rate)
            for part, delay_s, sign in zip(spectra, delays_s, signs, strict=True)
        ]
    )
    likelihood = -float(torch.log1p(-pooled.coherence.clamp(max=1 - 1e-9)).sum())
    return Agreement(delays_s, signs, likelihood)


def _phasors(spectra: Sequence[CrossSpectra]) -> list[Tensor]:
    """Return each pair's phase as phasors, weighted by trust, each octave about alike."""
    phasors = []
    for part in spectra:
        bins = torch.arange(len(part.xx), dtype=torch.float64).clamp(min=1)
        weight = (phase_trust(part) / bins).sqrt()
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


def _others(
    phasors: Sequence[Tensor],
    delays_s: Sequence[float],
    signs: Sequence[int],
    index: int,
    sample_rate: int,
) -> Tensor:
    """Return the phase of all pairs but one, as unit phasors."""
    total = torch.zeros_like(phasors[0])
    for other, phasor in enumerate(phasors):
        if other != index:
            total = total + signs[other] * _turned(phasor, delays_s[other], sample_rate)
    return torch.polar(torch.ones_like(total.real), torch.angle(total))


def _agreement(phasor: Tensor, others: Tensor, sample_rate: int, range_s: float) -> Tensor:
    """Return how well a pair agrees with the others at every delay, between -1 and 1."""
    return _curve(phasor * others.conj(), sample_rate, range_s) / phasor.abs().sum().clamp(
        min=1e-30
    )


def _exception(curve: Tensor, sample_rate: int) -> tuple[float, int]:
    """Return the delay and the sign that a pair would have for itself.

    Half a period of delay looks much like an inversion, so only a clear case counts as one.
    """
    upright, inverted = float(curve.max()), float(-curve.min())
    sign = -1 if inverted - upright > 1 - inverted else 1
    return _place(sign * curve, sample_rate), sign


def _turned(values: Tensor, delay_s: float, sample_rate: int) -> Tensor:
    frequencies = torch.linspace(0, sample_rate / 2, len(values), dtype=torch.float64)
    return values * torch.exp(2j * math.pi * frequencies * delay_s)


def _curve(weighted: Tensor, sample_rate: int, range_s: float) -> Tensor:
    size = OVERSAMPLING * 2 * (len(weighted) - 1)
    score = torch.fft.irfft(weighted, size) * size / 2
    reach = min(round(range_s * sample_rate * OVERSAMPLING), size // 2 - 1)
    return torch.cat([score[-reach:], score[: reach + 1]])


def _place(curve: Tensor, sample_rate: int) -> float:
    """Return the delay of the maximum, by the parabola through three points."""
    best = int(curve.argmax())
    offset = 0.0
    if 0 < best < len(curve) - 1:
        before, at, after = (float(curve[best + k]) for k in (-1, 0, 1))
        curvature = before - 2 * at + after
        offset = (before - after) / (2 * curvature) if curvature < 0 else 0.0
    return (best + offset - len(curve) // 2) / (OVERSAMPLING * sample_rate)
