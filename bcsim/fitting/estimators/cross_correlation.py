"""The Wiener filter: the FIR that predicts bone from air with the least squared error."""

from collections.abc import Sequence
from dataclasses import dataclass

import scipy  # its parts are loaded when they are asked for
import torch
from torch import Tensor
from torch.nn.functional import pad

from bcsim.dsp.fir import fast_length
from bcsim.errors import UsageError
from bcsim.fitting.estimators import ESTIMATORS
from bcsim.fitting.estimators.base import Estimator, pool, transfer_function
from bcsim.fitting.pairs import FRAME_S, AlignedPair
from bcsim.sensors.transfer_function import TransferFunction


@ESTIMATORS.register("cross-correlation")
@dataclass(frozen=True)
class CrossCorrelation(Estimator):
    r"""Solve the normal equations :math:`(R_{xx} + \lambda r_{xx}(0) I)\,h = r_{xy}`.

    :math:`R_{xx}` is Toeplitz, so Levinson's recursion does. The pauses add next to nothing to
    the correlations, so the whole recording is used.

    Args:
        duration_s: duration of the filter in seconds.
        before_s: duration of its part before time zero, for delays that alignment left over and
            responses that are not causal.
        ridge: :math:`\lambda`, relative to the air signal's power: it keeps bands in which air
            has no power from being amplified.
    """

    duration_s: float = 0.032
    before_s: float = 0.008
    ridge: float = 1e-5

    def __post_init__(self) -> None:
        if not 0 <= self.before_s < self.duration_s <= FRAME_S:
            raise UsageError(
                f"a filter of {self.duration_s:g} s, {self.before_s:g} s of it before time zero: "
                f"it can last up to {FRAME_S:g} s, and its beginning no longer than all of it"
            )
        if not self.ridge > 0:
            raise UsageError(f"ridge is {self.ridge:g}; it must be positive (1e-5 is usual)")

    def estimate(self, pairs: Sequence[AlignedPair]) -> TransferFunction:
        rate, num_fft = pairs[0].sample_rate, pairs[0].num_fft
        num_taps = round(self.duration_s * rate)
        before = round(self.before_s * rate)
        total = torch.zeros(2, num_taps, dtype=torch.float64)
        for pair in pairs:
            total += torch.stack(correlations(pair.air[:], pair.bone[:], num_taps, before))
        taps = wiener_taps(*total, ridge=self.ridge)
        circular = pad(taps, (0, num_fft - num_taps)).roll(-before)
        return transfer_function(pairs, torch.fft.rfft(circular), pool(pairs)[0])


def correlations(air: Tensor, bone: Tensor, num_taps: int, before: int) -> tuple[Tensor, Tensor]:
    r"""Return the correlations in the normal equations for N taps, (N,) each.

    :math:`r_{xx}(l) = \sum_t x_t x_{t+l}` for l = 0...N-1, and
    :math:`r_{xy}(l) = \sum_t x_t y_{t+l}` for l = -before...N-1-before.
    """
    size = fast_length(len(air) + num_taps)
    x, y = torch.fft.rfft(air, size), torch.fft.rfft(bone, size)
    auto = torch.fft.irfft(x.abs().square(), size)[:num_taps]
    cross = torch.fft.irfft(x.conj() * y, size).roll(before)[:num_taps]
    return auto, cross


def wiener_taps(auto: Tensor, cross: Tensor, ridge: float) -> Tensor:
    """Solve the normal equations of the `correlations`, with `ridge` times the diagonal added."""
    column = auto.clone()
    column[0] *= 1 + ridge
    return torch.from_numpy(scipy.linalg.solve_toeplitz(column.numpy(), cross.numpy()))
