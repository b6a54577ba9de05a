"""The mean sensor of some aligned pairs: what a fold of the cross-validation is simulated with.

`bcsim.fitting.fit` adds to it what differs between wearers and recordings.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

import bcsim
from bcsim.dsp.activity import frame_energies_of, is_active, rms_of
from bcsim.fitting.coherence import within_pair_coherence
from bcsim.fitting.estimation import SMOOTHING
from bcsim.fitting.estimators import ESTIMATORS
from bcsim.fitting.estimators.base import Estimator
from bcsim.fitting.noise import pooled_noise, with_noise
from bcsim.fitting.pairs import AlignedPair
from bcsim.fitting.simulation import simulate_any
from bcsim.fitting.smoothing import measurable_bins, smoothed_response
from bcsim.fitting.speech_frames import frames_to_learn_from
from bcsim.fitting.spread import coupling_db
from bcsim.sensors.profile import SensorProfile
from bcsim.sensors.provenance import LowpassEquivalent, Provenance
from bcsim.sensors.transfer_function import TransferFunction


@dataclass(frozen=True, eq=False)
class MeanFit:
    """The mean sensor, and the pairs that it was fitted to.

    Args:
        profile: sensor of the mean wearer, upright, without delay and spread; its low-pass
            equivalent, usable band and coherence ceiling are not fitted yet.
        pairs: aligned pairs, with the typical noise floor where they had none of their own.
        equal: the same pairs with the gains of the recordings evened out.
        couplings_db: (N,), gains of the recordings in dB.
    """

    profile: SensorProfile
    pairs: list[AlignedPair]
    equal: list[AlignedPair]
    couplings_db: NDArray[np.float64]


def fit_mean_sensor(
    pairs: Sequence[AlignedPair],
    estimator: Estimator,
    smoothing: float = SMOOTHING,
    prior: SensorProfile | None = None,
) -> MeanFit:
    """Fit the fixed response, the noise floor and the speech-dependent part.

    Where a prior is given, the speech-dependent part starts from the prior's, and its noise floor
    stands in where no pair has pauses.

    Raises:
        InputError: if air and bone share nothing.
    """
    noise_psd, noise_level_std_db = pooled_noise(pairs, None if prior is None else prior.noise_psd)
    pairs = [with_noise(pair, noise_psd) for pair in pairs]
    couplings_db = coupling_db(pairs)
    equal = [
        pair.scaled(10 ** ((pair.level_db - coupling) / 20))
        for pair, coupling in zip(pairs, couplings_db, strict=True)
    ]
    shape = smoothed_response(estimator.estimate(equal), measurable_bins(equal), smoothing)
    profile = _provisional(shape, noise_psd, noise_level_std_db, pairs, estimator)
    speech = estimator.speech(
        frames_to_learn_from(equal, profile),
        profile.sample_rate,
        None if prior is None else prior.speech,
    )
    response = replace(
        shape,
        response=shape.response * 10 ** (couplings_db.mean() / 20),
        coherence=np.where(shape.coherence > 0, within_pair_coherence(pairs), 0.0),
    )
    profile = replace(profile, transfer_function=response, speech=speech)
    if speech is not None:
        level_db = -excess_level_db(profile, pairs)
        profile = replace(profile, speech=replace(speech, level_db=level_db))
    return MeanFit(profile, pairs, equal, couplings_db)


def excess_level_db(
    profile: SensorProfile, pairs: Sequence[AlignedPair], within_clip: bool = False
) -> float:
    """Return the level of simulated speech less that of recorded speech, mean over pairs, in dB.

    With `within_clip`, the residual of the speech-dependent part is drawn.
    """
    excess = []
    for pair in pairs:
        rate = pair.sample_rate
        _, speech = frame_energies_of(pair.air, rate)
        simulated = simulate_any(profile, pair.air, pair.name, within_clip=within_clip)
        level, _ = frame_energies_of(simulated, rate)
        power = float(rms_of(level, is_active(speech), rate)) ** 2
        wanted = max(1.0 - pair.noise_to_speech, 0.1) * 10 ** (pair.level_db / 10)
        excess.append(10 * np.log10(max(power, 1e-20) / wanted))
    return float(np.mean(excess))


def _provisional(
    response: TransferFunction,
    noise_psd: NDArray[np.float64],
    noise_level_std_db: float,
    pairs: Sequence[AlignedPair],
    estimator: Estimator,
) -> SensorProfile:
    """Return a profile without spread, and without the facts that no effect renders with."""
    bins = len(response.frequencies_hz)
    rate = response.sample_rate
    return SensorProfile(
        name="mean sensor",
        sample_rate=rate,
        transfer_function=response,
        magnitude_interval_db=np.zeros((0, bins)),
        coherence_ceiling=np.ones(bins),
        spread_db=np.zeros(bins),
        spread_components_db=np.zeros((0, bins)),
        noise_psd=noise_psd,
        noise_level_std_db=noise_level_std_db,
        level_db=float(np.mean([pair.level_db for pair in pairs])),
        level_std_db=0.0,
        delay_s=0.0,
        polarity=1,
        lowpass=LowpassEquivalent(cutoff_hz=rate / 4, q=1.0, gain_db=0.0),
        usable_band_hz=(0.0, 0.0),
        provenance=Provenance(
            estimator=ESTIMATORS.name_of(type(estimator)),
            num_pairs=len(pairs),
            num_talkers=len({pair.talker for pair in pairs if pair.talker is not None}),
            seconds=sum(pair.seconds for pair in pairs),
            active_seconds=sum(pair.active_seconds for pair in pairs),
            pause_seconds=sum(pair.noise.pause_seconds for pair in pairs),
            bcsim_version=bcsim.__version__,
        ),
    )
