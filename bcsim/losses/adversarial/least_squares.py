"""The least-squares criterion: scores of 1 for real speech, 0 for generated speech."""

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

    def real_loss(self, scores: Tensor) -> Tensor:
        return (1 - scores).square()

    def fake_loss(self, scores: Tensor) -> Tensor:
        return scores.square()

    def generated_loss(self, scores: Tensor) -> Tensor:
        return (1 - scores).square()
