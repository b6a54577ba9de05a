"""The scale-invariant signal-to-distortion ratio, as a cost."""

import math

import torch
from torch import Tensor

from bcsim.losses import LOSSES
from bcsim.losses.base import Objective

_MIN_SCALE = 1e-3
_SILENCE = 1e-20  # energy below which squares of float32 lose the shape of a signal


@LOSSES.register("si_sdr")
class SISDR(Objective):
    r"""How far the SI-SDR is from `max_db`, in dB, with a soft end at 0.

    .. math::
        10 \log_{10}\Big(1 + 10^{\mathrm{max}/10}
        \frac{\lVert \hat{s} - a s \rVert^2}{\lVert a s \rVert^2}\Big),
        \quad a = \frac{\langle \hat{s}, s \rangle}{\lVert s \rVert^2}

    of each item, without its mean; then the mean over items. It is max - SI-SDR while that is
    large, and tends to 0 instead of minus infinity. SI-SDR: Le Roux et al., arXiv 1811.02508; the
    soft threshold: Wisdom et al., arXiv 2006.12701.

    The level of the estimate is left open within 60 dB: add a loss that knows levels. Below that,
    :math:`\lvert a \rvert` stays at 0.001, so that a silent estimate counts as 0 dB and slopes are
    finite. An item whose target is silent costs nothing, for silence has no shape.

    Args:
        max_db: SI-SDR in dB beyond which the loss hardly falls.

    Raises:
        ValueError: if `max_db` is not above 0.

    Example:
        >>> import torch
        >>> target, other = torch.tensor([[1.0, -1, 1, -1]]), torch.tensor([[1.0, 1, -1, -1]])
        >>> SISDR()(5 * (target + 0.1 * other), target)  # SI-SDR is 20 dB
        tensor(10.4139)
    """

    def __init__(self, max_db: float = 30.0) -> None:
        super().__init__()
        if not 0 < max_db < math.inf:
            raise ValueError(f"max_db is {max_db:g}; it wants a number above 0")
        self.max_db = max_db

    def terms(self, estimate: Tensor, target: Tensor) -> dict[str, Tensor]:
        estimate, target = (signal - signal.mean(-1, True) for signal in (estimate, target))
        energy = target.square().sum(-1, keepdim=True)
        silent = energy < _SILENCE
        energy = torch.where(silent, 1.0, energy)
        scale = (estimate * target).sum(-1, keepdim=True) / energy
        least = torch.full_like(scale, _MIN_SCALE).copysign(scale)
        scale = torch.where(scale.abs() < _MIN_SCALE, least, scale)
        error = (estimate - scale * target).square().sum(-1, keepdim=True)
        excess = 10 ** (self.max_db / 10) * error / (scale.square() * energy)
        cost = 10 / math.log(10) * excess.log1p()
        return {"si_sdr": torch.where(silent, 0.0, cost).mean()}
