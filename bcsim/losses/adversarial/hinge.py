"""The hinge criterion: scores beyond 1 and -1 are good enough."""

from torch import Tensor
from torch.nn.functional import relu

from bcsim.losses.adversarial import CRITERIA
from bcsim.losses.adversarial.base import Criterion


@CRITERIA.register("hinge")
class Hinge(Criterion):
    r"""Hinge loss of Lim and Ye, arXiv 1705.02894.

    .. math::
        L_D = \overline{\max(0, 1 - D(s))} + \overline{\max(0, 1 + D(\hat s))}

        L_G = \overline{\max(0, 1 - D(\hat s))} \quad\text{or}\quad -\overline{D(\hat s)}

    Args:
        saturating: whether the enhancer, too, is content with a score of 1, as in EBEN. MelGAN's
            is never content.
    """

    def __init__(self, saturating: bool = True) -> None:
        self.saturating = saturating

    def as_real(self, scores: Tensor) -> Tensor:
        return relu(1 - scores)

    def as_fake(self, scores: Tensor) -> Tensor:
        return relu(1 + scores)

    def as_wished(self, scores: Tensor) -> Tensor:
        return relu(1 - scores) if self.saturating else -scores
