"""Fitting a sensor: recorded pairs in, a profile and an account of every pair out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import bcsim
from bcsim.dsp.spectra import chance_coherence, fill_gaps, fractional_octave_smooth, minimum_phase
from bcsim.errors import InputError
from bcsim.sensors.alignment import align
from bcsim.sensors.estimators import ESTIMATORS
from bcsim.sensors.estimators.lowpass import fit_lowpass
from bcsim.sensors.pairs import AlignedPair, RecordedPair, check_pair, heard_bins
from bcsim.sensors.profile import MAX_COMPONENTS, Provenance, SensorProfile
from bcsim.sensors.transfer_function import TransferFunction

SMOOTHING = 12  # parts of an octave, of the response
SPREAD_SMOOTHING = 3  # of its differences between utterances
EDGE = 0.95  # of half the sample rate: above, the ratio is that of two resamplers' edges
ROUNDS = 10  # of fitting gains and shape in turns
RANGE_DB = 100.0  # below its maximum a response is not followed
USABLE_COHERENCE = 0.5
KNOWN_PHASE_COHERENCE = 0.2  # from here on the measured phase is taken as it is
SILENT_PSD = 1e-20  # 1/Hz: what a floor of digital silence counts as


@dataclass(frozen=True)
class PairReport:
    """What was found on one pair.

    Args:
        name: of the pair.
        talker: or None.
        seconds: duration of the overlap.
        active_seconds: of speech therein.
        pause_seconds: of pauses therein; 0 where there were too few for a noise floor.
        delay_s: of bone relative to air.
        level_db: active level of bone relative to that of air.
        noise_db: the sensor's noise relative to its active speech.
        coherence: mean over frequency, each weighted with the sensor's power there.
    """

    name: str
    talker: str | None
    seconds: float
    active_seconds: float
    pause_seconds: float
    delay_s: float
    level_db: float
    noise_db: float
    coherence: float


@dataclass(frozen=True)
class SkippedPair:
    """A pair that could not be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class FitResult:
    """A fitted sensor with what was found on each pair."""

    profile: SensorProfile
    pairs: list[PairReport]
    skipped: list[SkippedPair]


def fit_sensor(
    pairs: Sequence[RecordedPair],
    sample_rate: int,
    estimator: str = "power-ratio",
    name: str = "sensor",
    source: str = "",
    licence: str = "",
) -> FitResult:
    """Fit a sensor to pairs of recordings.

    Pairs that cannot be used are left out and listed; see `check_pair` for the reasons.

    Args:
        pairs: at least one, all at `sample_rate`.
        sample_rate: in Hz, 4000 or more.
        estimator: a registered name; see `bcsim.sensors.estimators.ESTIMATORS`.
        name: what the sensor is called.
        source: what was recorded, by whom; goes into the profile.
        licence: of the recordings; likewise.

    Raises:
        InputError: if no pair is usable; the message gives the first one's reason.
        UsageError: for an unknown estimator.
    """
    chosen = ESTIMATORS[estimator]()
    usable, skipped = _usable(pairs, sample_rate)
    aligned, polarity = align(usable, sample_rate)
    noise_psd, noise_level_std_db = pooled_noise(aligned)
    aligned = [with_noise(pair, noise_psd) for pair in aligned]
    couplings_db = coupling_db(aligned)
    equal = [
        pair.scaled(10 ** ((pair.level_db - coupling) / 20))
        for pair, coupling in zip(aligned, couplings_db, strict=True)
    ]
    shape = finished(chosen.estimate(equal), measurable_bins(equal))
    response = replace(
        shape,
        response=shape.response * 10 ** (couplings_db.mean() / 20),
        coherence=within_pair_coherence(aligned),
    )
    spread_db, components_db = spread(equal)
    talkers = {pair.talker for pair in aligned if pair.talker is not None}
    profile = SensorProfile(
        name=name,
        sample_rate=sample_rate,
        transfer_function=response,
        spread_db=spread_db,
        spread_components_db=components_db,
        noise_psd=noise_psd,
        noise_level_std_db=noise_level_std_db,
        level_db=float(np.mean([pair.level_db for pair in aligned])),
        level_std_db=_deviation(couplings_db),
        delay_s=float(np.median([pair.delay_s for pair in aligned])),
        polarity=polarity,
        lowpass=fit_lowpass(response),
        usable_band_hz=usable_band(response),
        provenance=Provenance(
            estimator=estimator,
            num_pairs=len(aligned),
            num_talkers=len(talkers),
            seconds=sum(pair.seconds for pair in aligned),
            active_seconds=sum(pair.active_seconds for pair in aligned),
            pause_seconds=sum(pair.noise.pause_seconds for pair in aligned),
            bcsim_version=bcsim.__version__,
            source=source,
            licence=licence,
        ),
    )
    return FitResult(profile, [_report(pair) for pair in aligned], skipped)


def coupling_db(pairs: Sequence[AlignedPair]) -> NDArray[np.float64]:
    """Return the gain of each recording's response relative to the shape of all, in dB.

    The level of bone relative to air also changes with what is said: a sensor that hears little
    above 500 Hz is quiet in fricatives. So the shape (the pooled power ratio) is fitted first,
    then for each recording the gain with which it gives the power that was recorded, and so on
    in turns. On average over recordings, gain and level are the same.
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


def finished(estimate: TransferFunction, heard: Tensor) -> TransferFunction:
    """Smooth an estimate and settle its phase where the estimate does not know it.

    The magnitude is smoothed in power over a twelfth of an octave. The phase is the estimate's
    where the coherence makes it known, and goes over into the minimum phase elsewhere: random
    phases there would smear the impulse response over the whole frame.

    Args:
        estimate: of an estimator.
        heard: (F,) of bool; the magnitude of other bins is taken from their neighbours.
    """
    power = fill_gaps(torch.from_numpy(np.abs(estimate.response) ** 2), heard)
    smooth = fractional_octave_smooth(power, SMOOTHING).clamp(min=0).sqrt()
    peak = float(smooth.max())
    if peak == 0:
        raise InputError("the estimated response is zero everywhere: air and bone share nothing")
    smooth = smooth.clamp(min=peak * 10 ** (-RANGE_DB / 20))
    minimum = minimum_phase(smooth.log())
    trust = torch.where(heard & (power > 0), phase_trust(estimate), 0.0)
    excess = torch.angle(torch.from_numpy(estimate.response)) - minimum
    phasor = trust * torch.exp(1j * excess) + (1 - trust)
    response = torch.polar(smooth, minimum + torch.angle(phasor))
    ends = [0, -1]  # a real filter is real there
    sign = torch.where(response[ends].real < 0, -1.0, 1.0)
    response[ends] = (sign * smooth[ends]).to(response.dtype)
    return replace(estimate, response=response.numpy())


def phase_trust(estimate: TransferFunction) -> Tensor:
    """Return how far to go with the estimate's phase, (F,), 0 to 1.

    From nothing where the coherence, over a sixth of an octave, is what chance alone would
    exceed once in 20 times (Carter 1987, doi 10.1109/PROC.1987.13723), to all at 0.2.
    """
    chance = chance_coherence(estimate.num_averages)
    coherence = fractional_octave_smooth(torch.from_numpy(estimate.coherence), 6)
    return ((coherence - chance) / max(KNOWN_PHASE_COHERENCE - chance, 1e-3)).clamp(0, 1)


def measurable_bins(pairs: Sequence[AlignedPair]) -> Tensor:
    """Return the heard bins but for the ends, (F,) of bool.

    Next to 0 Hz there is nothing once DC is removed, and near half the sample rate the ratio is
    that of two resamplers' edges.
    """
    heard = heard_bins(pairs)
    heard[:2] = False
    heard[math.floor(EDGE * (len(heard) - 1)) :] = False
    return heard


def within_pair_coherence(pairs: Sequence[AlignedPair]) -> NDArray[np.float64]:
    r"""Return the coherence within a recording, averaged over recordings, (F,).

    What differs between wearers is the spread's business; this says how far the sensor is a
    linear system for one. Of n averages of unrelated signals the coherence is 1/n on average;
    that is taken off: :math:`(n\gamma^2 - 1)/(n - 1)`.
    """
    parts = [pair.spectra for pair in pairs]
    total = torch.zeros_like(parts[0].xx)
    for part in parts:
        n = max(part.num_averages, 2.0)
        total += part.num_averages * ((n * part.coherence - 1) / (n - 1)).clamp(min=0)
    averages = sum(part.num_averages for part in parts)
    return (total / max(averages, 1e-12)).clamp(max=1).numpy()


def usable_band(response: TransferFunction) -> tuple[float, float]:
    """Return the widest band, in octaves, where the coherence exceeds 0.5; (0, 0) if none does.

    The coherence is first smoothed over a third of an octave.
    """
    smooth = fractional_octave_smooth(torch.from_numpy(response.coherence), 3).numpy()
    above = smooth > USABLE_COHERENCE
    above[0] = False
    edges = np.flatnonzero(np.diff(np.concatenate([[False], above, [False]])))
    bands = [
        (float(response.frequencies_hz[first]), float(response.frequencies_hz[past - 1]))
        for first, past in edges.reshape(-1, 2)
    ]
    return max(bands, key=lambda band: band[1] / band[0], default=(0.0, 0.0))


def spread(pairs: Sequence[AlignedPair]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Return how the response's shape differs between utterances.

    The noise-subtracted power ratio of each utterance, in dB over third-octaves, less the mean
    over utterances; level differences are already out of the aligned pairs. Where the sensor's
    noise hides the speech, nothing is known about the shape, so a difference counts by the part
    of the power that is speech.

    Returns:
        The standard deviation (F,) and the principal components (K, F), each scaled to one
        standard deviation of its score; together they hold the whole variance if K < 8.
    """
    curves, certainties = [], []
    heard = measurable_bins(pairs)
    for pair in pairs:
        spectra = pair.spectra
        speech = fractional_octave_smooth(
            (spectra.yy - pair.noise_power).clamp(min=0), SPREAD_SMOOTHING
        )
        total = fractional_octave_smooth(spectra.yy, SPREAD_SMOOTHING)
        air = fractional_octave_smooth(spectra.xx, SPREAD_SMOOTHING)
        tiny = torch.finfo(air.dtype).tiny
        certainty = (speech / total.clamp(min=tiny)).clamp(0, 1)
        ratio = torch.maximum(speech, 0.01 * total) / air.clamp(min=tiny)
        curves.append(10 * fill_gaps(ratio, heard).clamp(min=1e-20).log10())
        certainties.append(fill_gaps(certainty, heard))
    certainty = torch.stack(certainties)
    curve_db = torch.stack(curves)
    mean_db = (certainty * curve_db).sum(0) / certainty.sum(0).clamp(min=1e-12)
    difference = certainty * (curve_db - mean_db)
    if len(pairs) < 2:
        return np.zeros(len(mean_db)), np.zeros((0, len(mean_db)))
    difference = difference / math.sqrt(len(pairs) - 1)
    _, scale, shapes = torch.linalg.svd(difference, full_matrices=False)
    count = min(MAX_COMPONENTS, len(pairs) - 1)
    components = scale[:count, None] * shapes[:count]
    # The sign of a component is arbitrary; fixed, equal recordings give equal files.
    sign = torch.where(components.sum(dim=1, keepdim=True) < 0, -1.0, 1.0)
    return difference.square().sum(0).sqrt().numpy(), (sign * components).numpy()


def pooled_noise(pairs: Sequence[AlignedPair]) -> tuple[NDArray[np.float64], float]:
    """Return the typical noise PSD (F,) and the deviation of its level in dB.

    Noise levels lie tens of dB apart, so the typical floor is the mean in dB. Recordings without
    pauses say at best that the floor is no higher; they count where there are no others.
    """
    known = [pair.noise for pair in pairs if bool((pair.noise.psd > 0).any())]
    best = [noise for noise in known if noise.from_pauses] or known
    if not best:
        return np.zeros_like(pairs[0].noise.psd.numpy()), 0.0
    measured = [noise.psd for noise in best]
    smooth = fractional_octave_smooth(torch.stack(measured), SMOOTHING, min_bins=3)
    density_db = 10 * smooth.clamp(min=SILENT_PSD).log10()
    typical = 10 ** (density_db.mean(0) / 10)
    return typical.numpy(), _deviation(density_db.mean(dim=1).numpy())


def with_noise(pair: AlignedPair, typical_psd: NDArray[np.float64]) -> AlignedPair:
    """Return the pair with the sensor's typical noise where nothing is known of its own."""
    if bool((pair.noise.psd > 0).any()):
        return pair
    return replace(pair, noise=replace(pair.noise, psd=torch.from_numpy(typical_psd)))


def _usable(
    pairs: Sequence[RecordedPair], sample_rate: int
) -> tuple[list[RecordedPair], list[SkippedPair]]:
    usable, skipped = [], []
    for pair in pairs:
        try:
            check_pair(pair, sample_rate)
            usable.append(pair)
        except InputError as error:
            skipped.append(SkippedPair(pair.name, str(error).removeprefix(f"{pair.name}: ")))
    if not usable:
        if not skipped:
            raise InputError("no pairs to fit a sensor to")
        first = skipped[0]
        more = f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""
        raise InputError(f"no usable pair: {first.name}: {first.reason}{more}")
    return usable, skipped


def _report(pair: AlignedPair) -> PairReport:
    spectra = pair.spectra
    noise = float(pair.noise.psd.sum()) * pair.sample_rate / pair.num_fft
    return PairReport(
        name=pair.name,
        talker=pair.talker,
        seconds=pair.seconds,
        active_seconds=pair.active_seconds,
        pause_seconds=pair.noise.pause_seconds,
        delay_s=pair.delay_s,
        level_db=pair.level_db,
        noise_db=10 * math.log10(max(noise, 1e-20)),
        coherence=float((spectra.yy * spectra.coherence).sum() / spectra.yy.sum()),
    )


def _deviation(values: NDArray[np.floating]) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0
