"""The signal-to-noise ratio, as a cost."""

import math

from torch import Tensor

from bcsim.losses import LOSSES
from bcsim.losses.base import Objective

_MIN_POWER = 1e-8  # added to that of the target: silence counts as 80 dB below full scale


@LOSSES.register("snr")
class SNR(Objective):
    r"""How far the signal-to-noise ratio is from `max_db`, in dB, with a soft end at 0.

    .. math::
        10 \log_{10}\Big(1 + 10^{\mathrm{max}/10}
        \frac{\lVert \hat{s} - s \rVert^2}{\lVert s \rVert^2 + 10^{-8}\,T}\Big)

    of each item of T samples; then the mean over items. It is max - SNR while that is large, and
    tends to 0 instead of minus infinity (the soft threshold of Wisdom et al., arXiv 2006.12701).
    Other than `si_sdr` it knows the level; DPCRN (arXiv 2107.05429) is trained with it beside
    `log_complex_stft`.

    Args:
        max_db: SNR in dB beyond which the loss hardly falls.

    Raises:
        ValueError: if `max_db` is not above 0.

    Example:
        >>> import torch
        >>> target, other = torch.tensor([[1.0, -1, 1, -1]]), torch.tensor([[1.0, 1, -1, -1]])
        >>> SNR()(target + 0.1 * other, target)  # the SNR is 20 dB
        tensor(10.4139)
    """

    def __init__(self, max_db: float = 30.0) -> None:
        super().__init__()
        if not 0 < max_db < math.inf:
            raise ValueError(f"max_db is {max_db:g}; it wants a number above 0")
        self.max_db = max_db

    def terms(self, estimate: Tensor, target: Tensor) -> dict[str, Tensor]:
        error = (estimate - target).square().mean(-1)
        excess = 10 ** (self.max_db / 10) * error / (target.square().mean(-1) + _MIN_POWER)
        return {"snr": (10 / math.log(10) * excess.log1p()).mean()}
