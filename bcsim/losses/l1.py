"""The mean absolute error of the waveform."""

from torch import Tensor
from torch.nn.functional import l1_loss

from bcsim.losses import LOSSES
from bcsim.losses.base import Objective


@LOSSES.register("l1")
class L1(Objective):
    r"""Mean absolute error of the waveform.

    .. math:: \frac{1}{BT} \sum_{b,t} \lvert \hat{s}_b[t] - s_b[t] \rvert

    Example:
        >>> import torch
        >>> L1()(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]]))
        tensor(0.5000)
    """

    def terms(self, estimate: Tensor, target: Tensor) -> dict[str, Tensor]:
        return {"l1": l1_loss(estimate, target)}
