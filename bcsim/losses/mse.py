"""The mean squared error of the waveform."""

from torch import Tensor
from torch.nn.functional import mse_loss

from bcsim.losses import LOSSES
from bcsim.losses.base import Objective


@LOSSES.register("mse")
class MSE(Objective):
    r"""Mean squared error of the waveform.

    .. math:: \frac{1}{BT} \sum_{b,t} (\hat{s}_b[t] - s_b[t])^2

    Next to `l1`, it forgives small errors, residual noise among them, and few large ones less.

    Example:
        >>> import torch
        >>> MSE()(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]]))
        tensor(0.2500)
    """

    def terms(self, estimate: Tensor, target: Tensor) -> dict[str, Tensor]:
        return {"mse": mse_loss(estimate, target)}
