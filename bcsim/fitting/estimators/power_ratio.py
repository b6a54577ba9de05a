"""The ratio of the powers of bone and air, whatever their phase."""

from dataclasses import dataclass

from torch import Tensor

from bcsim.dsp.spectra import CrossSpectra
from bcsim.fitting.estimators import ESTIMATORS
from bcsim.fitting.estimators.base import SpectralEstimator, divide, with_phase_of


@ESTIMATORS.register("power-ratio")
@dataclass(frozen=True)
class PowerRatio(SpectralEstimator):
    r""":math:`\sqrt{\max(P_{yy} - P_{nn}, 0)/P_{xx}}\;e^{j\arg P_{xy}}`.

    A body-conduction sensor picks up speech by paths that no single filter describes, so much of
    its power is incoherent with air: H1 leaves that part out and comes out several dB too low. Only
    the sensor's own noise, measured in the pauses, is no part of the response.
    """

    def response(self, spectra: CrossSpectra, noise: Tensor) -> Tensor:
        speech = (spectra.yy - noise).clamp(min=0)
        return with_phase_of(divide(speech, spectra.xx).sqrt(), spectra.xy)
