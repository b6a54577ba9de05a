"""What an estimator is: aligned pairs in, a response out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from bcsim.dsp.spectra import CrossSpectra, cross_spectra, median_spectra
from bcsim.errors import UsageError
from bcsim.fitting.pairs import AlignedPair
from bcsim.fitting.speech_frames import SpeechFrames
from bcsim.sensors.responses.base import SpeechResponse
from bcsim.sensors.transfer_function import TransferFunction

Average = Literal["mean", "median"]


class Estimator(ABC):
    """A way to estimate the response from pairs.

    Concrete estimators are registered in `bcsim.fitting.estimators.ESTIMATORS`. Their options are
    fields with defaults, and `bcsim.fitting.estimation.make_estimator` sets those that are given.
    """

    @abstractmethod
    def estimate(self, pairs: Sequence[AlignedPair]) -> TransferFunction:
        """Return the response from air to bone, both at active level 1.

        Args:
            pairs: aligned pairs, at least one, all of one sample rate and frame length, and of
                equal level, so that each counts by its duration alone.
        """

    def speech(
        self, frames: Sequence[SpeechFrames], sample_rate: int, prior: SpeechResponse | None
    ) -> SpeechResponse | None:
        """Return the speech-dependent part; None for an estimator of fixed responses.

        Args:
            frames: frames of each pair, with the levels after the estimated response.
            sample_rate: sample rate in Hz.
            prior: speech-dependent part of another sensor of the kind, to start from, or None.
        """
        return None


@dataclass(frozen=True)
class SpectralEstimator(Estimator):
    """An estimator that needs nothing but the pooled spectra.

    Pooling the spectra and not the responses lets a frame count by its energy: a response from
    one recording is noise wherever that recording had no speech.

    Args:
        average: average over the frames of a recording. The mean uses all frames; the median
            (`bcsim.dsp.spectra.median_spectra`) is not affected by clicks and knocks in up to half
            of the frames, but needs about twice the speech.
    """

    average: Average = "mean"

    def __post_init__(self) -> None:
        check_average(self.average)

    @abstractmethod
    def response(self, spectra: CrossSpectra, noise: Tensor) -> Tensor:
        """Return the response.

        Args:
            spectra: spectra of air (x) and bone (y), (..., F) each.
            noise: (..., F), power of the sensor's own noise in `spectra.yy`.

        Returns:
            (..., F), complex.
        """

    def estimate(self, pairs: Sequence[AlignedPair]) -> TransferFunction:
        spectra, noise = pool(pairs, self.average)
        return transfer_function(pairs, self.response(spectra, noise), spectra)


def check_average(average: str) -> None:
    """Raise UsageError for an average other than the mean or the median."""
    if average not in get_args(Average):
        raise UsageError(f"average is {average!r}; it can be mean or median")


def spectra_of(pair: AlignedPair, average: Average, keep: Tensor | None = None) -> CrossSpectra:
    """Return the average spectra of a pair over the frames `keep`, or over its active ones."""
    if average == "mean" and keep is None:
        return pair.spectra  # which the pair remembers
    over_frames = cross_spectra if average == "mean" else median_spectra
    frames = pair.active if keep is None else keep
    return over_frames(pair.air, pair.bone, pair.num_fft, pair.num_fft // 4, frames)


def pool(pairs: Sequence[AlignedPair], average: Average = "mean") -> tuple[CrossSpectra, Tensor]:
    """Return the spectra of the active frames of all pairs, and the noise in `yy`, (F,).

    The average over pairs is always the mean, weighted with the number of frames.
    """
    parts = [spectra_of(pair, average) for pair in pairs]
    spectra = CrossSpectra.pooled(parts)
    shares = [part.num_averages / max(spectra.num_averages, _TINY) for part in parts]
    noise = [share * pair.noise_power for share, pair in zip(shares, pairs, strict=True)]
    return spectra, torch.stack(noise).sum(dim=0)


def transfer_function(
    pairs: Sequence[AlignedPair], response: Tensor, spectra: CrossSpectra
) -> TransferFunction:
    """Return `response` (F,) with the coherence and averages of the pooled spectra."""
    grid = torch.linspace(0, pairs[0].sample_rate / 2, len(response), dtype=torch.float64)
    return TransferFunction(
        frequencies_hz=grid.numpy(),
        response=response.to(torch.complex128).numpy(),
        coherence=spectra.coherence.numpy(),
        num_averages=spectra.num_averages,
    )


def divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide, giving 0 where the denominator is 0: a bin without power has no response."""
    present = denominator.abs() > _TINY
    return torch.where(present, numerator / torch.where(present, denominator, 1.0), 0.0)


def with_phase_of(magnitude: Tensor, cross: Tensor) -> Tensor:
    """Return a response of the given magnitude and the phase of a cross-spectrum, (F,)."""
    return torch.polar(magnitude, torch.angle(cross))


_TINY = 1e-300
