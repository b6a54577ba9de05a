"""The uncertainty of a fitted response's magnitude: the bootstrap over recordings.

`TransferFunction.standard_error` supposes one filter for all speech and all wearers, and noise for
the rest. Recordings differ by more than that: by what is said, by the talker, by how the sensor
sits. So recordings are drawn anew, and the response is estimated from each draw.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bcsim.dsp.bootstrap import num_clusters, percentile_interval, resampled_counts
from bcsim.dsp.spectra import CrossSpectra, fill_gaps, fractional_octave_smooth
from bcsim.fitting.estimation import SMOOTHING
from bcsim.fitting.estimators.base import Average, Estimator, SpectralEstimator, spectra_of
from bcsim.fitting.estimators.power_ratio import PowerRatio
from bcsim.fitting.pairs import AlignedPair

NUM_DRAWS = 1000
MIN_RECORDINGS = 4  # with fewer, what differs between them says nothing about the next one
BLOCK_S = 0.5  # of speech a part: some syllables, so that parts are hardly related
MAX_PARTS = 1000  # of a recording: those of an hour are longer, and take less memory
LOWEST_DB = -100.0  # below the response's maximum, as far as a fit follows it


def bootstrap_interval_db(
    pairs: Sequence[AlignedPair],
    estimator: Estimator,
    above_noise: Tensor,
    smoothing: float = SMOOTHING,
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return the 95 % interval of the magnitude, (2, F), in dB relative to the estimate.

    Talkers are drawn with replacement, then the utterances of each; utterances alone where there
    is one talker, or none is named. With fewer than 4 utterances, parts of half a second of active
    frames are drawn instead, longer ones of long recordings: the interval is then that of this
    talker and wearing.

    The spectra of each recording are formed once and pooled anew for each draw, so that a draw
    costs next to nothing. Estimators that are no function of pooled spectra (the
    frequency-response curve, the Wiener filter) get the interval of the power ratio, in which
    the same recordings differ in the same way.

    Bins that are not `above_noise` (F,) are taken from their neighbours, and the magnitude is
    smoothed over 1/`smoothing` octave, as in the fit of the pairs, which are equal in level.

    Returns:
        Lower and upper end of the interval, as a rule below and above 0 dB; NaN for a single part
        of half a second, of which nothing is known.
    """
    spectral = estimator if isinstance(estimator, SpectralEstimator) else PowerRatio()
    samples = _samples(pairs, spectral)
    groups = [group for group, _, _ in samples]
    if len(samples) < 2:
        return np.full((2, len(above_noise)), np.nan)
    counts = torch.from_numpy(resampled_counts(groups, num_draws, seed))
    whole = counts.new_ones(1, len(samples))
    estimate_db, drawn_db = (
        _magnitude_db(spectral, *_pooled(samples, number), above_noise, smoothing)
        for number in (whole, counts)
    )
    draws = (drawn_db - estimate_db).numpy()
    return percentile_interval(draws, num_clusters(groups))


_Sample = tuple[str | None, CrossSpectra, Tensor]  # talker, spectra, noise in yy


def _samples(pairs: Sequence[AlignedPair], estimator: SpectralEstimator) -> list[_Sample]:
    """Return what the bootstrap draws from: recordings, or parts of them where they are few."""
    average = estimator.average
    if len(pairs) >= MIN_RECORDINGS:
        samples = [(pair.talker, spectra_of(pair, average), pair.noise_power) for pair in pairs]
    else:  # parts without regard to talkers: two of them say nothing about a third
        samples = [
            (None, part, pair.noise_power) for pair in pairs for part in _parts(pair, average)
        ]
    return [sample for sample in samples if sample[1].num_averages > 0]


def _parts(pair: AlignedPair, average: Average) -> list[CrossSpectra]:
    """Return the spectra of consecutive segments of active frames."""
    hop = pair.num_fft // 4
    active = torch.nonzero(pair.active)[:, 0]
    size = max(1, round(BLOCK_S * pair.sample_rate / hop), -(-len(active) // MAX_PARTS))
    parts = []
    for frames in active.split(size):
        if len(parts) and len(frames) < size / 2:
            break  # a short rest would count as much as the others
        first, last = int(frames[0]), int(frames[-1])
        keep = torch.zeros_like(pair.active)
        keep[frames] = True
        # Cut out, or each of the parts of an hour would cost a look at the whole hour.
        segment = slice(first * hop, last * hop + pair.num_fft)
        piece = replace(pair, air=pair.air[segment], bone=pair.bone[segment])
        parts.append(spectra_of(piece, average, keep[first : last + 1]))
    return parts


def _pooled(samples: Sequence[_Sample], counts: Tensor) -> tuple[CrossSpectra, Tensor]:
    """Return the spectra and the noise of every draw, (D, F), from counts (D, N)."""
    averages = torch.tensor([spectra.num_averages for _, spectra, _ in samples], dtype=counts.dtype)
    weights = counts * averages
    total = weights.sum(dim=1)
    shares = weights / total[:, None]
    xx, yy = (
        shares @ torch.stack([getattr(spectra, name) for _, spectra, _ in samples])
        for name in ("xx", "yy")
    )
    xy = shares.to(torch.complex128) @ torch.stack([spectra.xy for _, spectra, _ in samples])
    noise = shares @ torch.stack([noise for _, _, noise in samples])
    return CrossSpectra(xx, yy, xy, float(total.mean())), noise


def _magnitude_db(
    estimator: SpectralEstimator,
    spectra: CrossSpectra,
    noise: Tensor,
    above_noise: Tensor,
    smoothing: float,
) -> Tensor:
    """Return the magnitude of every draw, smoothed as a fit is, (D, F)."""
    power = fill_gaps(estimator.response(spectra, noise).abs().square(), above_noise)
    smooth = fractional_octave_smooth(power, smoothing)
    floor = smooth.max() * 10 ** (LOWEST_DB / 10)
    return 10 * smooth.clamp(min=torch.finfo(smooth.dtype).tiny).clamp(min=floor).log10()
