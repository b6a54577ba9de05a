"""How a sensor differs from wearer to wearer: the level, and the shape of the response."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bcsim.dsp.spectra import fill_gaps, fractional_octave_smooth
from bcsim.fitting.pairs import AlignedPair
from bcsim.fitting.smoothing import measurable_bins
from bcsim.sensors.profile import MAX_COMPONENTS

SPREAD_SMOOTHING = 3  # differences between utterances are smoothed over 1/3 octave
MIN_TALKERS = 3  # with fewer, the spread is that between utterances
LEAST_AIR = 1e-8  # of its strongest bin: below, air was recorded at a lower rate, and says nothing
ROUNDS = 10  # gains and shape are fitted in turns so often


def coupling_db(pairs: Sequence[AlignedPair]) -> NDArray[np.float64]:
    """Return the gain of each recording's response relative to the shape of all, in dB.

    The level of bone relative to air also changes with what is said: a sensor that picks up little
    above 500 Hz is quiet in fricatives. So the shape (the pooled power ratio), and the gain with
    which it gives the power of each recording, are fitted in turns. On average over recordings,
    gain and level are the same.
    """
    speech = torch.stack([(pair.spectra.yy - pair.noise_power).clamp(min=0) for pair in pairs])
    air = torch.stack([pair.spectra.xx for pair in pairs])
    weight = torch.tensor([[pair.spectra.num_averages] for pair in pairs], dtype=air.dtype)
    tiny = torch.finfo(air.dtype).tiny
    offset_db = torch.zeros(len(pairs), dtype=air.dtype)
    for _ in range(ROUNDS):
        equal = speech * 10 ** (-offset_db[:, None] / 10)
        power = (weight * equal).sum(dim=0) / (weight * air).sum(dim=0).clamp(min=tiny)
        expected = (power * air).sum(dim=1).clamp(min=tiny)
        error_db = 10 * (equal.sum(dim=1).clamp(min=tiny) / expected).log10()
        offset_db += error_db - error_db.mean()
    return np.array([pair.level_db for pair in pairs]) + offset_db.numpy()


def ratio_curves(pairs: Sequence[AlignedPair]) -> tuple[Tensor, Tensor]:
    """Return the response of each recording of equal level, and how certain it is.

    Returns:
        Noise-subtracted power ratios in dB (N, F), smoothed over third-octaves, and certainties
        (N, F), 0 to 1: the part of the sensor's power that is speech.
    """
    curves, certainties = [], []
    above_noise = measurable_bins(pairs)
    for pair in pairs:
        spectra = pair.spectra
        speech, total, air = (
            fractional_octave_smooth(values, SPREAD_SMOOTHING)
            for values in ((spectra.yy - pair.noise_power).clamp(min=0), spectra.yy, spectra.xx)
        )
        tiny = torch.finfo(air.dtype).tiny
        is_known = air > LEAST_AIR * air.max()
        ratio = torch.maximum(speech, 0.01 * total) / air.clamp(min=tiny)
        ratio = torch.where(is_known, ratio, 1.0)
        certainty = torch.where(is_known, (speech / total.clamp(min=tiny)).clamp(0, 1), 0.0)
        curves.append(10 * fill_gaps(ratio, above_noise).clamp(min=1e-20).log10())
        certainties.append(fill_gaps(certainty, above_noise))
    return torch.stack(curves), torch.stack(certainties)


@dataclass(frozen=True, eq=False)
class Spread:
    """How the response's shape differs between wearers.

    Args:
        std_db: (F,), standard deviation in dB.
        components_db: (K, F), smooth components in dB, each scaled to one standard deviation of
            its score.
        between: what the spread was measured between: "talkers", "utterances", or "prior" where
            it was taken from another sensor.
    """

    std_db: NDArray[np.float64]
    components_db: NDArray[np.float64]
    between: str


def measured_spread(curves_db: Tensor, certainty: Tensor, talkers: Sequence[str | None]) -> Spread:
    r"""Return the spread between talkers, or between utterances where talkers are not named.

    With talkers named, utterances of one talker show how much of the differences is no property of
    the wearer - other words, another fit of the sensor, errors of estimation. By the method of
    moments, with :math:`n_t` utterances of talker t and the covariance :math:`S_w` within talkers,

    .. math:: S_b = \frac{1}{T-1}\sum_t (m_t - m)(m_t - m)^T - S_w\,\frac1T\sum_t \frac1{n_t}

    of which the part with positive variances is kept.

    Each difference of the curves (N, F) counts by its certainty (N, F), 0 to 1.
    """
    mean_db = (certainty * curves_db).sum(0) / certainty.sum(0).clamp(min=1e-12)
    difference = certainty * (curves_db - mean_db)
    names = sorted({talker for talker in talkers if talker is not None})
    if len(names) < MIN_TALKERS or None in talkers:
        scatter, count = difference / math.sqrt(max(len(difference) - 1, 1)), len(difference)
        return _components(scatter, scatter[:0], count - 1, "utterances")
    groups = [difference[[t == name for t in talkers]] for name in names]
    talker_means = torch.stack([group.mean(dim=0) for group in groups])
    between = (talker_means - talker_means.mean(dim=0)) / math.sqrt(len(names) - 1)
    freedom = len(difference) - len(names)
    share = sum(1 / len(group) for group in groups) / len(names)
    within = torch.cat([group - group.mean(dim=0) for group in groups])
    within = within * math.sqrt(share / freedom) if freedom else within[:0]
    return _components(between, within, len(names) - 1, "talkers")


def _components(scatter: Tensor, error: Tensor, rank: int, between: str) -> Spread:
    """Return the components of scatter' scatter - error' error, within the span of `scatter`."""
    _, scale, basis = torch.linalg.svd(scatter, full_matrices=False)
    basis = basis[: min(rank, len(basis))]
    scores = error @ basis.T
    variance = torch.diag(scale[: len(basis)].square()) - scores.T @ scores
    values, vectors = torch.linalg.eigh(variance)
    order = values.argsort(descending=True)[:MAX_COMPONENTS]
    order = order[values[order] > 0]
    components = values[order, None].sqrt() * (vectors[:, order].T @ basis)
    # The sign of a component is arbitrary; fixed, equal recordings give equal files.
    components *= torch.where(components.sum(dim=1, keepdim=True) < 0, -1.0, 1.0)
    return Spread(components.square().sum(0).sqrt().numpy(), components.numpy(), between)


def expected_spread(frequencies_hz: NDArray[np.float64]) -> Spread:
    """Return what is expected of an unknown body-conduction sensor, where recordings are few.

    Smooth over an octave, and about the level of speech: below 1 dB at 250 Hz, 5.5 dB at 4 kHz.
    Sixteen recordings of 7 talkers with a throat microphone showed about as much
    (`assets/sensors/vibravox_throat.sensor`).
    """
    octaves = np.log2(np.maximum(frequencies_hz, 50.0) / 1000)
    std_db = np.interp(octaves, np.log2([0.1, 4.0]), [2.0, 5.0])
    correlation = np.exp(-((octaves[:, None] - octaves) ** 2) / 2)
    # On a grid of bins, high octaves have most of the points: weigh each by its width in octaves.
    weight = np.sqrt(np.maximum(np.gradient(octaves), 1e-6))
    covariance = std_db[:, None] * correlation * std_db
    values, vectors = np.linalg.eigh(weight[:, None] * covariance * weight)
    components = (vectors * np.sqrt(np.maximum(values, 0))).T[::-1][:MAX_COMPONENTS] / weight
    components *= np.where(components.sum(axis=1, keepdims=True) < 0, -1.0, 1.0)
    # The level is drawn apart: take out what moves speech at the sensor, most of it near 250 Hz.
    speech = np.exp(-((octaves + 2) ** 2)) * np.maximum(np.gradient(octaves), 1e-6)
    components -= (components @ speech / speech.sum())[:, None]
    return Spread(np.sqrt((components**2).sum(axis=0)), components, "prior")
