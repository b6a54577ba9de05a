"""The hinge criterion: scores above 1 and below -1 cost nothing."""

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
        saturating: whether the generator's loss, too, is zero from a score of 1 on, as in EBEN;
            in MelGAN it falls for ever.
    """

    def __init__(self, saturating: bool = True) -> None:
        self.saturating = saturating

    def real_loss(self, scores: Tensor) -> Tensor:
        return relu(1 - scores)

    def fake_loss(self, scores: Tensor) -> Tensor:
        return relu(1 + scores)

    def generated_loss(self, scores: Tensor) -> Tensor:
        return relu(1 - scores) if self.saturating else -scores
