"""H1, H2, H3 and Hv: the response from auto- and cross-spectra (Bendat & Piersol, Random Data).

They differ in where they suppose the noise. Noise on air biases H1 down by 1/(1 + 1/SNR_x), noise
on bone biases H2 up by 1 + 1/SNR_y, H3 lies at their geometric mean, and Hv is unbiased for a
known ratio of the two noises. Speech dependence of the response acts as noise on bone.
"""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from bcsim.dsp.spectra import CrossSpectra, chance_coherence
from bcsim.fitting.estimators import ESTIMATORS
from bcsim.fitting.estimators.base import SpectralEstimator, divide, with_phase_of
from bcsim.fitting.estimators.power_ratio import PowerRatio


@dataclass(frozen=True)
class CoherentEstimator(SpectralEstimator):
    r"""A spectral estimator that needs coherence, and may be gated by it.

    Args:
        average: see `SpectralEstimator`.
        gated: whether bins whose coherence unrelated signals exceed once in 20 times,
            :math:`1 - 0.05^{1/(n_d-1)}`, get the magnitude of the noise-subtracted power ratio.
            In :math:`n_d` averages, unrelated signals have a coherence of :math:`1/n_d` on
            average, so that H1 is :math:`\sqrt{1/n_d}` of the power ratio, whatever the sensor
            does, and H2 is :math:`\sqrt{n_d}` of it. With minutes of speech nothing is gated;
            with seconds, most of what lies above the sensor's coherent band.
    """

    gated: bool = False

    @abstractmethod
    def _coherent_response(self, spectra: CrossSpectra) -> Tensor:
        """Return the response (..., F) without gating."""

    def response(self, spectra: CrossSpectra, noise: Tensor) -> Tensor:
        response = self._coherent_response(spectra)
        if not self.gated:
            return response
        coherent = spectra.coherence > chance_coherence(spectra.num_averages)
        return torch.where(coherent, response, PowerRatio().response(spectra, noise))


@ESTIMATORS.register("h1")
@dataclass(frozen=True)
class H1(CoherentEstimator):
    r""":math:`H_1 = P_{xy}/P_{xx}`, the least-squares response: all noise is on bone."""

    def _coherent_response(self, spectra: CrossSpectra) -> Tensor:
        return divide(spectra.xy, spectra.xx)


@ESTIMATORS.register("h2")
@dataclass(frozen=True)
class H2(CoherentEstimator):
    r""":math:`H_2 = P_{yy}/P_{yx}`: all noise is on air."""

    def _coherent_response(self, spectra: CrossSpectra) -> Tensor:
        return divide(spectra.yy, spectra.xy.conj())


@ESTIMATORS.register("h3")
@dataclass(frozen=True)
class H3(CoherentEstimator):
    r""":math:`H_3 = \sqrt{P_{yy}/P_{xx}}\,e^{j\arg P_{xy}}`: as much noise on either."""

    def _coherent_response(self, spectra: CrossSpectra) -> Tensor:
        return with_phase_of(divide(spectra.yy, spectra.xx).sqrt(), spectra.xy)


@ESTIMATORS.register("hv")
@dataclass(frozen=True)
class Hv(CoherentEstimator):
    r"""Total least squares, for a known ratio k of the noise powers on bone and on air.

    .. math:: H_v = \frac{P_{yy} - kP_{xx} + \sqrt{(kP_{xx} - P_{yy})^2 + 4k|P_{xy}|^2}}{2P_{yx}}

    It tends to H2 for k = 0 and to H1 for large k.

    Args:
        noise_ratio: k; both channels are at active level 1.
    """

    noise_ratio: float = 1.0

    def _coherent_response(self, spectra: CrossSpectra) -> Tensor:
        k = self.noise_ratio
        difference = spectra.yy - k * spectra.xx
        cross = spectra.xy.abs().square()
        root = torch.sqrt(difference.square() + 4 * k * cross)
        # The root and a negative difference cancel; rationalised, they add.
        numerator = torch.where(
            difference >= 0, difference + root, divide(4 * k * cross, root - difference)
        )
        return divide(numerator, 2 * spectra.xy.conj())
