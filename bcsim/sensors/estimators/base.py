"""What an estimator is: aligned pairs in, a response out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from bcsim.dsp.spectra import CrossSpectra
from bcsim.sensors.pairs import AlignedPair
from bcsim.sensors.transfer_function import TransferFunction


class Estimator(ABC):
    """A way to estimate the response from pairs.

    Concrete estimators are registered in `bcsim.sensors.estimators.ESTIMATORS` under the name
    they have on the command line, and made without arguments there.
    """

    @abstractmethod
    def estimate(self, pairs: Sequence[AlignedPair]) -> TransferFunction:
        """Return the response from air to bone, both at active level 1.

        Args:
            pairs: at least one; all of one sample rate and frame length. They are of equal
                level, so that each counts by its duration alone.
        """


class SpectralEstimator(Estimator):
    """An estimator that needs nothing but the pooled spectra.

    Pooling the spectra and not the responses lets a frame count by its energy: a response from
    one recording is noise wherever that recording had no speech.
    """

    @abstractmethod
    def response(self, spectra: CrossSpectra, noise: Tensor) -> Tensor:
        """Return the response.

        Args:
            spectra: (F,) each; x is air, y is bone.
            noise: (F,), the part of `spectra.yy` that is the sensor's own noise.

        Returns:
            (F,), complex.
        """

    def estimate(self, pairs: Sequence[AlignedPair]) -> TransferFunction:
        spectra, noise = pool(pairs)
        return transfer_function(pairs, self.response(spectra, noise), spectra)


def pool(pairs: Sequence[AlignedPair]) -> tuple[CrossSpectra, Tensor]:
    """Return the spectra of the active frames of all pairs, and the noise in `yy`, (F,)."""
    parts = [pair.spectra for pair in pairs]
    spectra = CrossSpectra.pooled(parts)
    shares = [part.num_averages / max(spectra.num_averages, _TINY) for part in parts]
    noise = torch.stack(
        [share * pair.noise_power for share, pair in zip(shares, pairs, strict=True)]
    ).sum(dim=0)
    return spectra, noise


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
