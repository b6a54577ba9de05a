"""What simulating a sensor takes, and doing it for one clip while a sensor is being fitted.

`bcsim.effects` renders corpora from the finished profile; here a fit tries itself on recordings
that it has not seen. Both must agree, and a test holds that they do.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bcsim.dsp.activity import active_frames, active_rms, speech_rms
from bcsim.dsp.fir import fast_length, interpolate_response
from bcsim.dsp.noise import white_noise
from bcsim.fitting.coherence import within_pair_coherence
from bcsim.fitting.estimation import SMOOTHING
from bcsim.fitting.estimators.base import Estimator
from bcsim.fitting.noise import pooled_noise, with_noise
from bcsim.fitting.pairs import AlignedPair
from bcsim.fitting.smoothing import measurable_bins, smoothed_response
from bcsim.fitting.speech_frames import filter_with, speech_frames
from bcsim.fitting.spread import coupling_db
from bcsim.sensors.responses.base import SpeechResponse
from bcsim.sensors.transfer_function import TransferFunction


@dataclass(frozen=True, eq=False)
class Rendering:
    """A sensor reduced to what its mean wearer sounds like.

    Args:
        response: the fixed part.
        noise_psd: (F,), one-sided in 1/Hz, relative to the power of active bone speech.
        level_db: active level of bone relative to that of air.
        speech: the speech-dependent part, or None.
    """

    response: TransferFunction
    noise_psd: NDArray[np.float64]
    level_db: float
    speech: SpeechResponse | None = None

    def simulate(
        self, air: Tensor, noise_seed: int = 0, residual_seed: int | None = None
    ) -> Tensor:
        """Return what the sensor makes of one clip, upright and without delay, (T,).

        Args:
            air: (T,), float64.
            noise_seed: of the noise floor.
            residual_seed: of the residual; None for the mean.
        """
        rate = self.response.sample_rate
        speech = self.clean(air, residual_seed)
        level = speech_rms(air[None], rate)[0] * 10 ** (self.level_db / 20)
        noise = noise_of(self.noise_psd, rate, len(air), noise_seed)
        return speech + level * noise

    def clean(self, air: Tensor, residual_seed: int | None = None) -> Tensor:
        """Return the same without the noise floor, (T,)."""
        signal = air[None]
        if self.speech is not None:
            signal = self.speech.apply(signal, signal, residual_seed)
        return filter_with(self.response, signal)[0]


def noise_of(psd: NDArray[np.float64], sample_rate: int, num_samples: int, seed: int) -> Tensor:
    """Return Gaussian noise of a one-sided PSD (F,) in 1/Hz, (num_samples,)."""
    size = fast_length(num_samples + 2 * len(psd))
    white = white_noise(torch.tensor([seed]), size)[0]
    shape = torch.from_numpy(psd * sample_rate / 2).sqrt().to(torch.complex128)[None]
    amplitude = interpolate_response(shape, size // 2 + 1)[0].real
    return torch.fft.irfft(torch.fft.rfft(white) * amplitude, size)[:num_samples]


@dataclass(frozen=True, eq=False)
class FittedRendering:
    """A rendering with what was found on the way.

    Args:
        rendering: that simulates the pairs, at their mean level.
        pairs: with noise where they had none of their own.
        equal: the same with the gains of the recordings evened out.
        couplings_db: (N,), those gains.
        noise_level_std_db: deviation of the noise level over recordings.
    """

    rendering: Rendering
    pairs: list[AlignedPair]
    equal: list[AlignedPair]
    couplings_db: NDArray[np.float64]
    noise_level_std_db: float


def fit_rendering(
    pairs: Sequence[AlignedPair],
    estimator: Estimator,
    smoothing: float = SMOOTHING,
    prior: SpeechResponse | None = None,
    prior_noise_psd: NDArray[np.float64] | None = None,
) -> FittedRendering:
    """Fit the fixed response, the noise floor and the speech-dependent part.

    Args:
        pairs: aligned.
        estimator: of the fixed response, and of the speech-dependent part if it has one.
        smoothing: parts of an octave, of the fixed response.
        prior: speech-dependent part of a sensor of the kind, to start from.
        prior_noise_psd: (F,), its noise floor, for pairs without pauses.

    Raises:
        InputError: if air and bone share nothing.
    """
    noise_psd, noise_level_std_db = pooled_noise(pairs, prior_noise_psd)
    pairs = [with_noise(pair, noise_psd) for pair in pairs]
    couplings_db = coupling_db(pairs)
    equal = [
        pair.scaled(10 ** ((pair.level_db - coupling) / 20))
        for pair, coupling in zip(pairs, couplings_db, strict=True)
    ]
    shape = smoothed_response(estimator.estimate(equal), measurable_bins(equal), smoothing)
    response = replace(
        shape,
        response=shape.response * 10 ** (couplings_db.mean() / 20),
        coherence=within_pair_coherence(pairs),
    )
    level_db = float(np.mean([pair.level_db for pair in pairs]))
    rendering = Rendering(response, noise_psd, level_db)
    frames = [speech_frames(pair, shape) for pair in equal]
    speech = estimator.speech(frames, pairs[0].sample_rate, prior)
    if speech is not None:
        rendering = replace(rendering, speech=speech)
        speech = replace(speech, level_db=-excess_level_db(rendering, pairs))
        rendering = replace(rendering, speech=speech)
    return FittedRendering(rendering, pairs, equal, couplings_db, noise_level_std_db)


def excess_level_db(
    rendering: Rendering, pairs: Sequence[AlignedPair], residual: bool = False
) -> float:
    """Return by how much simulated speech is louder than recorded speech, mean over pairs, in dB.

    Args:
        rendering: to be tried.
        pairs: with the levels at which they were recorded.
        residual: draw it.
    """
    excess = []
    for seed, pair in enumerate(pairs):
        active = active_frames(pair.air[None], pair.sample_rate)
        simulated = rendering.clean(pair.air, seed if residual else None)
        power = float(active_rms(simulated[None], active, pair.sample_rate)) ** 2
        noise = float(pair.noise.psd.sum()) * pair.sample_rate / pair.num_fft
        wanted = max(1.0 - noise, 0.1) * 10 ** (pair.level_db / 10)
        excess.append(10 * np.log10(max(power, 1e-20) / wanted))
    return float(np.mean(excess))
