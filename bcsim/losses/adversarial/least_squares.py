"""The least-squares criterion: 1 for air-conducted speech, 0 for an enhancer's."""

from torch import Tensor

from bcsim.losses.adversarial import CRITERIA
from bcsim.losses.adversarial.base import Criterion


@CRITERIA.register("least_squares")
class LeastSquares(Criterion):
    r"""LSGAN, Mao et al., arXiv 1611.04076, as in HiFi-GAN.

    .. math::
        L_D = \overline{(1 - D(s))^2} + \overline{D(\hat s)^2}, \qquad
        L_G = \overline{(1 - D(\hat s))^2}
    """

    def as_real(self, scores: Tensor) -> Tensor:
        return (1 - scores).square()

    def as_fake(self, scores: Tensor) -> Tensor:
        return scores.square()

    def as_wished(self, scores: Tensor) -> Tensor:
        return (1 - scores).square()
